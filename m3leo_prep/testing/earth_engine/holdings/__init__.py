"""What the stand-in holds: a synthetic archive, or rasters of a folder."""
