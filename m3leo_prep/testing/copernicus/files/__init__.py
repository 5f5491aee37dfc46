"""Files as the archives hold them, written from arrays."""
