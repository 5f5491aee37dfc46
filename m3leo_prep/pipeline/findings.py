"""What a check of a dataset looked at and found."""

from __future__ import annotations

from dataclasses import dataclass, field

from m3leo_prep.core.errors import VerifyError


@dataclass(slots=True)
class Report:
    """What was checked and what was found."""

    url: str
    """The dataset's folder or address."""
    problems: list[tuple[str, str]] = field(default_factory=list)
    """(where, what)"""
    notes: list[str] = field(default_factory=list)
    """What could not be checked here, and why."""
    counts: dict[str, int] = field(default_factory=dict)
    reasons: dict[str, dict[str, int]] = field(default_factory=dict)
    """Per layer, chip x slot x band by reason."""

    @property
    def ok(self) -> bool:
        """True if nothing was found."""
        return not self.problems

    def add(self, where: str, what: str) -> None:
        """Note a finding."""
        self.problems.append((where, what))

    def count(self, what: str, n: int = 1) -> None:
        """Note that ``n`` things were checked."""
        self.counts[what] = self.counts.get(what, 0) + n

    def raise_if_bad(self) -> None:
        """Raise VerifyError naming the first findings."""
        if self.problems:
            shown = "; ".join(f"{where}: {what}" for where, what in self.problems[:5])
            more = f" (and {len(self.problems) - 5} more)" if len(self.problems) > 5 else ""
            raise VerifyError(
                f"{len(self.problems)} findings: {shown}{more}",
                where=self.url,
                hint="delete the files named and run `build` again, which makes what is missing; or pull them again",
            )
