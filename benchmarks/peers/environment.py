"""Makes the environment of the peers, on top of the one this runs in; prints its Python.

python benchmarks/peers/environment.py [FOLDER]

Their torchvision breaks lightning beside it, and they want an older NumPy: so they get a folder of their own, and all
else from here (PyTorch above all, which pip would fetch again with CUDA).
"""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import tempfile
import venv
from importlib import metadata
from pathlib import Path

PEERS = ("litdata==0.2.76", "mosaicml-streaming==0.13.0")
DEFAULT = Path(tempfile.gettempdir()) / "m3leo-prep-bench-peers"
READY = "ready"
"""File of an environment that is whole."""


def python_of(folder: Path) -> Path:
    """Return the interpreter of an environment."""
    return folder / "bin" / "python"


def make(folder: Path) -> Path:
    """Make the environment if it is not there, and return its Python."""
    ready = folder / READY
    if not ready.exists():
        venv.create(folder, with_pip=True, clear=True)
        python = python_of(folder)
        ask = "import sysconfig; print(sysconfig.get_path('purelib'))"
        site = subprocess.run([python, "-c", ask], check=True, capture_output=True, text=True).stdout.strip()
        (Path(site) / "below.pth").write_text(sysconfig.get_path("purelib") + "\n")
        fixed = folder / "constraints.txt"
        fixed.write_text(f"torch=={metadata.version('torch').split('+')[0]}\n")
        command = [python, "-m", "pip", "install", "--quiet", "--constraint", fixed, *PEERS]
        subprocess.run(command, check=True, stdout=sys.stderr)
        ready.touch()
    return python_of(folder)


if __name__ == "__main__":
    print(make(Path(sys.argv[1]) if len(sys.argv) > 1 else DEFAULT))
