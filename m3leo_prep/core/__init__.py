"""Values and rules: areas, grid, lattices, layers, recipes, plans, encodings. No I/O."""
