"""Libraries that need an environment of their own: litdata and mosaic-streaming."""
