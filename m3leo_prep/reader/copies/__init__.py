"""Parts of a dataset copied to this machine: pulling, staging."""
