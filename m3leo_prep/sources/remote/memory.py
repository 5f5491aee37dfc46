"""Raster files in memory, or on this machine, as GDAL opens them for the other modules here."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from m3leo_prep.core.errors import CorruptError

ENV = {
    # Errors in the decoder threads of OpenJPEG are printed, not raised: damaged blocks would come back as zeros.
    "GDAL_NUM_THREADS": "1",
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
}
_opening = threading.Lock()


@contextmanager
def opened(file: bytes, driver: str, where: str) -> Iterator[Any]:
    """Yield an open rasterio dataset of the bytes of a file.

    Args:
        file: all of it.
        driver: ``GTiff`` or ``JP2OpenJPEG``.
        where: the file, for messages.

    Raises:
        CorruptError: it cannot be opened, or what is done with it fails.
    """
    from rasterio.io import MemoryFile

    with MemoryFile(file) as held, opened_file(held.name, driver, where) as data:
        yield data


@contextmanager
def opened_file(path: str, driver: str, where: str) -> Iterator[Any]:
    """Yield an open rasterio dataset of a file that GDAL finds by ``path``; as ``opened``."""
    import rasterio
    from rasterio.errors import NotGeoreferencedWarning, RasterioError

    try:
        with rasterio.Env(**ENV):
            # Filters of warnings are global to the process: change them by one thread at a time.
            with _opening, warnings.catch_warnings():
                warnings.simplefilter("ignore", NotGeoreferencedWarning)
                data = rasterio.open(path, driver=driver, sharing=False)
            with data:
                yield data
    except RasterioError as error:
        message = f"is damaged: {error.__cause__ or error}"
        raise CorruptError(message, where=where, hint="tell the provider; this file is left out") from error
