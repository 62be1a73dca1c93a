"""Compare an export's answers with those of the result that it was made from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from tui_tuner.exporting.parity.answers import Answers, PromptAnswer, list_versions
from tui_tuner.exporting.parity.prompts import Prompt
from tui_tuner.exporting.parity.report import ParityReport, PromptComparison
from tui_tuner.locales import _, _n

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Bounds:
    """How far an export may be from the result.

    Args:
        logits: The largest difference of two logits, as a share of the distance between a prompt's highest
        and
            lowest logit.
        kl: The mean divergence, in nats.
        least: The shortest such distance that is counted with: two classes that are nearly alike are no finer
            measure of rounding than others.
    """

    logits: float
    kl: float
    least: float = 1e-6

    def allow_difference(self, logits: Tensor) -> float:
        """Return how far logits may be from a prompt's own."""
        return self.logits * max(measure_range(logits), self.least)


def measure_range(logits: Tensor) -> float:
    """Return the distance between the highest and the lowest logit; of a single number its size."""
    # A regression gives one number for each text, whose distance from itself says nothing
    return float(logits.abs().max() if logits.shape[-1] == 1 else logits.max() - logits.min())


# Rounding a weight to a type moves it by up to half of its last digit: 2^-24, 2^-11 or 2^-8 of its size, or
# half a
# step of a block's scale. The sums of some dozen layers carry that on, so each bound is about 16 times what
# tiny
# and small models showed, and far below what a forgotten adapter or a permuted head makes (shares of 0.1 and
# more).
BOUNDS: dict[str, Bounds] = {
    "float32": Bounds(1e-4, 1e-6),
    "float16": Bounds(1e-2, 1e-3),
    "bfloat16": Bounds(5e-2, 1e-2),
    "q8_0": Bounds(5e-2, 1e-2),
    "q6_k": Bounds(1e-1, 5e-2),
    "q5_1": Bounds(2e-1, 1e-1),
    "q5_0": Bounds(2e-1, 1e-1),
    "q5_k_m": Bounds(2e-1, 1e-1),
    "q4_1": Bounds(3e-1, 3e-1),
    "q4_0": Bounds(3e-1, 3e-1),
    "q4_k_m": Bounds(3e-1, 3e-1),
    "q3_k_m": Bounds(5e-1, 6e-1),
}
_SHOWN = 3  # prompts that a sentence names


def compare_answers(
    result: Answers, export: Answers, bounds: Bounds, details: dict[str, Any] | None = None
) -> ParityReport:
    """Compare two models prompt by prompt.

    A greedy answer may part from the other only where the result's own two best tokens are closer than twice
    the largest difference that the bound allows: there a rounding decides.
    """
    compared = [
        compare_prompt(prompt, one, other, bounds)
        for prompt, one, other in zip(result.prompts, result.answers, export.answers, strict=True)
    ]
    effects = _measure_effect(result, export)
    report = ParityReport(
        checked=True,
        passed=True,
        program=export.program,
        reference=result.program,
        prompts=compared,
        bounds={"logits_share": bounds.logits, "kl": bounds.kl},
        versions=list_versions(),
        details={**(details or {}), **export.details, **effects},
    )
    problems = [*_list_problems(report, result, bounds), *_find_lost_adapter(effects)]
    return replace(report, passed=not problems, problems=tuple(problems))


def compare_prompt(
    prompt: Prompt, one: PromptAnswer, other: PromptAnswer, bounds: Bounds
) -> PromptComparison:
    """Compare what two models make of one prompt."""
    tokens = count_token_differences(one.ids, other.ids)
    wrote = bool(one.greedy or other.greedy)
    difference, top_1, kl = 0.0, 1.0, 0.0
    if one.logits is not None and other.logits is not None:
        difference, top_1, kl = measure_logits(one.logits, other.logits)
    parted = _find_parting(one.greedy, other.greedy)
    tie = parted >= 0 and _is_near_tie(one.logits, parted, bounds)
    return PromptComparison(
        text=prompt.text,
        token_differences=tokens,
        greedy_equal=(parted < 0) if wrote else None,
        difference=difference,
        top_1=top_1,
        kl=kl,
        answer=one.text,
        export_answer=other.text,
        first_difference=parted,
        near_tie=tie,
    )


def count_token_differences(ids: Sequence[int], others: Sequence[int]) -> int:
    """Count the places at which two lists of token ids differ."""
    return sum(a != b for a, b in zip(ids, others, strict=False)) + abs(len(ids) - len(others))


def measure_logits(one: Tensor, other: Tensor) -> tuple[float, float, float]:
    """Return (largest difference, share of equal top tokens, mean KL of `other` from `one`)."""
    width = min(one.shape[-1], other.shape[-1])  # a vocabulary may be padded
    if one.shape[0] != other.shape[0]:
        return float("inf"), 0.0, float("inf")
    one, other = one[..., :width].double(), other[..., :width].double()
    logs, others = one.log_softmax(-1), other.log_softmax(-1)
    kl = (logs.exp() * (logs - others)).sum(-1).mean()
    same = (one.argmax(-1) == other.argmax(-1)).double().mean()
    return float((one - other).abs().max()), float(same), max(0.0, float(kl))


def _find_parting(one: Sequence[int], other: Sequence[int]) -> int:
    for place, (a, b) in enumerate(zip(one, other, strict=False)):
        if a != b:
            return place
    return -1 if len(one) == len(other) else min(len(one), len(other))


def _is_near_tie(logits: Tensor | None, place: int, bounds: Bounds) -> bool:
    if logits is None or place >= logits.shape[0]:
        return False
    best = logits[place].topk(min(2, logits.shape[-1])).values
    return len(best) == 2 and float(best[0] - best[1]) <= 2 * bounds.allow_difference(logits)


def _list_problems(report: ParityReport, result: Answers, bounds: Bounds) -> list[str]:
    problems = []
    wrong = [place for place, one in enumerate(report.prompts) if one.token_differences]
    if wrong:
        problems.append(
            _n(
                "{count} prompt is split into other tokens ({places}).",
                "{count} prompts are split into other tokens ({places}).",
                len(wrong), count=len(wrong), places=_name_places(wrong),
            )
        )  # fmt: skip
    far = []
    for place, (one, compared) in enumerate(zip(result.answers, report.prompts, strict=True)):
        if one.logits is not None and not compared.difference <= bounds.allow_difference(one.logits):
            far.append(place)
    if far:
        problems.append(
            _("logits of {count} prompts differ by more than the bound of {share:.2g} of their range "
              "({places}); the largest difference is {difference:.3g}.",
              count=len(far), share=bounds.logits, places=_name_places(far),
              difference=report.largest_difference)
        )  # fmt: skip
    if not report.kl <= bounds.kl:
        problems.append(
            _(
                "the mean KL divergence is {kl:.3g}, above the bound of {bound:.2g}.",
                kl=report.kl,
                bound=bounds.kl,
            )
        )
    parted = [
        place for place, one in enumerate(report.prompts) if one.greedy_equal is False and not one.near_tie
    ]
    if parted:
        problems.append(
            _("{count} greedy answers differ where no near tie explains it ({places}).",
              count=len(parted), places=_name_places(parted))
        )  # fmt: skip
    return problems


def _measure_effect(result: Answers, export: Answers) -> dict[str, float]:
    """Return how far the logits of the base model, and those of the export, are from the result's.

    Empty where the base's were not computed.
    """
    effect = missed = 0.0
    for one, base, other in zip(result.answers, result.without, export.answers, strict=False):
        if one.logits is None or other.logits is None or one.logits.shape != base.shape:
            continue
        width = min(base.shape[-1], other.logits.shape[-1])
        if other.logits.shape[0] != base.shape[0]:
            continue
        effect += float((one.logits[..., :width] - base[..., :width]).abs().mean())
        missed += float((one.logits[..., :width] - other.logits[..., :width]).abs().mean())
    return {"adapter_effect": effect, "missed_effect": missed} if result.without else {}


def _find_lost_adapter(effects: dict[str, float]) -> list[str]:
    """Say so where an export is no nearer to the result than the base model is: its adapter has no effect."""
    if effects and effects["adapter_effect"] and effects["missed_effect"] >= effects["adapter_effect"]:
        return [
            _("it is as far from the result as the base model is: the adapter has no effect in it, or its "
              "type is too coarse for what was learnt.")
        ]  # fmt: skip
    return []


def _name_places(places: Sequence[int]) -> str:
    shown = ", ".join(_("prompt {number}", number=place + 1) for place in places[:_SHOWN])
    return shown if len(places) <= _SHOWN else f"{shown}, …"
