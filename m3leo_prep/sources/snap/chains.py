"""The chains: which operators, in which order, with which of their parameters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from m3leo_prep.sources.snap.graph import Graph, Node
from m3leo_prep.sources.snap.operators import (
    ApplyOrbitFile,
    BackGeocoding,
    Calibration,
    Coherence,
    EnhancedSpectralDiversity,
    Interferogram,
    Multilook,
    Operator,
    PolarimetricDecomposition,
    PolarimetricMatrices,
    PolarimetricSpeckleFilter,
    Read,
    RemoveGrdBorderNoise,
    SpeckleFilter,
    TerrainCorrection,
    TerrainFlattening,
    ThermalNoiseRemoval,
    TopsarDeburst,
    TopsarMerge,
    TopsarSplit,
    Write,
)

Swath = Literal["IW1", "IW2", "IW3"]
SWATHS: tuple[Swath, ...] = ("IW1", "IW2", "IW3")


@dataclass(frozen=True, slots=True)
class Grid:
    """Where the pixels of a result lie: pixel edges on whole multiples of the pitch, as those of all chips do."""

    epsg: int
    """Of the UTM zone."""
    pitch: float
    """Metres; a divisor of 500 000, the easting that the chips' grid is anchored at."""

    @property
    def origin(self) -> float:
        """SNAP's ``standardGridOrigin``, in both directions.

        It aligns pixel centres, not edges: the easting and northing that ``CRSGeoCodingHandler`` of the microwave
        toolbox rounds to the grid are those of the middle of the first pixel (``CrsGeoCoding`` of snap-engine takes
        (0.5, 0.5) for the reference pixel; pyroSAR's ``geo_parametrize`` calls that SNAP's default, ``point``). An
        origin of 0 would shift all pixels by half of one.
        """
        return self.pitch / 2


@dataclass(frozen=True, slots=True)
class Looks:
    """How many pixels in slant range and azimuth; those of IW SLC are 2.3 m x 14 m."""

    range: int
    azimuth: int


def rtc(
    scene: Path,
    output: Path,
    grid: Grid,
    polarisations: Sequence[str],
    *,
    incidence: bool = False,
    filtered: bool = False,
) -> Graph:
    """Return the graph from a GRD scene to gamma nought of flattened terrain, in linear power.

    Bands: ``Gamma0_VV`` ..., ``layoverShadowMask`` (0, 1 layover, 2 shadow, 3 both) and, if ``incidence``,
    ``localIncidenceAngle`` in degrees.

    Borders come before noise: of products of before IPF 2.9, ``RemoveGRDBorderNoiseOp`` of the microwave toolbox takes
    the co-polarised band for amplitudes (less than 30 is dark). Noise removal would give it intensities, and none of a
    polarisation that is not asked for.

    Args:
        scene: the product, as archived.
        output: the ``.dim`` file that is written.
        grid: of the result.
        polarisations: ``VV``, ``VH`` ...
        incidence: write the local incidence angle, too.
        filtered: filter speckle (Refined Lee).
    """
    chosen = tuple(polarisations)
    steps: list[Operator] = [
        ApplyOrbitFile(),
        RemoveGrdBorderNoise(selected_polarisations=chosen),
        ThermalNoiseRemoval(selected_polarisations=chosen),
        Calibration(
            selected_polarisations=chosen, output_image_in_complex=False, output_sigma_band=False, output_beta_band=True
        ),
        TerrainFlattening(),
        *([SpeckleFilter(filter="Refined Lee")] if filtered else []),
        _corrected(grid, save_layover_shadow_mask=True, save_local_incidence_angle=incidence),
        Write(file=output),
    ]
    chain = _Chain()
    chain.line(chain.add(Read(file=scene)), steps)
    return chain.graph()


def coherence(
    reference: Path,
    secondary: Path,
    output: Path,
    grid: Grid,
    polarisation: str,
    *,
    swaths: Sequence[Swath] = SWATHS,
    window: Looks,
    looks: Looks,
    interferogram: bool = False,
) -> Graph:
    """Return the graph from two SLC scenes of one track to their coherence, and the interferogram if asked for.

    Bands: ``coh_...`` and, of the interferogram without the phase of the ellipsoid and of the terrain, ``i_ifg_...``
    and ``q_ifg_...``.

    Args:
        reference: the product whose geometry the other one is brought to.
        secondary: the other one.
        output: the ``.dim`` file that is written.
        grid: of the result.
        polarisation: ``VV`` ...
        swaths: which ones.
        window: over which coherence is estimated.
        looks: averaged afterwards.
        interferogram: write it, too.
    """
    chosen = (polarisation,)
    chain = _Chain()
    orbits = {
        name: chain.line(chain.add(Read(file=path), name=name), [ApplyOrbitFile()], name=name)
        for name, path in (("reference", reference), ("secondary", secondary))
    }
    estimated = (
        Interferogram(coh_win_az=window.azimuth, coh_win_rg=window.range)
        if interferogram
        else Coherence(coh_win_az=window.azimuth, coh_win_rg=window.range)
    )
    parts = []
    for swath in swaths:
        split = TopsarSplit(subswath=swath, selected_polarisations=chosen)
        pair = [chain.add(split, source, name=f"{swath}-{name}") for name, source in orbits.items()]
        steps = [EnhancedSpectralDiversity(), estimated, TopsarDeburst(selected_polarisations=chosen)]
        parts.append(chain.line(chain.add(BackGeocoding(), *pair, name=swath), steps, name=swath))
    whole = chain.merged(parts, chosen)
    chain.line(
        whole,
        [
            Multilook(n_rg_looks=looks.range, n_az_looks=looks.azimuth),
            _corrected(grid, output_complex=interferogram),  # false would make an intensity of i and q
            Write(file=output),
        ],
    )
    return chain.graph()


def decomposition(
    scene: Path,
    output: Path,
    grid: Grid,
    polarisations: Sequence[str],
    *,
    swaths: Sequence[Swath] = SWATHS,
    looks: Looks,
    window: int,
) -> Graph:
    """Return the graph from a dual-polarised SLC scene to entropy, anisotropy and alpha.

    Bands: ``Entropy`` (0...1), ``Anisotropy`` (0...1), ``Alpha`` (degrees, 0...90).

    Args:
        scene: the product, as archived; not GRD, which has no phase.
        output: the ``.dim`` file that is written.
        grid: of the result.
        polarisations: two.
        swaths: which ones.
        looks: averaged of the covariance matrix.
        window: pixels in both directions over which it is averaged then.
    """
    chosen = tuple(polarisations)
    chain = _Chain()
    scene_with_orbit = chain.line(chain.add(Read(file=scene)), [ApplyOrbitFile()])
    calibrated = Calibration(
        selected_polarisations=chosen, output_image_in_complex=True, output_sigma_band=True, output_beta_band=False
    )
    parts = []
    for swath in swaths:
        split = TopsarSplit(subswath=swath, selected_polarisations=chosen)
        steps = [split, calibrated, TopsarDeburst(selected_polarisations=chosen)]
        parts.append(chain.line(scene_with_orbit, steps, name=swath))
    chain.line(
        chain.merged(parts, chosen),
        [
            PolarimetricMatrices(),
            Multilook(n_rg_looks=looks.range, n_az_looks=looks.azimuth),
            PolarimetricSpeckleFilter(num_looks_str=str(min(4, looks.range * looks.azimuth))),
            PolarimetricDecomposition(window_size=window),
            _corrected(grid),
            Write(file=output),
        ],
    )
    return chain.graph()


def _corrected(
    grid: Grid,
    *,
    save_layover_shadow_mask: bool = False,
    save_local_incidence_angle: bool = False,
    output_complex: bool = False,
) -> TerrainCorrection:
    return TerrainCorrection(
        pixel_spacing_in_meter=grid.pitch,
        map_projection=f"EPSG:{grid.epsg}",
        standard_grid_origin_x=grid.origin,
        standard_grid_origin_y=grid.origin,
        save_layover_shadow_mask=save_layover_shadow_mask,
        save_local_incidence_angle=save_local_incidence_angle,
        output_complex=output_complex,
    )


class _Chain:
    """A graph on its way."""

    def __init__(self) -> None:
        self._nodes: list[Node] = []

    def add(self, operator: Operator, *sources: str, name: str = "") -> str:
        """Add a step and return its id: the operator's name, and behind it ``name`` where there are several."""
        node = Node(f"{operator.alias}-{name}" if name else operator.alias, operator, sources)
        self._nodes.append(node)
        return node.id

    def line(self, source: str, operators: Sequence[Operator], *, name: str = "") -> str:
        """Add steps one after the other and return the last one's id."""
        for operator in operators:
            source = self.add(operator, source, name=name)
        return source

    def merged(self, parts: Sequence[str], polarisations: tuple[str, ...]) -> str:
        """Join subswaths, if there are several."""
        return self.add(TopsarMerge(selected_polarisations=polarisations), *parts) if len(parts) > 1 else parts[0]

    def graph(self) -> Graph:
        """Return what was built."""
        return Graph(tuple(self._nodes))
