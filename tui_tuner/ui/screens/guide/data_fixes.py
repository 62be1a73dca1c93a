"""Fixes for problems with the data, as a list to choose from."""

from __future__ import annotations

from typing import Any

from textual.content import Content

from tui_tuner.locales import _
from tui_tuner.ui.screen_words import make_safe_block
from tui_tuner.ui.screens.dialogs import ChoiceDialog
from tui_tuner.ui.screens.fixing import FixingScreen, describe_fix
from tui_tuner.ui.screens.guide.data_findings import DataFindings, format_concern_lines
from tui_tuner.ui.screens.guide.guide_question import Question

_COLUMNS, _FORMAT, _OTHER, _NONE = "columns", "format", "other", "none"


class FixableQuestion(Question, FixingScreen):
    """A question about data whose problems can be fixed."""

    @property
    def seen_data(self) -> DataFindings | None:
        """Return the findings about the data under the cursor."""
        raise NotImplementedError

    def draft_values(self) -> dict[str, Any]:
        """Return the draft for the data under the cursor."""
        raise NotImplementedError

    def action_other(self) -> None:
        """Choose other data."""
        raise NotImplementedError

    def action_no_data(self) -> None:
        """Open the question for users without data."""
        raise NotImplementedError

    def offer_data_fixes(self) -> None:
        """List the fixes for the data under the cursor, and apply the chosen one."""
        seen = self.seen_data
        if seen is None:
            return
        values = self.draft_values()
        ways = list(seen.setting_fixes)
        refusal = seen.refusal
        answers: list[tuple[str, str, str]] = []
        if refusal is not None:
            # What stops the run comes first.
            ways = [(describe_fix(fix, values), fix) for fix in refusal.fixes] + ways
        answers += [(str(number), words, "") for number, (words, _fix) in enumerate(ways)]
        if refusal is not None and refusal.of_rows:
            answers.append((_COLUMNS, _("Assign the columns"), _("From two lists.")))
            answers.append((_FORMAT, _("Choose the record format"), ""))
        answers.append((_OTHER, _("Choose another file"), ""))
        answers.append((_NONE, _("See an example file of the right shape"), ""))
        parts = (
            [make_safe_block(refusal.sentence), make_safe_block(refusal.advice).stylize("$dim")]
            if refusal is not None
            else []
        )
        for concern in seen.concerns:
            parts += format_concern_lines(concern)

        async def apply_data_fix(answer: str | None) -> None:
            if answer == _COLUMNS:
                self.ask_columns(values)
            elif answer == _FORMAT:
                self.ask_format("auto")
            elif answer == _OTHER:
                self.action_other()
            elif answer == _NONE:
                self.action_no_data()
            elif answer is not None:
                await self.take_values(dict(ways[int(answer)][1]))

        self.app.push_screen(
            ChoiceDialog(_("What to do"), Content("\n").join(parts), answers), apply_data_fix
        )
