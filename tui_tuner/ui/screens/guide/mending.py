"""Ways out of what is wrong or odd about the data, as a list to choose from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.content import Content

from tui_tuner.locales import _
from tui_tuner.ui.screens.dialogs import Choose
from tui_tuner.ui.screens.guide.looking import concern_lines
from tui_tuner.ui.screens.offers import fix_words
from tui_tuner.ui.words import block

if TYPE_CHECKING:
    from tui_tuner.ui.screens.guide.data import DataQuestion

_COLUMNS, _FORMAT, _OTHER, _NONE, _ANYWAY = "columns", "format", "other", "none", "anyway"


def offer_ways(question: DataQuestion) -> None:
    """Say what can be done about the data under the cursor, and do what is chosen."""
    seen = question.seen_now
    if seen is None:
        return
    values = question.values()
    ways = list(seen.ways)
    refusal = seen.refusal
    answers: list[tuple[str, str, str]] = []
    if refusal is not None:
        ways = [(fix_words(fix, values), fix) for fix in refusal.fixes] + ways
    answers += [(str(number), words, "") for number, (words, _fix) in enumerate(ways)]
    if refusal is not None and refusal.of_rows:
        answers.append((_COLUMNS, _("Say which column is what"), _("From two lists.")))
        answers.append((_FORMAT, _("Choose the record format"), ""))
    answers.append((_OTHER, _("Choose another file"), ""))
    answers.append((_NONE, _("See an example file of the right shape"), ""))
    parts = [block(refusal.sentence), block(refusal.advice).stylize("$dim")] if refusal is not None else []
    for concern in seen.concerns:
        parts += concern_lines(concern)

    async def answered(answer: str | None) -> None:
        if answer == _COLUMNS:
            question.ask_columns(values)
        elif answer == _FORMAT:
            question.ask_format("auto")
        elif answer == _OTHER:
            question.action_other()
        elif answer == _NONE:
            question.action_no_data()
        elif answer is not None:
            await question.take(dict(ways[int(answer)][1]))

    question.app.push_screen(Choose(_("What to do"), Content("\n").join(parts), answers), answered)
