"""How units of work are run: threads, processes, a Dask cluster."""
