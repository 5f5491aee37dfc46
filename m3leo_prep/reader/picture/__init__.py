"""What a chip looks like."""
