"""Operators of SNAP as typed values: each field is a parameter, and each parameter is a field.

Names are SNAP's own with underscores (``externalDEMFile`` is ``external_dem_file``). A field without a default is for
the chain to choose. The defaults are ours and never SNAP's, which change from release to release; they are SNAP's of
today where nothing is said, and a comment says why where they differ.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import ClassVar, Literal

Value = str | bool | int | float | Path | tuple[str, ...] | None

PRECISE: Literal["Sentinel Precise (Auto Download)"] = "Sentinel Precise (Auto Download)"
"""SNAP takes restituted orbits by itself where there is no precise one (``ApplyOrbitFileOp.updateOrbits``)."""
GLO30 = "Copernicus 30m Global DEM"
"""Fetched by SNAP itself; heights above EGM2008."""
BILINEAR, BICUBIC = "BILINEAR_INTERPOLATION", "BICUBIC_INTERPOLATION"
LATEST = "Latest Auxiliary File"
FROM_DEM = "Use projected local incidence angle from DEM"
DEFAULT_FORMAT = "BEAM-DIMAP"
"""SNAP's own: one file for each band, named as the band is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Operator:
    """One operator with all its parameters."""

    alias: ClassVar[str]
    """What SNAP calls it."""

    def values(self) -> dict[str, Value]:
        """Return each parameter's value by our name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Read(Operator):
    """A product, as archived."""

    alias: ClassVar[str] = "Read"
    file: Path
    format_name: str | None = None
    use_advanced_options: bool = False
    copy_metadata: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Write(Operator):
    """The result, as files."""

    alias: ClassVar[str] = "Write"
    file: Path
    format_name: str = DEFAULT_FORMAT
    delete_output_on_failure: bool = True
    write_entire_tile_rows: bool = False
    clear_cache_after_row_write: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplyOrbitFile(Operator):
    """Orbits as determined afterwards, in place of those that the satellite knew."""

    alias: ClassVar[str] = "Apply-Orbit-File"
    orbit_type: Literal["Sentinel Precise (Auto Download)"] = PRECISE
    poly_degree: int = 3
    continue_on_fail: bool = False  # orbits of the annotation would be off by metres, unseen


@dataclass(frozen=True, slots=True, kw_only=True)
class ThermalNoiseRemoval(Operator):
    """Noise power subtracted."""

    alias: ClassVar[str] = "ThermalNoiseRemoval"
    selected_polarisations: tuple[str, ...]
    remove_thermal_noise: bool = True
    output_noise: bool = False
    re_introduce_thermal_noise: bool = False
    clip_negative_values: bool = False  # averages over noise would be too bright; releases before 14 always clip


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveGrdBorderNoise(Operator):
    """Low border values masked; SNAP leaves products of IPF 2.9 and later as they are."""

    alias: ClassVar[str] = "Remove-GRD-Border-Noise"
    selected_polarisations: tuple[str, ...]
    border_limit: int = 500
    trim_threshold: float = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration(Operator):
    """Digital numbers to backscatter."""

    alias: ClassVar[str] = "Calibration"
    source_bands: tuple[str, ...] = ()
    aux_file: str = LATEST
    external_aux_file: Path | None = None
    output_image_in_complex: bool
    output_image_scale_in_db: bool = False
    create_gamma_band: bool = False
    create_beta_band: bool = False
    selected_polarisations: tuple[str, ...]
    output_sigma_band: bool
    output_gamma_band: bool = False
    output_beta_band: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeckleFilter(Operator):
    """Speckle of single images filtered."""

    alias: ClassVar[str] = "Speckle-Filter"
    source_bands: tuple[str, ...] = ()
    filter: Literal["Refined Lee", "Lee Sigma", "Gamma Map", "Lee"]
    filter_size_x: int = 3
    filter_size_y: int = 3
    damping_factor: int = 2
    estimate_enl: bool = False
    enl: float = 1.0
    num_looks_str: str = "1"
    window_size: str = "7x7"
    target_window_size_str: str = "3x3"
    sigma_str: str = "0.9"
    an_size: int = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class TerrainFlattening(Operator):
    """Beta nought to gamma nought of the illuminated area (Small 2011)."""

    alias: ClassVar[str] = "Terrain-Flattening"
    source_bands: tuple[str, ...] = ()
    dem_name: str = GLO30
    dem_resampling_method: str = BILINEAR
    external_dem_file: Path | None = None
    external_dem_no_data_value: float = 0.0
    external_dem_apply_egm: bool = True  # SNAP's own defaults differ between this operator and Terrain-Correction
    output_simulated_image: bool = False
    output_sigma0: bool = False
    nodata_value_at_sea: bool = False  # true drops the sea and low coast
    additional_overlap: float = 0.1
    oversampling_multiple: float = 1.0
    apply_apd_correction: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TerrainCorrection(Operator):
    """Radar geometry to a map, by range, Doppler and heights."""

    alias: ClassVar[str] = "Terrain-Correction"
    source_bands: tuple[str, ...] = ()
    dem_name: str = GLO30
    external_dem_file: Path | None = None
    external_dem_no_data_value: float = 0.0
    external_dem_apply_egm: bool = True
    dem_resampling_method: str = BILINEAR
    img_resampling_method: str = BILINEAR
    pixel_spacing_in_meter: float
    pixel_spacing_in_degree: float = 0.0
    map_projection: str
    align_to_standard_grid: bool = True  # false shifts each scene by a part of a pixel
    standard_grid_origin_x: float
    standard_grid_origin_y: float
    nodata_value_at_sea: bool = False
    save_dem: bool = False
    save_lat_lon: bool = False
    save_incidence_angle_from_ellipsoid: bool = False
    save_local_incidence_angle: bool = False
    save_projected_local_incidence_angle: bool = False
    save_selected_source_band: bool = True
    save_layover_shadow_mask: bool = False
    output_complex: bool = False
    apply_radiometric_normalization: bool = False
    save_sigma_nought: bool = False
    save_gamma_nought: bool = False
    save_beta_nought: bool = False
    incidence_angle_for_sigma0: str = FROM_DEM
    incidence_angle_for_gamma0: str = FROM_DEM
    aux_file: str = LATEST
    apply_apd_correction: bool = False
    external_aux_file: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TopsarSplit(Operator):
    """The bursts of one subswath."""

    alias: ClassVar[str] = "TOPSAR-Split"
    subswath: Literal["IW1", "IW2", "IW3"]
    enable_single_swath_mode: bool = False
    selected_polarisations: tuple[str, ...]
    first_burst_index: int = 1
    last_burst_index: int = 9999
    wkt_aoi: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BackGeocoding(Operator):
    """The second product on the grid of the first, by orbits and heights."""

    alias: ClassVar[str] = "Back-Geocoding"
    dem_name: str = GLO30
    dem_resampling_method: str = BICUBIC
    external_dem_file: Path | None = None
    external_dem_no_data_value: float = 0.0
    resampling_type: str = "BISINC_5_POINT_INTERPOLATION"
    mask_out_area_without_elevation: bool = False  # true drops the sea and low coast
    output_range_azimuth_offset: bool = False
    output_deramp_demod_phase: bool = False
    disable_reramp: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class EnhancedSpectralDiversity(Operator):
    """The rest of the misregistration, from where bursts overlap; needs two bursts or more."""

    alias: ClassVar[str] = "Enhanced-Spectral-Diversity"
    fine_win_width_str: str = "512"
    fine_win_height_str: str = "512"
    fine_win_acc_azimuth: str = "16"
    fine_win_acc_range: str = "16"
    fine_win_oversampling: str = "128"
    x_corr_threshold: float = 0.1
    coh_threshold: float = 0.3
    num_blocks_per_overlap: int = 10
    esd_estimator: Literal["Average", "Periodogram"] = "Periodogram"
    weight_func: Literal["None", "Linear", "Quadratic", "Inv Quadratic"] = "Inv Quadratic"
    temporal_baseline_type: str = "Number of images"
    max_temporal_baseline: int = 4
    integration_method: str = "L1 and L2"
    do_not_write_target_bands: bool = False
    use_supplied_range_shift: bool = False
    overall_range_shift: float = 0.0
    use_supplied_azimuth_shift: bool = False
    overall_azimuth_shift: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Coherence(Operator):
    """Coherence of a coregistered pair."""

    alias: ClassVar[str] = "Coherence"
    coh_win_az: int
    coh_win_rg: int
    subtract_flat_earth_phase: bool = True  # fringes inside the window would lower the coherence
    srp_polynomial_degree: int = 5
    srp_number_points: int = 501
    orbit_degree: int = 3
    square_pixel: bool = False  # the window is said in both directions
    subtract_topographic_phase: bool = True
    correct_coherence_bias: bool = False  # known to releases from 14 on only; ours are the same for all
    remove_local_phase_ramp: bool = False
    dem_name: str = GLO30
    external_dem_file: Path | None = None
    external_dem_no_data_value: float = 0.0
    external_dem_apply_egm: bool = True
    tile_extension_percent: str = "100"
    single_master: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Interferogram(Operator):
    """Interferogram and coherence of a coregistered pair."""

    alias: ClassVar[str] = "Interferogram"
    subtract_flat_earth_phase: bool = True
    srp_polynomial_degree: int = 5
    srp_number_points: int = 501
    orbit_degree: int = 3
    include_coherence: bool = True
    coh_win_az: int
    coh_win_rg: int
    coh_win_size_meters: float = 0.0
    gslc_mode_auto_detected: bool = False
    square_pixel: bool = False
    subtract_topographic_phase: bool = True
    subtract_residual_ramp: bool = False
    dem_name: str = GLO30
    external_dem_file: Path | None = None
    external_dem_no_data_value: float = 0.0
    external_dem_apply_egm: bool = True
    tile_extension_percent: str = "100"
    output_flat_earth_phase: bool = False
    output_topo_phase: bool = False
    output_elevation: bool = False
    output_lat_lon: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TopsarDeburst(Operator):
    """Bursts joined."""

    alias: ClassVar[str] = "TOPSAR-Deburst"
    selected_polarisations: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TopsarMerge(Operator):
    """Subswaths joined."""

    alias: ClassVar[str] = "TOPSAR-Merge"
    selected_polarisations: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Multilook(Operator):
    """Averages over looks."""

    alias: ClassVar[str] = "Multilook"
    source_bands: tuple[str, ...] = ()
    n_rg_looks: int
    n_az_looks: int
    output_intensity: bool = False
    gr_square_pixel: bool = False  # looks are said in both directions


@dataclass(frozen=True, slots=True, kw_only=True)
class PolarimetricMatrices(Operator):
    """The covariance matrix."""

    alias: ClassVar[str] = "Polarimetric-Matrices"
    matrix: Literal["C2"] = "C2"


@dataclass(frozen=True, slots=True, kw_only=True)
class PolarimetricSpeckleFilter(Operator):
    """Speckle of the matrix filtered."""

    alias: ClassVar[str] = "Polarimetric-Speckle-Filter"
    filter: str = "Refined Lee Filter"
    filter_size: int = 5
    num_looks_str: str
    window_size: str = "7x7"
    target_window_size_str: str = "3x3"
    an_size: int = 50
    sigma_str: str = "0.9"
    search_window_size_str: str = "15"
    patch_size_str: str = "5"
    scale_size_str: str = "1"


@dataclass(frozen=True, slots=True, kw_only=True)
class PolarimetricDecomposition(Operator):
    """Entropy, anisotropy and alpha."""

    alias: ClassVar[str] = "Polarimetric-Decomposition"
    decomposition: str = "H-Alpha Dual Pol Decomposition"
    window_size: int
    apply_orientation_angle_correction: bool = False
    output_ha_alpha: bool = True
    output_beta_delta_gamma_lambda: bool = False
    output_alpha123: bool = False
    output_lambda123: bool = False
    output_touzi_param_set0: bool = False
    output_touzi_param_set1: bool = False
    output_touzi_param_set2: bool = False
    output_touzi_param_set3: bool = False
    output_huynen_param_set0: bool = False
    output_huynen_param_set1: bool = False
