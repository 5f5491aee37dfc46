"""What the tests of HyP3 share."""

from __future__ import annotations

import pytest

from tests.sources.asf.hyp3.held import makes


@pytest.fixture(scope="module")
def made_once(tmp_path_factory):
    """Return what makes products, which the tests of a file share."""
    return makes(tmp_path_factory.mktemp("made"))
