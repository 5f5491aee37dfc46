"""The consumers' side: chips as tensors and as xarray, without GDAL."""
