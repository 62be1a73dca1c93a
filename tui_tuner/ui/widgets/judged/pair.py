"""The prediction of a model about a text: a span or a choice, its place in the text, and other choices."""

from __future__ import annotations

from textual.content import Content

from tui_tuner.evaluation.inside_text import is_output_inside_text, is_prediction_right
from tui_tuner.evaluation.samples import ShownSample
from tui_tuner.evaluation.word_differences import MOST_SHOWN
from tui_tuner.locales import _
from tui_tuner.text import one_line
from tui_tuner.ui.screen_words import make_safe_block
from tui_tuner.ui.widgets.judged.scores import draw_choice_scores
from tui_tuner.ui.widgets.judged.spans import draw_text_spans

_AROUND, _SHORT = 120, 700  # characters around an answer, and of a passage that is shown whole


def is_prompt_shown_below(told: ShownSample, prompt: str) -> bool:
    """Return whether a prompt is the text shown below, so that it need not be shown twice."""
    if told.passage:
        return told.passage.strip() == prompt.strip()
    return bool(told.found or told.wanted)


def draw_judged_pair(head: Content, told: ShownSample, width: int, whole: bool = False) -> Content:
    """Draw stage, correctness, the prediction, its place in the text, and other choices."""
    right = is_prediction_right(told)
    sign, style = {None: ("", ""), True: ("✓ ", "$success"), False: ("✗ ", "$error")}[right]
    words = {None: "", True: _("right"), False: _("wrong")}[right]
    first = Content.assemble(head, "  ", (sign, style), (words, style))
    parts = [first, *draw_judged_parts(told, width, judged=True, whole=whole)]
    return Content("\n").join(part for part in parts if part.plain)


def draw_judged_parts(told: ShownSample, width: int, judged: bool, whole: bool = False) -> list[Content]:
    """Draw the prediction, the text around it, and the choices.

    Args:
        judged: True if the data has the right answer.
        whole: Show all of a long text, not only the parts around the answers.
    """
    inside = bool(told.passage or told.found or told.wanted)
    said = told.text.strip()
    parts = []
    if inside and not told.found:
        words = _("(no answer)") if told.scores else _("Nothing was found in this text.")
        parts.append(Content(words).stylize("bold"))
    elif not is_output_inside_text(told):
        # A text that the model wrote, with its own line breaks
        parts.append(make_safe_block(said) if said else Content(_("(nothing)")).stylize("$dim"))
        if not told.stopped:
            parts.append(Content(_("[did not stop]")).stylize("$warning"))
    elif not inside and said not in (name.strip() for name, _score in told.scores):
        parts.append(Content(one_line(said) or _("(nothing)")).stylize("bold"))
    if inside:
        parts.append(draw_text_spans(told, judged, _AROUND, MOST_SHOWN if whole else _SHORT))
    if told.scores:
        # In a text, "no answer" is a choice of its own, whose text is empty.
        right = "" if inside and not told.wanted else told.reference
        parts.append(draw_choice_scores(told.scores, width, right if judged else None))
    for choices in told.further:
        parts += [Content(""), draw_choice_scores(choices, width)]
    return parts
