"""Processing graphs: nodes of operators, written as the XML that ``gpt`` reads, and checked before it does."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from m3leo_prep.core.errors import ConfigError
from m3leo_prep.core.text import near
from m3leo_prep.sources.snap.operators import Operator, Read, Value, Write
from m3leo_prep.sources.snap.schema import Declared, declared, ours

_DOM = "com.bc.ceres.binding.dom.XppDomElement"
_WHERE = "SNAP graph"


@dataclass(frozen=True, slots=True)
class Node:
    """One step of a graph."""

    id: str
    operator: Operator
    sources: tuple[str, ...] = ()
    """Ids of the nodes whose products it takes, in order."""


@dataclass(frozen=True, slots=True)
class Graph:
    """Steps that end in one ``Write``."""

    nodes: tuple[Node, ...]

    def xml(self, release: int) -> str:
        """Return the graph for a release of SNAP: each parameter that it knows with its value, checked.

        Raises:
            ConfigError: it is not what SNAP takes; see ``check``.
        """
        root = ET.Element("graph", id="Graph")
        ET.SubElement(root, "version").text = "1.0"
        for node in self.nodes:
            about = declared(node.operator.alias, release)
            element = ET.SubElement(root, "node", id=node.id)
            ET.SubElement(element, "operator").text = about.name
            sources = ET.SubElement(element, "sources")
            for number, source in enumerate(node.sources):
                ET.SubElement(sources, f"sourceProduct.{number}" if number else "sourceProduct", refid=source)
            parameters = ET.SubElement(element, "parameters", {"class": _DOM})
            values = node.operator.values()
            for name, parameter in about.parameters.items():
                value = values[ours(name)]
                if not (parameter.unset and value is None):
                    ET.SubElement(parameters, name).text = _written(value)
        ET.indent(root)
        text = ET.tostring(root, encoding="unicode") + "\n"
        check(text, release)
        return text

    def output(self) -> Path:
        """Return what the graph writes."""
        (path,) = (node.operator.file for node in self.nodes if isinstance(node.operator, Write))
        return path

    def inputs(self) -> tuple[Path, ...]:
        """Return what the graph reads."""
        return tuple(node.operator.file for node in self.nodes if isinstance(node.operator, Read))


def check(text: str, release: int) -> None:
    """Check the XML of a graph against what a release of SNAP takes, before any of it runs.

    Raises:
        ConfigError: no XML; an operator or parameter that is not known; one left out; a value that cannot be; a source
            that is not there or that depends on the node itself; not one ``Write``, or a node that it does not need.
    """
    try:
        root = ET.fromstring(text)  # noqa: S314  our own text, or that of a test
    except ET.ParseError as error:
        raise ConfigError(f"it is no XML: {error}", where=_WHERE) from None
    sources: dict[str, list[str]] = {}
    writes = []
    for node in root.iter("node"):
        name = node.get("id", "")
        if name in sources:
            raise ConfigError(f"two nodes are called '{name}'", where=_WHERE)
        about = declared(node.findtext("operator", ""), release)
        sources[name] = [source.get("refid", "") for source in node.find("sources") or ()]
        _check_parameters(name, about, {one.tag: one.text or "" for one in node.find("parameters") or ()})
        _check_number(name, about, len(sources[name]))
        writes += [name] if about.name == Write.alias else []
    if len(writes) != 1:
        raise ConfigError(f"it writes {len(writes)} products, not one", where=_WHERE)
    unused = set(sources) - _reached(writes[0], sources, ())
    if unused:
        raise ConfigError(f"nothing needs: {', '.join(sorted(unused))}", where=_WHERE)


def _check_parameters(node: str, about: Declared, given: Mapping[str, str]) -> None:
    where = f"{_WHERE}, {node}"
    for name in given:
        if name not in about.parameters:
            hint = near(name, about.parameters)
            raise ConfigError(f"'{about.name}' has no parameter '{name}'", where=where, hint=hint)
    for name, parameter in about.parameters.items():
        if name not in given:
            if parameter.unset:
                continue
            raise ConfigError(f"'{name}' is left to SNAP's default, which changes with releases", where=where)
        fault = parameter.fault(given[name])
        if fault:
            raise ConfigError(f"{name}: {fault}", where=where)


def _check_number(node: str, about: Declared, count: int) -> None:
    if count < about.sources or (count > about.sources and not about.several):
        least = "at least " if about.several else ""
        raise ConfigError(f"takes {count} products, not {least}{about.sources}", where=f"{_WHERE}, {node}")


def _reached(node: str, sources: Mapping[str, Iterable[str]], path: tuple[str, ...]) -> set[str]:
    """Return a node and all that it needs."""
    where = f"{_WHERE}, {path[-1]}" if path else _WHERE
    if node not in sources:
        raise ConfigError(f"there is no node '{node}' to take a product from", where=where, hint=near(node, sources))
    if node in path:
        raise ConfigError(f"it needs itself: {' <- '.join((*path, node))}", where=where)
    return {node}.union(*(_reached(source, sources, (*path, node)) for source in sources[node]))


def _written(value: Value) -> str:
    """Return a value as SNAP's converters read it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return ",".join(value)
    return "" if value is None else str(value)
