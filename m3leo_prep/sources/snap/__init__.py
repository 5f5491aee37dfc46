"""ESA SNAP: processing graphs as typed values, checked before they run, run by ``gpt`` in a process of its own."""
