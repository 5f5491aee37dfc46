"""What was asked: every request the stand-in got, and what its expression says."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

Node = Mapping[str, Any]


@dataclass(frozen=True)
class Expression:
    """A graph as the REST API has it, and what can be read off without evaluating it.

    https://developers.google.com/earth-engine/reference/rest/v1/Expression
    """

    graph: Mapping[str, Any]

    @cached_property
    def calls(self) -> list[tuple[str, dict[str, Any]]]:
        """Name and arguments of every call, once each; constants are spelled out, anything else is None."""
        return list(self._calls())

    @property
    def functions(self) -> list[str]:
        """Names of the functions called, once each, sorted."""
        return sorted({name for name, _ in self.calls})

    @property
    def assets(self) -> list[str]:
        """Ids of the images and collections that are loaded, once each, in order."""
        loads = ("Image.load", "ImageCollection.load", "Collection.loadTable")
        found = (str(given.get("id", given.get("tableId"))) for name, given in self.calls if name in loads)
        return list(dict.fromkeys(found))

    @property
    def dates(self) -> list[tuple[Any, Any]]:
        """Start and end of every range of dates."""
        return [(given.get("start"), given.get("end")) for name, given in self.calls if name == "DateRange"]

    @property
    def filters(self) -> list[tuple[str, Any, Any]]:
        """Kind, property and value of every filter: ``("equals", "instrumentMode", "IW")``."""
        found = []
        for name, given in self.calls:
            if name.startswith("Filter."):
                prop = given.get("leftField", given.get("rightField"))
                value = given.get("rightValue", given.get("leftValue"))
                found.append((name.removeprefix("Filter."), prop, value))
        return found

    @property
    def images(self) -> int:
        """How many images are loaded by their id, at least 1."""
        return max(1, sum(1 for name, _ in self.calls if name == "Image.load"))

    def _calls(self) -> Iterator[tuple[str, dict[str, Any]]]:
        waiting: deque[Any] = deque(self.graph.get("values", {}).values())
        while waiting:
            node = waiting.popleft()
            if isinstance(node, list):
                waiting.extend(node)
            elif isinstance(node, Mapping):
                call = node.get("functionInvocationValue")
                if call is not None:
                    given = {key: self._constant(value) for key, value in call.get("arguments", {}).items()}
                    yield str(call.get("functionName")), given
                waiting.extend(value for value in node.values() if isinstance(value, (list, Mapping)))

    def _constant(self, node: Node) -> Any:
        """Return what a node says, None where it must be computed."""
        if "constantValue" in node:
            return node["constantValue"]
        if "integerValue" in node:
            return int(node["integerValue"])
        if "valueReference" in node:
            return self._constant(self.graph["values"][node["valueReference"]])
        if "arrayValue" in node:
            return [self._constant(value) for value in node["arrayValue"].get("values", [])]
        if "dictionaryValue" in node:
            return {key: self._constant(value) for key, value in node["dictionaryValue"].get("values", {}).items()}
        return None


@dataclass(slots=True)
class Request:
    """One request, and how it went."""

    number: int
    route: str
    """``compute``, ``computePixels``, ``computeFeatures``, ``getPixels``, ``asset``, ``listAssets``, ``algorithms``,
    ``maps``, ``tile``."""
    project: str
    asset: str = ""
    """Id, of ``asset``, ``listAssets`` and ``getPixels``; of ``tile`` its map and place."""
    query: Mapping[str, str] = field(default_factory=dict)
    body: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    """By lower-case name; the token is left out."""
    expression: Expression = field(default_factory=lambda: Expression({}))
    in_flight: int = 0
    """Requests under way when it began, itself among them."""
    began: float = 0.0
    ended: float = 0.0
    """Both in seconds of ``time.monotonic``."""
    status: int = 0
    """HTTP status of the answer; 0 if there was none."""
    message: str = ""
    """Of an error."""
    sent: int = 0
    """Bytes of the answer's body."""
    fault: str = ""
    """Name of the fault that it met."""

    @property
    def grid(self) -> Mapping[str, Any]:
        """The grid asked for: ``crsCode``, ``affineTransform``, ``dimensions``."""
        return self.body.get("grid", {})  # type: ignore[no-any-return]  # JSON

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels; 0 where no grid was given."""
        dimensions = self.grid.get("dimensions", {})
        return int(dimensions.get("width", 0)), int(dimensions.get("height", 0))

    @property
    def bands(self) -> list[str]:
        """Bands asked for by name."""
        return list(self.body.get("bandIds", []))

    @property
    def tag(self) -> str:
        """The workload tag."""
        return str(self.body.get("workloadTag", ""))

    @property
    def work(self) -> int:
        """Pixels times images."""
        width, height = self.size
        return width * height * self.expression.images
