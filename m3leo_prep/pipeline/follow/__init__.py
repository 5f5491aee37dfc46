"""What a build tells while it runs, and to whom."""
