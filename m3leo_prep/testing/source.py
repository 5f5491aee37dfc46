"""What every source must do, as a test class: subclass it, give it your source, run pytest.

    class TestMine(SourceContract):
        @pytest.fixture
        def source(self):
            return Mine(folder="data")

Override ``area``, ``slots`` and ``geobox`` where your source has no data at the default place and time.
``m3leo-prep check-source`` runs the same rules without pytest.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pytest
from affine import Affine
from odc.geo.geobox import GeoBox
from shapely.geometry import box

from m3leo_prep.core.raster import STATIC, Item, Slot
from m3leo_prep.core.slots import parse_slots
from m3leo_prep.ports.source import Source
from m3leo_prep.testing import source_pixels, source_rules
from m3leo_prep.testing.source_rules import Case

if TYPE_CHECKING:
    from shapely.geometry.base import BaseGeometry


class SourceContract:
    """The port's rules, checked from outside on real pixels."""

    @pytest.fixture
    def source(self) -> Source:
        """Return the source to check."""
        raise NotImplementedError("give the source to check: override the `source` fixture")

    @pytest.fixture
    def area(self) -> BaseGeometry:
        """Return a lon/lat area where the source has something."""
        return box(8.9, 49.4, 9.3, 49.6)

    @pytest.fixture
    def slots(self, source: Source) -> Sequence[Slot]:
        """Return slots in which the source has something."""
        return (STATIC,) if source.describe().is_static else parse_slots({"periods": [["2020-06-01", "2020-07-31"]]})

    @pytest.fixture
    def geobox(self) -> GeoBox:
        """Return a target inside the area: a chip of 10 m."""
        return GeoBox((448, 448), Affine(10.0, 0.0, 506_000.0, 0.0, -10.0, 5_482_000.0), "EPSG:32632")

    @pytest.fixture
    def case(self, source: Source, area: BaseGeometry, slots: Sequence[Slot], geobox: GeoBox) -> Case:
        """Return what the rules are tried on."""
        return Case(source, area, slots, geobox, type(source).__name__)

    @pytest.fixture
    def items(self, case: Case) -> list[Item]:
        """Return what the source finds; at least one item, else nothing would be checked."""
        return case.items

    @pytest.fixture
    def some(self, case: Case) -> list[Item]:
        """Return a few of the items that meet the target; reading all could take long."""
        return case.some

    def test_it_is_a_source(self, case: Case) -> None:
        """It has the methods, and describes itself the same each time."""
        source_rules.answers_describe(case)

    def test_describe_is_stable_and_complete(self, case: Case) -> None:
        """Names are unique; what goes into metadata is JSON; there is a version."""
        source_rules.describes_completely(case)

    def test_find_answers_twice_the_same(self, case: Case) -> None:
        """Content and order."""
        source_rules.finds_the_same_again(case)

    def test_find_answers_the_same_in_other_processes(self, case: Case) -> None:
        """The source pickles, and no order comes from a set or a hash, which differ between processes."""
        source_rules.finds_the_same_elsewhere(case)

    def test_no_item_comes_twice(self, case: Case) -> None:
        """Ids differ; footprints are valid lon/lat; times are in UTC."""
        source_rules.finds_good_items(case)

    def test_items_meet_the_area_and_the_slots(self, case: Case) -> None:
        """The footprint itself meets the area, not only its box; times are inside a slot."""
        source_rules.finds_what_meets_area_and_slots(case)

    def test_a_smaller_area_has_those_items_that_meet_it(self, case: Case) -> None:
        """In the same order: what an item is never depends on the area that asks."""
        source_rules.finds_less_in_less(case)

    def test_one_slot_has_those_items_that_fall_into_it(self, case: Case) -> None:
        """No item is lost or gained by asking for slots one by one."""
        source_rules.finds_slot_by_slot(case)

    def test_rasters_are_what_was_described(self, case: Case) -> None:
        """Known variables, all bands, right types, items in the order asked."""
        source_pixels.reads_what_was_described(case)

    def test_rasters_lie_where_they_were_asked_for(self, case: Case) -> None:
        """With a CRS that is there and right."""
        source_pixels.lies_where_it_was_asked(case)

    def test_valid_pixels_are_numbers(self, case: Case) -> None:
        """No NaN, no infinity."""
        source_pixels.holds_numbers(case)

    def test_masks_say_what_they_mean(self, case: Case) -> None:
        """True in ``valid`` is usable; a masked pixel is not valid."""
        source_pixels.says_masks_rightly(case)

    def test_values_are_possible(self, case: Case) -> None:
        """Codes of the legend; quantities in the unit of their kind."""
        source_pixels.holds_possible_values(case)

    def test_rasters_reach_beyond_the_target(self, case: Case) -> None:
        """Whatever a larger read shows within the margin of the target is there in the small one, too."""
        source_pixels.reaches_beyond(case)

    def test_a_pixel_does_not_depend_on_the_window(self, case: Case) -> None:
        """Overlapping windows lie on one grid and agree bit for bit."""
        source_pixels.ignores_the_window(case)

    def test_rasters_stay_as_they_came(self, case: Case) -> None:
        """A later read of another window does not write into them."""
        source_pixels.leaves_rasters_alone(case)

    def test_threads_do_not_disturb_each_other(self, case: Case) -> None:
        """Four at once, some of other windows, get what one alone gets."""
        source_pixels.is_safe_in_threads(case)

    def test_a_pickled_source_reads_the_same(self, case: Case) -> None:
        """Sources go to worker processes."""
        source_pixels.reads_the_same_unpickled(case)

    def test_an_item_elsewhere_yields_nothing(self, case: Case) -> None:
        """On the other side of the Earth there is none of an item that is not there."""
        source_pixels.gives_nothing_elsewhere(case)
