"""Which of an area's chips are built."""
