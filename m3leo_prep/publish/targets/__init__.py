"""Where datasets are published: one adapter a module."""
