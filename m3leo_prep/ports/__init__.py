"""The protocols that adapters implement: Source, Blobs, Runner."""
