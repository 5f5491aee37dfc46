"""Public test kit: contract classes to subclass for your own sources, blobs and runners."""
