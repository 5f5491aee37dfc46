"""What the benchmarks of reading share: pixels, datasets of them, how time is taken, how it is shown."""
