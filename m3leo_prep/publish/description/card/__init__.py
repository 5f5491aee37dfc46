"""The dataset card: a page that tells what a dataset is, from its manifest and tables alone."""
