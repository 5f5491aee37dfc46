"""Which images there are for an area and its slots."""
