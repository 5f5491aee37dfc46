"""An archive of the synthetic Earth: the collections of the product table, without an account and without Google.

Radar and optical scenes exist around ``places`` and in ``years`` only; maps are of the whole Earth. All of it is a
function of place, time and seed.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from functools import partial

from shapely.geometry.base import BaseGeometry

from m3leo_prep.testing.earth_engine.archive import Archive, Scene
from m3leo_prep.testing.earth_engine.holdings import scenes_maps, scenes_optical, scenes_other, scenes_radar
from m3leo_prep.testing.earth_engine.holdings.land import Land
from m3leo_prep.testing.earth_engine.holdings.scenes_optical import View
from m3leo_prep.testing.earth_engine.holdings.schedule import PLACES, Place, When

_IMAGES = ("USGS/SRTMGL1_003", *scenes_other.IMAGES)
"""Single images, which are in no collection."""


class SyntheticArchive:
    """Implements archive.Archive over the synthetic Earth."""

    def __init__(
        self,
        *,
        places: Sequence[Place] = PLACES,
        years: tuple[int, int] = (2018, 2021),
        revisit: int = 12,
        missing: float = 0.05,
        cloud: float = 0.35,
        seed: int = 0,
        memory: int = 256 * 2**20,
    ) -> None:
        """Describe the archive; scenes are listed when they are first asked for.

        Args:
            places: where radar and optical scenes exist.
            years: first and last year of dated collections.
            revisit: days after which a track is seen again; a place is seen by one or two tracks a direction.
            missing: share of passes that were not acquired.
            cloud: share of optical pixels under cloud.
            seed: another seed is another planet.
            memory: most bytes of computed pixels that are kept.
        """
        self._land = Land(seed, memory)
        self._places, self._years, self._cloud = tuple(places), years, cloud
        self._when = When(years, revisit, missing, seed)
        self._views: list[tuple[View, BaseGeometry]] | None = None
        self._lists: dict[str, tuple[Scene, ...]] = {}
        self._images: dict[str, Scene] = {}
        self._lock = threading.RLock()

    def image(self, name: str) -> Scene | None:
        """Return an image by its full id; None if there is none."""
        if name not in self._images:
            parent = name if name in self._makers() else name.rpartition("/")[0]
            self._listed(parent)
        return self._images.get(name)

    def collection(self, name: str) -> Sequence[Scene] | None:
        """Return the images of a collection in order of time and id; None if there is no such collection."""
        return None if name in _IMAGES else self._listed(name)

    @property
    def holdings(self) -> list[str]:
        """Ids of the collections and single images that are there, sorted."""
        return sorted(self._makers())

    def _listed(self, name: str) -> tuple[Scene, ...] | None:
        with self._lock:
            if name not in self._lists:
                make = self._makers().get(name)
                if make is None:
                    return None
                scenes = sorted(make(), key=lambda scene: (scene.properties.get("system:time_start", 0), scene.id))
                self._lists[name] = tuple(scenes)
                self._images.update((scene.id, scene) for scene in scenes)
            return self._lists[name]

    def _makers(self) -> dict[str, Callable[[], Iterable[Scene]]]:
        land, places = self._land, self._places
        maps, optical = scenes_maps, scenes_optical
        makers: dict[str, Callable[[], Iterable[Scene]]] = {
            scenes_radar.COLLECTION: lambda: scenes_radar.radar_scenes(land, self._when, places),
            optical.SURFACE: lambda: optical.surface_scenes(land, self._seen()),
            optical.TOP: lambda: optical.top_scenes(land, self._seen()),
            optical.SCORE: lambda: optical.score_scenes(land, self._seen()),
            optical.WORLD: lambda: optical.world_scenes(land, self._seen()),
            "ESA/WorldCover/v100": lambda: maps.cover_scenes(land, "v100"),
            "ESA/WorldCover/v200": lambda: maps.cover_scenes(land, "v200"),
            "JRC/GHSL/P2023A/GHS_BUILT_S": lambda: maps.built_scenes(land),
            "JRC/GHSL/P2023A/GHS_BUILT_S_10m": lambda: maps.built_10m_scenes(land),
            "MODIS/061/MOD44B": lambda: maps.vegetation_scenes(land),
            "ESA/CCI/Above_Ground_Biomass/V6_0": lambda: maps.biomass_scenes(land),
            "COPERNICUS/DEM/GLO30": lambda: maps.height_scenes(land, places, "GLO30"),
            "COPERNICUS/DEM/GLO30_2024_1": lambda: maps.height_scenes(land, places, "GLO30_2024_1"),
            "USGS/SRTMGL1_003": lambda: maps.srtm_scenes(land),
        }
        makers |= {name: partial(make, land) for name, make in scenes_other.MAKERS.items()}
        for family in ("BACKSCATTER", "COHERENCE", "DECAY_MODEL_PARAMETERS"):
            for kind in (family, f"{family}_RAW"):
                makers[f"{maps.GSSIC}/{kind}"] = partial(maps.gssic_scenes, land, places, kind)
        return makers

    def _seen(self) -> list[tuple[View, BaseGeometry]]:
        """Return the tiles and times of Sentinel-2, which four collections share."""
        if self._views is None:
            self._views = scenes_optical.optical_views(self._when, self._places, self._cloud)
        return self._views


_: type[Archive] = SyntheticArchive
