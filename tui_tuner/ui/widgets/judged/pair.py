"""One held-out prompt: what the model made of it before and after, and what the data says."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.widgets import Static

from tui_tuner.evaluation.inside import is_inside, read_shown, verdict
from tui_tuner.evaluation.samples import Shown
from tui_tuner.locales import _
from tui_tuner.runs.events import Sample
from tui_tuner.text import one_line
from tui_tuner.ui.widgets.judged.fitted import Fitted
from tui_tuner.ui.widgets.judged.scores import scores_content
from tui_tuner.ui.widgets.judged.spans import inside_content
from tui_tuner.ui.widgets.live.samples import answer, stage_name
from tui_tuner.ui.words import block

_LONGEST = 1200  # characters of a prompt
_AROUND, _SHORT = 120, 700  # characters around an answer, and of a passage that is shown whole


class Pair(Vertical):
    """One prompt: the answers before and after, side by side where there is room, and the reference."""

    DEFAULT_CSS = """
    Pair { height: auto; padding: 0 1 1 1; }
    Pair Static { height: auto; }
    Pair > Horizontal { height: auto; layout: vertical; }
    Pair .answer { width: 1fr; border-left: heavy $line; padding: 0 1; }
    Pair .after { border-left: heavy $success; }
    """

    def __init__(self, index: int, stages: list[Sample]) -> None:
        super().__init__()
        self._index, self._stages = index, stages

    def compose(self) -> ComposeResult:
        first, last = self._stages[0], self._stages[-1]
        yield Static(Content.assemble((f"{self._index + 1}  ", "$accent"), self._prompt(first)))
        with Horizontal():
            yield self._answer(first, "answer")
            if last is not first:
                yield self._answer(last, "answer after")
        if first.reference.strip():
            yield Static(
                Content.assemble((_("reference") + "  ", "$dim"), block(first.reference.strip())).stylize(
                    "$dim"
                )
            )

    def _prompt(self, sample: Sample) -> Content:
        """What was asked; nothing where the text itself stands below, with what was found in it."""
        told, text = read_shown(sample), sample.prompt.strip()
        if told.passage.strip() == text if told.passage else told.found or told.wanted:
            return Content("")
        return block(text if len(text) <= _LONGEST else text[:_LONGEST] + " …")

    def _answer(self, sample: Sample, classes: str) -> Static:
        told = read_shown(sample)
        if not is_inside(told):
            return Static(
                Content.assemble((f"{stage_name(sample)}\n", "$primary"), answer(sample)), classes=classes
            )
        return Fitted(lambda width: _judged(sample, told, width), classes=classes)


def _judged(sample: Sample, told: Shown, width: int) -> Content:
    """Stage, right or wrong, the prediction, where it stands in the text, and other choices."""
    right = verdict(told)
    sign, style = {None: ("", ""), True: ("✓ ", "$success"), False: ("✗ ", "$error")}[right]
    head = [(f"{stage_name(sample)}  ", "$primary"), (sign, style)]
    words = {None: "", True: _("right"), False: _("wrong")}[right]
    parts = [Content.assemble(*head, (words, style)), *judged_parts(told, width, judged=True)]
    return Content("\n").join(part for part in parts if part.plain)


def judged_parts(told: Shown, width: int, judged: bool) -> list[Content]:
    """The prediction, the text with it inside, and the choices.

    Args:
        judged: Whether the data says what is right.
    """
    inside = bool(told.passage or told.found or told.wanted)
    said = told.text.strip()
    parts = []
    if inside and not told.found:
        words = _("(no answer)") if told.scores else _("Nothing was found in this text.")
        parts.append(Content(words).stylize("bold"))
    elif not inside and said not in (name.strip() for name, _score in told.scores):
        parts.append(Content(one_line(said) or _("(nothing)")).stylize("bold"))
    if inside:
        parts.append(inside_content(told, judged, _AROUND, _SHORT))
    if told.scores:
        right = "" if inside and not told.wanted else told.reference  # no answer is a choice without text
        parts.append(scores_content(told.scores, width, right if judged else None))
    return parts
