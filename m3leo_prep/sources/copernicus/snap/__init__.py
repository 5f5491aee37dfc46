"""Products of Sentinel-1 that SNAP makes here of whole scenes of the Data Space."""
