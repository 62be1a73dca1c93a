"""The row ledger: what became of every row that was read. Its sums close exactly.

Each row read ends in exactly one outcome. A row that was changed and then dropped counts as dropped; what
was done to it before is kept as a *step*, counted apart, so `read` is always the sum of the outcomes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tui_tuner.data.records import Origin
from tui_tuner.locales import N_, recall, recipe
from tui_tuner.text import one_line

OUTCOMES = (
    N_("kept"),
    N_("changed"),
    N_("split"),
    N_("truncated"),
    N_("deduplicated"),
    N_("dropped"),
    N_("unused"),
    N_("merged"),
)
SAMPLES = 5
COPIES = "validation_rows_trained"  # among `splits`: held-out rows with the texts of a row that is trained
REPEATED = "training_rows_repeated"  # likewise: training rows whose texts another one has, too
SAMPLE_WIDTH = 160


@dataclass
class Reason:
    """Rows with the same outcome for the same reason, and a few of them.

    `reason` is English, and stays so on disk: it is what rows are counted by. `_` translates it for people.
    """

    outcome: str
    reason: str
    count: int = 0
    samples: list[dict[str, Any]] = field(default_factory=list)

    def add(self, origin: Origin, sample: object) -> None:
        self.count += 1
        if len(self.samples) < SAMPLES:
            self.samples.append(
                {
                    "origin": str(origin),
                    "file": origin.file,
                    "row": origin.row,
                    "line": origin.line,
                    "text": _shown(sample),
                }
            )

    def to_json(self, name: str = "reason") -> dict[str, Any]:
        """Plain values; `made` is there where the reason has values in it, and says how it was made."""
        found = {name: str(self.reason), "count": self.count, "samples": self.samples}
        made = recipe(self.reason)
        return {**found, "made": made} if made else found


def _shown(sample: object) -> str:
    try:
        return one_line(sample, SAMPLE_WIDTH)
    except RecursionError:  # a value that is nested too deeply to be written
        return ""


class Ledger:
    """Counts rows by outcome and reason. `pieces` is the number of training rows they became."""

    def __init__(self) -> None:
        self.read = 0
        self.outcomes = dict.fromkeys(OUTCOMES, 0)
        self.last = ""  # the outcome of the row that was counted last
        self.pieces = 0
        self.notes: list[str] = []
        self.splits: dict[str, int] = {}
        self._reasons: dict[tuple[str, str], Reason] = {}
        self._steps: dict[tuple[str, str], Reason] = {}

    def count(
        self, outcome: str, origin: Origin, reason: str = "", sample: object = "", pieces: int = 0
    ) -> None:
        """One row's end. `pieces` is how many training rows came of it.

        Raises:
            ValueError: not one of `OUTCOMES`.
        """
        if outcome not in self.outcomes:
            raise ValueError(f"unknown outcome {outcome!r}")
        self.read += 1
        self.outcomes[outcome] += 1
        self.last = outcome
        self.pieces += pieces
        if reason:
            self._add(self._reasons, outcome, reason, origin, sample)

    def step(self, name: str, origin: Origin, sample: object = "") -> None:
        """Something done to, or noticed in, a row on its way; it does not end it."""
        self._add(self._steps, "step", name, origin, sample)

    def note(self, text: str) -> None:
        """A remark on the whole data set, once."""
        if text not in self.notes:
            self.notes.append(text)

    @staticmethod
    def _add(
        table: dict[tuple[str, str], Reason], outcome: str, reason: str, origin: Origin, sample: object
    ) -> None:
        found = table.get((outcome, reason))
        if found is None:
            found = table[outcome, reason] = Reason(outcome, reason)
        found.add(origin, sample)

    @property
    def dropped_share(self) -> float:
        """Dropped rows as a share of the rows read; 0 if none was read."""
        return self.outcomes["dropped"] / self.read if self.read else 0.0

    @property
    def closes(self) -> bool:
        """Whether the outcomes sum to the rows read, and the reasons of each to it."""
        by_outcome: dict[str, int] = {}
        for reason in self._reasons.values():
            by_outcome[reason.outcome] = by_outcome.get(reason.outcome, 0) + reason.count
        named = all(
            by_outcome.get(outcome, 0) == count
            for outcome, count in self.outcomes.items()
            if outcome != "kept"
        )
        return named and sum(self.outcomes.values()) == self.read

    def reasons(self, outcome: str = "") -> list[Reason]:
        """Reasons by count, most frequent first; of one outcome if given."""
        found = [r for r in self._reasons.values() if not outcome or r.outcome == outcome]
        return sorted(found, key=lambda reason: -reason.count)

    def steps(self) -> list[Reason]:
        """What was done to rows on their way, most frequent first."""
        return sorted(self._steps.values(), key=lambda reason: -reason.count)

    def to_json(self) -> dict[str, Any]:
        """Plain values: `read` = the sum of `outcomes`; every outcome but kept = the sum of its `reasons`."""
        return {
            "read": self.read,
            "outcomes": dict(self.outcomes),
            "pieces": self.pieces,
            "splits": dict(self.splits),
            "closes": self.closes,
            "reasons": [{"outcome": reason.outcome, **reason.to_json()} for reason in self.reasons()],
            "steps": [step.to_json("step") for step in self.steps()],
            "notes": list(self.notes),
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Ledger:
        """The ledger that `to_json` wrote."""
        ledger = cls()
        ledger.read, ledger.pieces = data["read"], data["pieces"]
        ledger.outcomes.update(data["outcomes"])
        ledger.splits, ledger.notes = dict(data["splits"]), list(data["notes"])
        for item in data["reasons"]:
            reason = recall(item["reason"], item.get("made"))
            kept = Reason(item["outcome"], reason, item["count"], item["samples"])
            ledger._reasons[item["outcome"], reason] = kept
        for item in data["steps"]:
            name = recall(item["step"], item.get("made"))
            ledger._steps["step", name] = Reason("step", name, item["count"], item["samples"])
        return ledger
