"""ARIA Sentinel-1 geocoded unwrapped interferograms (GUNW), versions 2 and 3."""
