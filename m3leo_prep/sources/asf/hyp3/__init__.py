"""HyP3: products of Sentinel-1 that ASF makes on demand, ordered, waited for, and kept here."""
