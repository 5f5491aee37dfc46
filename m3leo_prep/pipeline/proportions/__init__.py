"""Label proportions: what the labels say of a chip, and of an administrative unit, as columns of the tables."""
