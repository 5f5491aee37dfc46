"""The on-disk format: shards, Zarr metadata, ledger, tables."""
