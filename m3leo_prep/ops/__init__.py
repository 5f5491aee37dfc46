"""Arrays in, arrays out: warping, compositing, quality. No I/O."""
