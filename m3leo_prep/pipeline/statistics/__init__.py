"""Statistics of a layer's pixels: counted while a dataset is built, and by a pass over it for a further policy."""
