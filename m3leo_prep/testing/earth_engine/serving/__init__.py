"""The protocol, the limits, the faults, the record."""
