"""OPERA RTC-S1: terrain-corrected backscatter of Sentinel-1, burst by burst, and its static geometry."""
