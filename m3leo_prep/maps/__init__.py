"""Areas, plans and datasets on a map: a widget in notebooks that have one, else a page that needs no network."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from m3leo_prep.core.plan import Plan
from m3leo_prep.maps.drawing import draw

if TYPE_CHECKING:
    from m3leo_prep.core.area import Area
    from m3leo_prep.reader.dataset import Dataset

PAGE_SHAPES = 20_000
"""A page draws more chips than this as squares of several chips: all of them would freeze a browser ..."""
WIDGET_SHAPES = 4_000
"""... and a widget, which makes one element of each, sooner."""


def show(what: str | Path | Area | Plan | Dataset, *, path: str | Path | None = None) -> Any:
    """Return a map that a notebook displays; ``save(path)`` writes it as an HTML page.

    Args:
        what: an area (name, file, WKT, box or ``Area``), a ``Plan``, or a dataset (or its folder, built or half built).
        path: write a page there. A page holds everything it shows and asks the network for nothing; a widget, which is
            used in notebooks with geemap or ipyleaflet installed and no ``path``, has a background from the network,
            and with geemap the Earth Engine layers of a plan.

    Returns:
        ``maps.page.Page``, or the ``Map`` of geemap or ipyleaflet.

    Raises:
        ConfigError: no such area.
        StoreError: no dataset in the folder.
        MissingDependency: neither bokeh nor, in a notebook, a map widget is installed.
    """
    if path is None and _in_notebook():
        for library in ("geemap", "ipyleaflet"):
            if find_spec(library) is not None:
                from m3leo_prep.maps.widget import widget

                return widget(draw(what, WIDGET_SHAPES), library, what if isinstance(what, Plan) else None)
    from m3leo_prep.maps.page import make_page

    page = make_page(draw(what, PAGE_SHAPES))
    if path is not None:
        page.save(path)
    return page


def _in_notebook() -> bool:
    """Return whether this process is the kernel of a notebook, which is then what loaded IPython."""
    ipython = sys.modules.get("IPython")
    return ipython is not None and getattr(ipython.get_ipython(), "kernel", None) is not None
