"""Global seasonal Sentinel-1 coherence and backscatter (GSSIC): tiles of one degree in an open bucket."""
