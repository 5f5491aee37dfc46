"""Where pixels come from: one adapter a module, loaded by entry point."""
