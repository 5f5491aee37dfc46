"""What is fixed about the synthetic Earth and its sensors; imports nothing that computes."""

from __future__ import annotations

from m3leo_prep.core.raster import LegendClass

LEGEND = (
    LegendClass(10, "Tree cover", "#006400"),
    LegendClass(20, "Shrubland", "#ffbb22"),
    LegendClass(30, "Grassland", "#ffff4c"),
    LegendClass(40, "Cropland", "#f096ff"),
    LegendClass(50, "Built-up", "#fa0000"),
    LegendClass(60, "Bare / sparse vegetation", "#b4b4b4"),
    LegendClass(80, "Permanent water bodies", "#0064c8"),
    LegendClass(90, "Herbaceous wetland", "#0096a0"),
)
"""The codes, names and colours of ESA WorldCover, those that occur here."""
BANDS = ("blue", "green", "red", "nir", "swir1", "swir2")
LONLAT = "EPSG:4326"
ENL = 4.4
"""Equivalent number of looks of an S1 IW GRD-H pixel (ESA, Sentinel-1 product definition)."""
DELAYS_DAYS = (12, 24, 36, 48)
COHERENCE_LOOKS = 60
WAVELENGTH_M = 0.05546576
