"""How a draft stands: what is wrong with it, whether it can be started, and why not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from textual.content import Content

from tui_tuner.locales import _, _n
from tui_tuner.ui import form
from tui_tuner.ui.words import safe

if TYPE_CHECKING:
    from tui_tuner.ui.checking import Refusal
    from tui_tuner.ui.widgets.form.start_check import Checked


class Standing:
    """What is known of a draft; no widget.

    Args:
        told: Why a run with these values has failed; it stands at its field until a value changes.
    """

    def __init__(self, told: Refusal | None = None) -> None:
        self.told = told
        self.untyped: dict[str, str] = {}  # fields whose text is no value, with their sentence
        self.problems: dict[str, str] = {}
        self.refusal: Refusal | None = None  # of the check before a start
        self.better: Refusal | None = None  # another task fits the data better
        self.passed = False
        self.fetches = False  # a start would fetch the model first

    @property
    def why(self) -> Refusal | None:
        """Why a run cannot be started, or why the last one failed."""
        return self.told or self.refusal

    @property
    def said(self) -> Refusal | None:
        """What there is to say of the data."""
        return self.why or self.better

    def begin(self, values: Mapping[str, Any]) -> bool:
        """The values have changed: what the check said is of the past. Gives whether it is to look again."""
        self.refusal, self.passed, self.better = None, False, None
        return self.look(values)

    def answered(self, values: Mapping[str, Any], answer: Checked) -> None:
        """The check has come back."""
        self.told = None if answer.start else self.told
        self.refusal, self.passed, self.better = answer.refusal, answer.refusal is None, answer.better
        self.fetches = answer.fetches
        self.look(values)

    def refuse(self, refusal: Refusal) -> None:
        """The start itself has failed."""
        self.refusal, self.passed = refusal, False

    def look(self, values: Mapping[str, Any]) -> bool:
        """Find what is wrong with the values by themselves; where that is nothing, what was said of them.

        Returns:
            Whether there is nothing wrong with them by themselves.
        """
        self.problems = form.problems(values, self.untyped)
        sound = not self.problems
        if self.why is not None and not self.problems:
            self.problems = {self.why.field: self.why.sentence}  # of no field: in the title and the help
        return sound

    def typed(self, path: str, sentence: str) -> None:
        """What stands in a field is a value, or is none, as `sentence` says."""
        self.untyped.pop(path, None)
        if sentence:
            self.untyped[path] = sentence

    def of_section(self, section: str) -> list[str]:
        """What is wrong in a section, or in none."""
        problems = self.problems.items()
        return [text for path, text in problems if not path or form.section_of(path) == section]

    def title(self, starting: bool) -> Content:
        """The whole in a few words.

        Args:
            starting: A start waits for the check that is on.
        """
        count, refusal = len(self.problems), self.why
        if count and (refusal is None or self.problems.get(refusal.field) != refusal.sentence):
            return Content(_n("✗ {n} problem", "✗ {n} problems", count, n=count)).stylize("$error")
        if count:
            return Content.assemble("✗ ", safe(refusal.sentence if refusal else "")).stylize("$error")
        if starting:
            return Content(_("checking, then it starts…")).stylize("$primary")
        if not self.passed:
            return Content(_("checking…")).stylize("$dim")
        if self.fetches:
            return Content(_("^r fetches the model, then starts it")).stylize("$primary")
        return Content(_("✓ ready, ^r starts it")).stylize("$success")
