"""Runs one graph by ``esa_snappy``, in a process of its own, by the Python that ``esa_snappy`` is configured for.

Run as a file, it imports nothing of this package, which that Python need not have:

    python snappy.py --release
    python snappy.py GRAPH.xml

Nothing else imports ``esa_snappy``: it starts a Java machine, which no process can end or start again, and which keeps
memory from product to product. How much memory it may take stands in ``java_max_mem`` of ``esa_snappy.ini``.
"""

from __future__ import annotations

import os
import sys


def main(arguments: list[str]) -> int:
    """Run what the arguments name; return the exit status."""
    if len(arguments) != 1:
        print("say GRAPH.xml or --release", file=sys.stderr)  # noqa: T201  a program's own output
        return 2
    # Python puts a program's folder first: there lie modules of ours that others call theirs, such as this one's name.
    here = os.path.dirname(os.path.abspath(__file__))  # noqa: PTH100, PTH120  as Python made it
    sys.path = [path for path in sys.path if path != here]
    from esa_snappy import jpy

    if arguments == ["--release"]:
        system = jpy.get_type("org.esa.snap.core.util.SystemUtils")
        print(f"SNAP Release version {system.getReleaseVersion()}")  # noqa: T201
        return 0
    # Importing esa_snappy has started SNAP's engine; operators are looked for when somebody asks.
    jpy.get_type("org.esa.snap.core.gpf.GPF").getDefaultInstance().getOperatorSpiRegistry().loadOperatorSpis()
    graph_io = jpy.get_type("org.esa.snap.core.gpf.graph.GraphIO")
    processor = jpy.get_type("org.esa.snap.core.gpf.graph.GraphProcessor")
    no_monitor = jpy.get_type("com.bc.ceres.core.ProgressMonitor").NULL
    graph = graph_io.read(jpy.get_type("java.io.FileReader")(arguments[0]))
    processor().executeGraph(graph, no_monitor)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
