"""What a model found in a text, or chose: the prediction, its place in the text, and the other choices."""

from __future__ import annotations

from textual.content import Content

from tui_tuner.evaluation.differing import MOST_SHOWN
from tui_tuner.evaluation.inside import verdict
from tui_tuner.evaluation.samples import Shown
from tui_tuner.locales import _
from tui_tuner.text import one_line
from tui_tuner.ui.widgets.judged.scores import scores_content
from tui_tuner.ui.widgets.judged.spans import inside_content

_AROUND, _SHORT = 120, 700  # characters around an answer, and of a passage that is shown whole


def text_stands_below(told: Shown, prompt: str) -> bool:
    """Whether a prompt is the text in which something was found, so that it need not be shown twice."""
    if told.passage:
        return told.passage.strip() == prompt.strip()
    return bool(told.found or told.wanted)


def judged_content(head: Content, told: Shown, width: int, whole: bool = False) -> Content:
    """Stage, right or wrong, the prediction, where it stands in the text, and other choices."""
    right = verdict(told)
    sign, style = {None: ("", ""), True: ("✓ ", "$success"), False: ("✗ ", "$error")}[right]
    words = {None: "", True: _("right"), False: _("wrong")}[right]
    first = Content.assemble(head, "  ", (sign, style), (words, style))
    parts = [first, *judged_parts(told, width, judged=True, whole=whole)]
    return Content("\n").join(part for part in parts if part.plain)


def judged_parts(told: Shown, width: int, judged: bool, whole: bool = False) -> list[Content]:
    """The prediction, the text with it inside, and the choices.

    Args:
        judged: Whether the data says what is right.
        whole: All of a long text, and not only what lies around the answers.
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
        parts.append(inside_content(told, judged, _AROUND, MOST_SHOWN if whole else _SHORT))
    if told.scores:
        right = "" if inside and not told.wanted else told.reference  # no answer is a choice without text
        parts.append(scores_content(told.scores, width, right if judged else None))
    return parts
