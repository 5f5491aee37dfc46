"""Expressions as the client sends them, evaluated by Earth Engine's rules."""
