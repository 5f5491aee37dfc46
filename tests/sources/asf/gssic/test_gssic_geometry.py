"""Incidence, layover and shadow for each orbit: D34."""

import numpy as np
from odc.geo.geobox import GeoBox

from m3leo_prep.core.choice import parse_rule
from m3leo_prep.core.raster import Absent, Kind, Raster
from m3leo_prep.core.reasons import Reason
from m3leo_prep.sources.asf import Asf
from m3leo_prep.sources.asf.gssic.geometry import GssicGeometry
from tests.sources.asf.gssic.test_gssic_reading import MEXICO_CHIP, outline

RULE = parse_rule({"orbits": 2})


def test_each_orbit_is_read_alone(orbits):
    source = GssicGeometry()
    items = list(source.find(outline(MEXICO_CHIP), RULE.slots()))
    assert [item.id for item in items] == ["N20W100_12A", "N20W100_70D", "N20W100_143D"]
    for item, orbit in ((items[0], "12A"), (items[2], "143D")):
        inc, lsmap = source.read([item], MEXICO_CHIP, RULE.slots()[0])
        row, col = round((20 - inc.geobox.transform.f) * 1200), round((inc.geobox.transform.c + 100) * 1200)
        rows, cols = inc.geobox.shape
        np.testing.assert_array_equal(inc.data[0], orbits["N20W100", orbit][row : row + rows, col : col + cols])
        assert (inc.variable, inc.data.dtype, lsmap.variable) == ("inc", np.float32, "lsmap")
        assert set(np.unique(lsmap.data)) == {1, 5, 17, 21}
        assert lsmap.valid.all()


def test_what_an_orbit_lacks_is_said(orbits):
    source = GssicGeometry()
    items = list(source.find(outline(MEXICO_CHIP), RULE.slots()))
    given = list(source.read(items[1:2], MEXICO_CHIP, RULE.slots()[0]))
    assert [type(one) for one in given] == [Raster, Absent]
    assert (given[1].variable, given[1].bands, given[1].reason) == ("lsmap", ("lsmap",), Reason.BAND_NOT_IN_PRODUCT)


def test_slots_take_the_orbits_that_cover_most_and_never_mix_them(orbits):
    """On the seam between two tiles, the orbit that has one of them only comes last."""
    source = Asf(product="gssic-geometry", bands=["inc"])
    seam = GeoBox((56, 56), MEXICO_CHIP.transform.translation(11_760, 0) @ MEXICO_CHIP.transform, MEXICO_CHIP.crs)
    items = list(source.find(outline(seam), RULE.slots()))
    chosen = RULE.choose(outline(seam), items)
    assert [[item.id for item in slot] for slot in chosen] == [
        ["N20W100_12A", "N20W099_12A"],
        ["N20W100_143D", "N20W099_143D"],
    ]
    assert all(len({item.acquisition for item in slot}) == 1 for slot in chosen)


def test_what_it_says_of_itself():
    info = GssicGeometry().describe()
    assert info.slot_kinds == ("orbit",)
    assert not info.is_static
    assert [(one.name, one.kind, one.unit) for one in info.variables] == [
        ("inc", Kind.CONTINUOUS, "degree"),
        ("lsmap", Kind.CLASSES, "1"),
    ]
