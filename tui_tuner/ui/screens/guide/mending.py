"""Ways out of what is wrong or odd about the data, as a list to choose from."""

from __future__ import annotations

from typing import Any

from textual.content import Content

from tui_tuner.locales import _
from tui_tuner.ui.screens.dialogs import Choose
from tui_tuner.ui.screens.guide.looking import Seen, concern_lines
from tui_tuner.ui.screens.guide.question import Question
from tui_tuner.ui.screens.offers import MendingScreen, fix_words
from tui_tuner.ui.words import block

_COLUMNS, _FORMAT, _OTHER, _NONE = "columns", "format", "other", "none"


class WaysOut(Question, MendingScreen):
    """A question about data that can be mended."""

    @property
    def seen_now(self) -> Seen | None:
        """What is known of the data under the cursor."""
        raise NotImplementedError

    def values(self) -> dict[str, Any]:
        """The draft for the data under the cursor, with what was said of them."""
        raise NotImplementedError

    def action_other(self) -> None:
        """Choose other data."""
        raise NotImplementedError

    def action_no_data(self) -> None:
        """What can be done without data."""
        raise NotImplementedError

    def offer_ways(self) -> None:
        """Say what can be done about the data under the cursor, and do what is chosen."""
        seen = self.seen_now
        if seen is None:
            return
        values = self.values()
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
        parts = (
            [block(refusal.sentence), block(refusal.advice).stylize("$dim")] if refusal is not None else []
        )
        for concern in seen.concerns:
            parts += concern_lines(concern)

        async def answered(answer: str | None) -> None:
            if answer == _COLUMNS:
                self.ask_columns(values)
            elif answer == _FORMAT:
                self.ask_format("auto")
            elif answer == _OTHER:
                self.action_other()
            elif answer == _NONE:
                self.action_no_data()
            elif answer is not None:
                await self.take(dict(ways[int(answer)][1]))

        self.app.push_screen(Choose(_("What to do"), Content("\n").join(parts), answers), answered)
