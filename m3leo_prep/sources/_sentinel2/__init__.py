"""What Sentinel-2 images mean, whoever provides them: bands, baselines, clouds, and their reading."""
