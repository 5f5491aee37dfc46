"""Where bytes are kept: one adapter a module."""
