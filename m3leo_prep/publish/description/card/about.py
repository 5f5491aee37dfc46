"""What a card is written from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from m3leo_prep.pipeline.report.figures import Figures
from m3leo_prep.publish.description.licences import Licence


@dataclass(frozen=True, slots=True)
class About:
    """A finished dataset, counted, with its licence and its place."""

    manifest: Mapping[str, Any]
    figures: Figures
    licence: Licence
    target: str
    """Address that readers open; empty where it is not known."""
    digest: str
    """Of everything that the dataset says but its description."""
    n_previews: int
    """Chips with pictures."""

    @property
    def root(self) -> str:
        """What a reader writes to open it."""
        return self.target or f"PATH/TO/{self.manifest['name']}"

    @property
    def hub_name(self) -> str:
        """``owner/name`` on the Hub; empty elsewhere."""
        kind, _, rest = self.target.partition("://datasets/")
        return "/".join(rest.split("@")[0].split("/")[:2]) if kind == "hf" else ""

    @property
    def hub_page(self) -> str:
        """Address of its page on the Hub; empty elsewhere."""
        return f"https://huggingface.co/datasets/{self.hub_name}" if self.hub_name else ""

    @property
    def hub_revision(self) -> str:
        """Branch, tag or commit on the Hub; empty = its main branch."""
        return self.target.partition("@")[2].partition("/")[0] if self.hub_name else ""
