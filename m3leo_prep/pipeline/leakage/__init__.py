"""Leakage: how near what a model is judged by lies to what it learned from, measured and not believed."""
