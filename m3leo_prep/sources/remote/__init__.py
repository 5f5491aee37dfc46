"""Rasters that lie on servers: ranges of bytes by S3 or HTTPS, within a provider's limits, and their decoding."""
