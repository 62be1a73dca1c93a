"""Answers that were generated during a run: the newest stage of each prompt, with the reference beside it."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Static

from tui_tuner.evaluation.compared import prediction
from tui_tuner.evaluation.inside import is_inside, read_shown, verdict
from tui_tuner.locales import N_, _
from tui_tuner.runs.events import Sample
from tui_tuner.runs.view import RunView
from tui_tuner.ui.widgets.judged.spans import inside_content
from tui_tuner.ui.words import block

_AROUND, _SHORT = 60, 300  # characters around what is marked, and of a text that is shown whole
STAGES = {"before": N_("before training"), "after": N_("after training")}


class Samples(VerticalScroll):
    """Prompt, then the answers of all stages in order."""

    DEFAULT_CSS = "Samples { height: 1fr; padding: 0 1; } Samples > Static { height: auto; }"

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id)
        self._count = -1

    def compose(self) -> ComposeResult:
        yield Static("")

    def show(self, view: RunView) -> None:
        """Draw the samples, if there are more than before."""
        if len(view.samples) == self._count:
            return
        self._count = len(view.samples)
        self.query_one(Static).update(_content(view.samples))


def by_prompt(samples: tuple[Sample, ...]) -> dict[int, list[Sample]]:
    """The samples of each prompt, as they were made; a repeated stage and step replaces the older."""
    found: dict[int, dict[tuple[str, int], Sample]] = {}
    for sample in samples:
        found.setdefault(sample.index, {})[(sample.stage, sample.step)] = sample
    return {index: list(stages.values()) for index, stages in sorted(found.items())}


def stage_name(sample: Sample) -> str:
    return _(STAGES[sample.stage]) if sample.stage in STAGES else _("at step {step}", step=sample.step)


def answer(sample: Sample) -> Content:
    """The text of an answer; says so where it is empty or did not stop by itself."""
    text = block(sample.text) if sample.text.strip() else Content(_("(nothing)")).stylize("$dim")
    if sample.stopped:
        return text
    return Content.assemble(text, (" … " + _("cut off, no stop token"), "$warning"))


def _said(sample: Sample) -> Content:
    """An answer that was written; or what was found, with the sign of right or wrong, and inside its text."""
    told = read_shown(sample)
    if not is_inside(told):
        return answer(sample)
    right = verdict(told)
    sign = "" if right is None else "✓ " if right else "✗ "
    parts: list[Content | str | tuple[str, str]] = [
        (sign, "$success" if right else "$error"),
        prediction(told),
    ]
    if told.passage or told.found or told.wanted:
        parts += [Content(" "), inside_content(told, around=_AROUND, short=_SHORT)]
    return Content.assemble(*parts)


def _content(samples: tuple[Sample, ...]) -> Content:
    if not samples:
        return Content(_("No answers yet. Held-out prompts are answered before, during and after.")).stylize(
            "$dim"
        )
    parts: list[Content] = []
    for index, stages in by_prompt(samples).items():
        parts.append(Content.assemble((f"{index + 1} ", "$accent"), block(stages[-1].prompt.strip()), "\n"))
        for sample in stages[-1:] if len(stages) < 2 else (stages[0], stages[-1]):
            parts.append(Content.assemble((f"  {stage_name(sample)}: ", "$primary"), _said(sample), "\n"))
    return Content("").join(parts)
