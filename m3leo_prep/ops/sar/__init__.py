"""Radar on arrays: from detected power in radar geometry to backscatter on the ground, and what it tells."""
