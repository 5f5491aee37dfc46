"""What a build takes from its providers: projected before it, measured by trying, counted while it runs."""
