"""Count the outcome of every row that was read. The sums of the ledger match exactly.

Each row has exactly one outcome. A row that was changed and then dropped counts as dropped; what was done to
it before is a *step*, which is counted separately, so `read` is always the sum of the outcomes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tui_tuner.data.records import Origin
from tui_tuner.locales import N_, recall_sentence, recipe_of
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
COPIES = "validation_rows_trained"  # in `splits`: held-out rows with the same texts as a trained row
REPEATED = "training_rows_repeated"  # in `splits`: training rows with the same texts as another one
SAMPLE_WIDTH = 160


@dataclass
class Reason:
    """The rows with the same outcome for the same reason, with a few samples.

    `reason` is in English, also on disk, since rows are counted by it. `_` translates it for people.
    """

    outcome: str
    reason: str
    count: int = 0
    samples: list[dict[str, Any]] = field(default_factory=list)

    def add_sample(self, origin: Origin, sample: object) -> None:
        self.count += 1
        if len(self.samples) < SAMPLES:
            self.samples.append(
                {
                    "origin": str(origin),
                    "file": origin.file,
                    "row": origin.row,
                    "line": origin.line,
                    "text": _shorten_sample(sample),
                }
            )

    def describe_reason(self, name: str = "reason") -> dict[str, Any]:
        """Return plain values; `made` describes how a reason with values in it was made."""
        found = {name: str(self.reason), "count": self.count, "samples": self.samples}
        made = recipe_of(self.reason)
        return {**found, "made": made} if made else found


def _shorten_sample(sample: object) -> str:
    try:
        return one_line(sample, SAMPLE_WIDTH)
    # A value that is nested too deeply cannot be written.
    except RecursionError:
        return ""


class Ledger:
    """Counts rows by outcome and reason. `pieces` is the number of training examples made from them."""

    def __init__(self) -> None:
        self.read = 0
        self.outcomes = dict.fromkeys(OUTCOMES, 0)
        self.last = ""  # the outcome of the row that was counted last
        self.pieces = 0
        self.notes: list[str] = []
        self.splits: dict[str, int] = {}
        self._reasons: dict[tuple[str, str], Reason] = {}
        self._steps: dict[tuple[str, str], Reason] = {}

    def count_row(
        self, outcome: str, origin: Origin, reason: str = "", sample: object = "", pieces: int = 0
    ) -> None:
        """Count the outcome of a row. `pieces` is the number of training examples made from it.

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
            self._add_reason(self._reasons, outcome, reason, origin, sample)

    def count_step(self, name: str, origin: Origin, sample: object = "") -> None:
        """Count something done to, or noticed in, a row, which is not its outcome."""
        self._add_reason(self._steps, "step", name, origin, sample)

    def add_note(self, text: str) -> None:
        """Add a remark on the whole data set, once."""
        # Files of one data set often lead to the same remark.
        if text not in self.notes:
            self.notes.append(text)

    @staticmethod
    def _add_reason(
        table: dict[tuple[str, str], Reason], outcome: str, reason: str, origin: Origin, sample: object
    ) -> None:
        # A reason with values in it equals its English text, so it works as a key.
        found = table.get((outcome, reason))
        if found is None:
            found = table[outcome, reason] = Reason(outcome, reason)
        found.add_sample(origin, sample)

    @property
    def dropped_share(self) -> float:
        """The share of dropped rows among the rows read; 0 if none was read."""
        return self.outcomes["dropped"] / self.read if self.read else 0.0

    @property
    def is_consistent(self) -> bool:
        """Return whether the outcomes sum to the rows read, and the reasons to their outcomes."""
        by_outcome: dict[str, int] = {}
        for reason in self._reasons.values():
            by_outcome[reason.outcome] = by_outcome.get(reason.outcome, 0) + reason.count
        # Rows that are kept unchanged need no reason.
        named = all(
            by_outcome.get(outcome, 0) == count
            for outcome, count in self.outcomes.items()
            if outcome != "kept"
        )
        return named and sum(self.outcomes.values()) == self.read

    def list_reasons(self, outcome: str = "") -> list[Reason]:
        """List the reasons of all outcomes or of one, the most frequent first."""
        found = [r for r in self._reasons.values() if not outcome or r.outcome == outcome]
        return sorted(found, key=lambda reason: -reason.count)

    def list_steps(self) -> list[Reason]:
        """List what was done to rows, the most frequent first."""
        return sorted(self._steps.values(), key=lambda reason: -reason.count)

    def to_json(self) -> dict[str, Any]:
        """Return plain values: `read` = sum of `outcomes`; an outcome but kept = sum of its `reasons`."""
        return {
            "read": self.read,
            "outcomes": dict(self.outcomes),
            "pieces": self.pieces,
            "splits": dict(self.splits),
            "closes": self.is_consistent,
            "reasons": [
                {"outcome": reason.outcome, **reason.describe_reason()} for reason in self.list_reasons()
            ],
            "steps": [step.describe_reason("step") for step in self.list_steps()],
            "notes": list(self.notes),
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Ledger:
        """Restore a ledger that `to_json` wrote."""
        ledger = cls()
        ledger.read, ledger.pieces = data["read"], data["pieces"]
        ledger.outcomes.update(data["outcomes"])
        ledger.splits, ledger.notes = dict(data["splits"]), list(data["notes"])
        # Restored with their recipes, so that they can still be translated after a run is resumed.
        for item in data["reasons"]:
            reason = recall_sentence(item["reason"], item.get("made"))
            kept = Reason(item["outcome"], reason, item["count"], item["samples"])
            ledger._reasons[item["outcome"], reason] = kept
        for item in data["steps"]:
            name = recall_sentence(item["step"], item.get("made"))
            ledger._steps["step", name] = Reason("step", name, item["count"], item["samples"])
        return ledger
