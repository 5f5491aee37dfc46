"""What importing costs: a bare install reads datasets, and nothing heavy is imported before it is needed."""

from __future__ import annotations

import pkgutil
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

import m3leo_prep
import m3leo_prep.blobs
import m3leo_prep.core
import m3leo_prep.ports
import m3leo_prep.reader
import m3leo_prep.store

ROOT = Path(__file__).resolve().parents[1]
HEAVY = ("rasterio", "numba", "geopandas", "torch", "dask", "xarray", "pandas", "zarr", "matplotlib")
REMOTE = ("urllib3", "obstore", "fsspec", "huggingface_hub")
NOT_IN_BARE_INSTALL = (
    *("rasterio", "numba", "geopandas", "torch", "dask", "h5py", "h5netcdf", "scipy", "matplotlib", "lightning"),
    *REMOTE,
)
TENSORS = {
    f"m3leo_prep.reader.learning.{name}"
    for name in ("chips", "collate", "loader", "phase_read", "sampler", "tensors", "torchgeo", "upsample")
}
NETWORKS = {f"m3leo_prep.blobs.{name}" for name in ("http", "hub", "objects", "other", "web")}
"""Loaded when an address is opened, and told then if they lack something."""
COMPILED = "m3leo_prep.reader.pixels.compiled"
"""Loaded where numba can be imported; NumPy does the same without it."""
PICTURES = "m3leo_prep.reader.picture.page"

LOADED = """
import sys
import {module}
print(*sorted({heavy!r} & sys.modules.keys()))
"""
# None in sys.modules is how Python says "not installed", to an import and to find_spec alike.
BLOCKED = """
import sys
sys.modules |= dict.fromkeys({blocked!r})
import {module}
"""


def run_python(code: str) -> str:
    """Return what a fresh interpreter prints."""
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def modules(package: ModuleType) -> list[str]:
    """Return the names of a package and all modules in it."""
    inside = pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
    return [package.__name__, *(module.name for module in inside)]


@pytest.mark.parametrize("module", ["m3leo_prep", "m3leo_prep.cli.main"])
def test_importing_loads_nothing_heavy(module: str) -> None:
    assert run_python(LOADED.format(module=module, heavy=set(HEAVY))) == ""


def test_the_check_of_loaded_modules_can_fail() -> None:
    assert run_python(LOADED.format(module="yaml, json", heavy={"json", "yaml", "torch"})) == "json yaml"


@pytest.mark.parametrize(
    "package", [m3leo_prep.core, m3leo_prep.store, m3leo_prep.blobs, m3leo_prep.ports, m3leo_prep.reader]
)
def test_every_module_of_the_reading_side_imports_in_a_bare_install(package: ModuleType) -> None:
    needed = ", ".join(name for name in modules(package) if name not in {*TENSORS, *NETWORKS, PICTURES, COMPILED})
    run_python(BLOCKED.format(blocked=NOT_IN_BARE_INSTALL, module=needed))


def test_tensors_need_torch_and_nothing_else() -> None:
    blocked = [name for name in NOT_IN_BARE_INSTALL if name != "torch"]
    run_python(BLOCKED.format(blocked=blocked, module=", ".join(sorted(TENSORS))))


def test_pictures_need_matplotlib_and_nothing_else() -> None:
    blocked = [name for name in NOT_IN_BARE_INSTALL if name != "matplotlib"]
    run_python(BLOCKED.format(blocked=blocked, module=PICTURES))


def test_without_torch_the_message_has_the_install_line() -> None:
    with pytest.raises(AssertionError, match=r"pip install 'm3leo-prep\[torch\]'"):
        run_python(BLOCKED.format(blocked=["torch"], module="m3leo_prep.reader.learning.chips"))


def test_the_blocker_can_fail() -> None:
    with pytest.raises(AssertionError, match="import of rasterio halted"):
        run_python(BLOCKED.format(blocked=NOT_IN_BARE_INSTALL, module="rasterio"))


def test_every_public_name_resolves() -> None:
    missing = [name for name in m3leo_prep.__all__ if not hasattr(m3leo_prep, name)]
    assert missing == []


def test_version_is_that_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert m3leo_prep.__version__ == project["version"]
    assert f"## [{project['version']}]" in (ROOT / "CHANGELOG.md").read_text()


def test_constraints_pin_what_pyproject_asks_for() -> None:
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [
        *project["dependencies"],
        *(r for e in ("build", "torch", "dev") for r in project["optional-dependencies"][e]),
    ]
    pins = {}
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            name, _, version = line.partition("==")
            assert version, f"'{line}' is not a pin"
            assert "+" not in version, f"'{line}' names one build of one machine"
            pins[canonicalize_name(name)] = version
    for requirement in map(Requirement, wanted):
        name = canonicalize_name(requirement.name)
        if name != "m3leo-prep":
            assert pins[name] in requirement.specifier, f"{requirement} against {pins[name]}"
