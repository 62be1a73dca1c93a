"""The outcome of a comparison, as `parity.json` beside an export holds it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tui_tuner.locales import _

PARITY = "parity.json"


@dataclass(frozen=True)
class PromptComparison:
    """One prompt in a comparison.

    Args:
        token_differences: At how many places the two tokenizers' ids differ.
        greedy_equal: Whether both gave the same greedy answer; None where none was asked for.
        difference: The largest difference of two logits.
        top_1: The share of positions with the same most likely token.
        kl: The mean Kullback-Leibler divergence of the export from the result, in nats.
        first_difference: The place of the answer at which the two greedy answers part; -1 if nowhere.
        near_tie: Whether the result's two best tokens there are so close that the allowed difference decides.
    """

    text: str
    token_differences: int
    greedy_equal: bool | None
    difference: float
    top_1: float
    kl: float
    answer: str = ""
    export_answer: str = ""
    first_difference: int = -1
    near_tie: bool = False


@dataclass(frozen=True)
class ParityReport:
    """What a comparison of an export with the result it was made from found.

    Args:
        checked: Whether anything was compared; `reason` says why not.
        passed: Whether all was within the bounds.
        program: What loaded the export; `reference` what computed the result's own answers.
        bounds: The bounds of the largest difference of logits and of the mean divergence.
        problems: Why it failed, a sentence each.
        costs: What a changed precision costs on held-out rows, if measured: KL, top-1, losses.
        details: More values for readers.
    """

    checked: bool
    passed: bool
    reason: str = ""
    program: str = ""
    reference: str = ""
    prompts: Sequence[PromptComparison] = ()
    bounds: dict[str, float] = field(default_factory=dict)
    problems: Sequence[str] = ()
    costs: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)

    @property
    def token_differences(self) -> int:
        return sum(one.token_differences for one in self.prompts)

    @property
    def greedy_equal(self) -> bool | None:
        """Return whether all greedy answers are equal; None where none was asked for."""
        told = [one.greedy_equal for one in self.prompts if one.greedy_equal is not None]
        return all(told) if told else None

    @property
    def largest_difference(self) -> float:
        return max((one.difference for one in self.prompts), default=0.0)

    @property
    def top_1(self) -> float:
        """Return the share of positions with the same most likely token."""
        return _mean([one.top_1 for one in self.prompts], 1.0)

    @property
    def kl(self) -> float:
        """Return the mean divergence, in nats."""
        return _mean([one.kl for one in self.prompts], 0.0)

    def list_report_values(self) -> dict[str, Any]:
        """Return the report as plain values, the figures of all prompts first."""
        greedy = [one.greedy_equal for one in self.prompts if one.greedy_equal is not None]
        return {
            "checked": self.checked,
            "passed": self.passed,
            "token_differences": self.token_differences,
            "greedy_equal": self.greedy_equal,
            "greedy_equal_answers": sum(greedy),
            "greedy_answers": len(greedy),
            "largest_logit_difference": self.largest_difference,
            "top_1_agreement": self.top_1,
            "mean_kl": self.kl,
            **asdict(self),
        }

    def describe(self) -> str:
        """Return the outcome in one line."""
        if not self.checked:
            return _("not compared: {reason}", reason=self.reason)
        equal = sum(one.greedy_equal is True for one in self.prompts)
        asked = sum(one.greedy_equal is not None for one in self.prompts)
        parts = [
            _("tokens equal") if not self.token_differences
            else _("{count:,} tokens differ", count=self.token_differences),
        ]  # fmt: skip
        if asked:
            parts.append(_("{equal} of {asked} greedy answers equal", equal=equal, asked=asked))
        parts.append(_("largest logit difference {difference:.2g}", difference=self.largest_difference))
        parts.append(_("same top token at {share:.2%}", share=self.top_1))
        parts.append(_("KL {kl:.2g}", kl=self.kl))
        return " · ".join(parts)

    def write_report(self, folder: Path) -> None:
        """Write `parity.json` into the folder of the export."""
        text = json.dumps(self.list_report_values(), indent=1, ensure_ascii=False)
        (folder / PARITY).write_text(text + "\n", encoding="utf-8")


def skip_parity(reason: str) -> ParityReport:
    """Return the report of an export that nothing was compared of."""
    return ParityReport(checked=False, passed=True, reason=reason)


def _mean(values: Sequence[float], empty: float) -> float:
    return sum(values) / len(values) if values else empty
