"""Splits: which chips a model may learn from, and which it is judged by. Pure functions of place and seed."""
