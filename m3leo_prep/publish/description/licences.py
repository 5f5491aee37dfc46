"""Under which licence a dataset may be published: decided by the terms of what it was made of.

A layer cut from a work is an adaptation of it: what the work asks, the whole must ask too. Share-alike terms name the
only licences that they allow (https://wiki.creativecommons.org/wiki/Wiki/cc_license_compatibility), and the freest
licence that all inputs allow is taken. The table beside this module holds the terms; it is data.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from functools import cache
from importlib import resources
from typing import Any

import yaml

from m3leo_prep.core.errors import ConfigError
from m3leo_prep.core.text import near

UNKNOWN = ("", "unknown")
"""What a layer says whose source knows no licence."""
APART = "publish them apart, one repository per licence: `m3leo-prep build … --layers NAMES --out OTHER`"


@dataclass(frozen=True, slots=True)
class Attribution:
    """One thing that a dataset was made of."""

    what: str
    """Layers, or the area."""
    says: str
    """Its licence in the words of the manifest."""
    name: str
    """The licence's own name; empty where it is not known."""
    url: str
    citation: str


@dataclass(frozen=True, slots=True)
class Licence:
    """Under which licence a dataset is published."""

    hub_id: str
    """As the Hub's ``license:`` knows it."""
    name: str
    url: str
    notices: tuple[str, ...]
    """Texts that must travel with the data."""
    attributions: tuple[Attribution, ...]
    is_stated: bool
    """True where the publisher said it."""

    def document(self) -> dict[str, Any]:
        """Return what the manifest says of it."""
        return {
            "id": self.hub_id,
            "name": self.name,
            "url": self.url,
            "stated": self.is_stated,
            "notices": list(self.notices),
            "inputs": [asdict(one) for one in self.attributions],
        }


@dataclass(frozen=True, slots=True)
class Terms:
    """What the licence of an input asks."""

    name: str
    url: str
    asks: frozenset[str]
    only: tuple[str, ...]
    """The outputs that share-alike allows; empty = any."""
    forbids: str
    """Why nothing may be published; empty = it may."""
    notice: str


@dataclass(frozen=True, slots=True)
class Output:
    """A licence that a dataset may have."""

    hub_id: str
    name: str
    url: str
    gives: frozenset[str]
    is_chosen: bool
    """True where it is taken only when a person asks for it."""

    def allowed_by(self, terms: Terms) -> bool:
        """Return whether an input of these terms may be published under this licence."""
        return terms.asks <= self.gives and (not terms.only or self.hub_id in terms.only)


@dataclass(frozen=True, slots=True)
class _Input:
    what: str
    says: str
    citation: str
    years: str
    changes: str
    """What was done to it, which Creative Commons asks to say."""


def decide(manifest: Mapping[str, Any], licence: str | None = None) -> Licence:
    """Return the licence of a dataset: the freest that its inputs allow, or the one that is asked for.

    Args:
        manifest: the dataset's.
        licence: identifier of the Hub, such as ``cc-by-4.0``; None = the inputs decide.

    Raises:
        ConfigError: the licence of an input is not known and none is given; one forbids what is asked, or any
            publication; or two contradict each other.
    """
    inputs = list(_inputs(manifest))
    terms = {found.says: terms_of(found.says) for found in inputs}
    _refuse_forbidden(inputs, terms)
    known = [(found, known) for found in inputs if (known := terms[found.says]) is not None]
    if licence is None:
        _refuse_unknown([found for found in inputs if terms[found.says] is None], known)
        output = _freest(known)
    else:
        output = _asked(licence, known)
    notices = dict.fromkeys(text for found, asked in known for text in _notices(found, asked))
    return Licence(
        output.hub_id,
        output.name,
        output.url,
        tuple(notices),
        tuple(_attributions(inputs, terms)),
        licence is not None,
    )


def terms_of(says: str) -> Terms | None:
    """Return what a licence asks, by how a layer says it; None where it is not known."""
    return _table()[1].get(_key(says))


def outputs() -> Mapping[str, Output]:
    """Return the licences that a dataset may have, by the Hub's identifier, the freest first."""
    return _table()[0]


@cache
def _table() -> tuple[dict[str, Output], dict[str, Terms], tuple[tuple[str, str], ...]]:
    text = resources.files(__package__).joinpath("licences.yaml").read_text(encoding="utf-8")
    table = yaml.safe_load(text)
    made = {
        key: Output(key, row["name"], row["url"], frozenset(row["gives"]), bool(row.get("chosen")))
        for key, row in table["outputs"].items()
    }
    terms: dict[str, Terms] = {}
    for row in table["inputs"]:
        asked = Terms(
            row["name"],
            row.get("url", ""),
            frozenset(row.get("asks", ())),
            tuple(row.get("only", ())),
            row.get("forbids", ""),
            row.get("notice", ""),
        )
        terms |= {_key(says): asked for says in row["says"]}
    return made, terms, tuple((row["citation"], row["notice"]) for row in table["credits"])


def _key(says: str) -> str:
    return "-".join(re.findall(r"[a-z0-9.]+", says.lower()))


def _inputs(manifest: Mapping[str, Any]) -> Iterator[_Input]:
    """Yield what a dataset was made of: its layers, and what of the area and the units has a licence to keep."""
    for name, layer in manifest["layers"].items():
        says, citation = str(layer.get("licence") or ""), str(layer.get("citation") or "")
        yield _Input(f"layer {name}", says, citation, _years(layer), "cut, resampled and encoded anew")
    area = manifest["area"]
    if area.get("licence"):  # an outline that was only drawn has none, and is not published
        yield _Input(f"area {area['name']}", area["licence"], str(area.get("source") or ""), "", "encoded anew")
    if admin := manifest.get("admin"):  # their outlines are published, in units.parquet
        what = f"administrative units ({admin.get('file') or admin['name']})"
        yield _Input(what, str(admin.get("licence") or ""), str(admin.get("citation") or ""), "", "encoded anew")


def last_day(end: str) -> str:
    """Return the last day of a time that ends before this instant.

    >>> last_day("2020-06-13T00:00:00+00:00"), last_day("2020-06-13T10:00:00+00:00")
    ('2020-06-12', '2020-06-13')
    """
    return str((datetime.fromisoformat(end) - timedelta(microseconds=1)).date())


def _years(layer: Mapping[str, Any]) -> str:
    """Return the years of a layer's slots, such as ``2019-2020``."""
    starts = [slot["start"][:4] for slot in layer["slots"] if slot.get("start")]
    lasts = [last_day(slot["end"])[:4] for slot in layer["slots"] if slot.get("end")]
    years = sorted({*starts, *lasts})
    if not years:
        return "(years: see provenance/)"
    return years[0] if len(years) == 1 else f"{years[0]}-{years[-1]}"


def _refuse_forbidden(inputs: Iterable[_Input], terms: Mapping[str, Terms | None]) -> None:
    for found in inputs:
        if (known := terms[found.says]) is not None and known.forbids:
            raise ConfigError(
                f"this may not be published: {known.forbids}",
                where=found.what,
                hint="build the dataset without it (`m3leo-prep build … --layers NAMES --out OTHER`), or with another "
                "product of the same kind",
            )


def _refuse_unknown(inputs: list[_Input], known: list[tuple[_Input, Terms]]) -> None:
    if not inputs:
        return
    told = ", ".join(f"{one.what} ({one.says})" if one.says not in UNKNOWN else one.what for one in inputs)
    raise ConfigError(
        f"under which licence may this be published? Not known of: {told}",
        hint="write `licence:` under the layer, or under `admin:`, in the recipe and build again, or say the "
        f"licence of the whole with `--license ID` ({_allowed(known) or 'none is allowed by the others'}), if you may",
    )


def _freest(known: list[tuple[_Input, Terms]]) -> Output:
    for output in outputs().values():
        if not output.is_chosen and all(output.allowed_by(terms) for _, terms in known):
            return output
    strict = {found.what: terms.name for found, terms in known if terms.only or "non-commercial" in terms.asks}
    told = "; ".join(f"{what}: {name}" for what, name in strict.items())
    raise ConfigError(f"no licence allows these together: {told}", hint=APART)


def _asked(licence: str, known: list[tuple[_Input, Terms]]) -> Output:
    output = outputs().get(licence.strip().lower())
    if output is None:
        raise ConfigError(
            f"no licence '{licence}' for data is known", hint=near(licence, outputs(), most=len(outputs()))
        )
    forbidding = [(found, terms) for found, terms in known if not output.allowed_by(terms)]
    if forbidding:
        told = "; ".join(f"{found.what} ({terms.name}) {_wants(terms, output)}" for found, terms in forbidding)
        raise ConfigError(f"{output.hub_id} may not be the licence of this dataset: {told}", hint=_way_out(known))
    return output


def _wants(terms: Terms, output: Output) -> str:
    if terms.only:
        return f"allows only {' or '.join(terms.only)}"
    return f"asks for {' and '.join(sorted(terms.asks - output.gives))}"


def _way_out(known: list[tuple[_Input, Terms]]) -> str:
    allowed = _allowed(known)
    return f"its inputs allow {allowed}" if allowed else APART


def _allowed(known: list[tuple[_Input, Terms]]) -> str:
    """Return the licences that all known inputs allow, for people."""
    return ", ".join(one.hub_id for one in outputs().values() if all(one.allowed_by(terms) for _, terms in known))


def _notices(found: _Input, terms: Terms) -> Iterator[str]:
    citation = (found.citation or f"the data of {found.what}").rstrip(". ")
    if terms.notice:
        yield terms.notice.format(years=found.years, citation=citation, changes=found.changes)
    yield from (notice.format(years=found.years) for part, notice in _table()[2] if part in found.citation)


def _attributions(inputs: Iterable[_Input], terms: Mapping[str, Terms | None]) -> Iterator[Attribution]:
    """Yield the inputs, layers of the same licence and citation together."""
    groups: dict[tuple[str, str], list[str]] = {}
    for found in inputs:
        groups.setdefault((found.says, found.citation), []).append(found.what)
    for (says, citation), what in groups.items():
        names = [name.removeprefix("layer ") if place else name for place, name in enumerate(what)]
        if len(what) > 1 and all(name.startswith("layer ") for name in what):
            names[0] = f"layers {names[0].removeprefix('layer ')}"
        elif len(what) > 1:
            names = what
        known = terms[says]
        yield Attribution(", ".join(names), says, known.name if known else "", known.url if known else "", citation)
