"""One HTML page about a dataset, for a person: map, pictures, numbers, what is missing and why."""
