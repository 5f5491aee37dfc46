"""Sentinel-1 GRD: detected images in radar geometry, calibrated and laid on the lattice."""
