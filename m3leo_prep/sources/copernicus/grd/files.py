"""Where the files of a product lie, and what is read of them once."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from m3leo_prep.core.errors import CorruptError, NoData
from m3leo_prep.core.raster import Item
from m3leo_prep.ops.sar.calibrate import Noise, Table
from m3leo_prep.sources.copernicus.grd.calibration import read_first_number, read_gain
from m3leo_prep.sources.copernicus.grd.noise import SCALED, read_noise, scale_of
from m3leo_prep.sources.copernicus.grd.safe import Annotation, Ipf, read_annotation, read_ipf
from m3leo_prep.sources.remote.access import Access
from m3leo_prep.sources.remote.files import whole
from m3leo_prep.sources.remote.rasters import RemoteRaster, open_remote

PARTS = ("annotation", "calibration", "noise", "measurement")
MANIFEST = "manifest.safe"
LARGEST = 32 << 20
"""Bytes of an XML file; an annotation has 2 million."""
_SAFE = re.compile(r"\w+\.SAFE")
KEPT = 64
"""Files of each sort whose content the process keeps: a fraction of a megabyte each."""


@dataclass(frozen=True, slots=True)
class Product:
    """The files of one item, read when asked for."""

    name: str
    """Of the item."""
    folder: str
    """Address of the SAFE: ``s3://...``, or a path."""
    nodes: str
    """The same by https, or nothing."""
    paths: tuple[tuple[str, str], ...]
    """(``noise_VV``, path in the SAFE) of each file, the manifest left out."""
    access: Access

    @classmethod
    def of(cls, item: Item, access: Access) -> Product:
        """Return the files that an item tells of."""
        told = item.properties
        paths = tuple((key[5:], str(path)) for key, path in told.items() if key.startswith("path_"))
        return cls(item.id, str(told["folder"]), str(told.get("nodes", "")), paths, access)

    def address(self, path: str) -> str:
        """Return where a file is read: the object store if there are keys for it, else by https, each by its path."""
        way = self.access
        if way.keys is not None or way.auth is None or not self.nodes or not self.folder.startswith("s3://"):
            return f"{self.folder}/{path}"
        parts = [self.folder.rpartition("/")[2], *path.split("/")]
        return self.nodes + "".join(f"/Nodes({part})" for part in parts) + "/$value"

    def of_part(self, part: str, polarisation: str) -> str:
        """Return the address of a part of a polarisation.

        Raises:
            CorruptError: the catalogue names none.
        """
        path = dict(self.paths).get(f"{part}_{polarisation}")
        if path is None:
            raise CorruptError(f"the catalogue names no {part} file of {polarisation}", where=self.name)
        return self.address(path)

    def ipf(self) -> Ipf:
        """Return the version of ESA's processor.

        Raises:
            CorruptError: the product has no manifest, or it is damaged. So do all that follow.
        """
        return _ipf(self.address(MANIFEST), self.access)

    def annotation(self, polarisation: str) -> Annotation:
        """Return what the annotation of a polarisation says."""
        return _annotation(self.of_part("annotation", polarisation), self.access)

    def gain(self, polarisation: str, convention: str) -> Table:
        """Return the table by which numbers of a polarisation become backscatter."""
        address = self.of_part("calibration", polarisation)
        return _gain(address, self.access, convention, self.of_part("annotation", polarisation))

    def noise(self, polarisation: str) -> Noise:
        """Return the thermal noise of a polarisation in units of DN^2."""
        return _noise(
            self.of_part("noise", polarisation),
            self.access,
            self.ipf(),
            self.of_part("annotation", polarisation),
            self.of_part("calibration", polarisation),
        )

    def image(self, polarisation: str) -> RemoteRaster:
        """Return the image of a polarisation, its header read; it must be the one that the annotation describes."""
        address = self.of_part("measurement", polarisation)
        try:
            image = open_remote(address, self.access)
        except NoData:
            raise _gone(address) from None
        shape = self.annotation(polarisation).shape
        if tuple(image.shape) != shape or image.dtype.kind != "u" or image.dtype.itemsize > 2:
            raise CorruptError(f"has {image.shape} pixels of {image.dtype}, its annotation {shape}", where=address)
        return image


def _read(address: str, access: Access) -> bytes:
    try:
        return whole(address, access, limit=LARGEST)
    except NoData:
        raise _gone(address) from None


def _gone(address: str) -> CorruptError:
    from m3leo_prep.sources.copernicus.service.products import check_online

    name = _SAFE.search(address)
    if name is not None and "://" in address:
        check_online(name[0])
    return CorruptError("is not in the product, though the catalogue names it", where=address)


@lru_cache(maxsize=KEPT)
def _ipf(address: str, access: Access) -> Ipf:
    return read_ipf(_read(address, access), address)


@lru_cache(maxsize=KEPT)
def _annotation(address: str, access: Access) -> Annotation:
    return read_annotation(_read(address, access), address)


@lru_cache(maxsize=KEPT)
def _gain(address: str, access: Access, convention: str, annotation: str) -> Table:
    return read_gain(_read(address, access), convention, _annotation(annotation, access), address)


@lru_cache(maxsize=KEPT)
def _noise(address: str, access: Access, ipf: Ipf, annotation: str, calibration: str) -> Noise:
    first = read_first_number(_read(calibration, access), calibration) if ipf < SCALED else 1.0
    return read_noise(_read(address, access), scale_of(ipf, first), _annotation(annotation, access), address)
