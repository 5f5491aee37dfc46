"""Transforms of one sample that keep values, masks, labels and directions true to each other."""
