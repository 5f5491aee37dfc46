"""Pixels out of shards: which chunks, from disk or over a network, decoded, converted."""
