"""Question 5: how to judge the model: by held-out rows, by a metric of them, or by the user's prompts."""

from __future__ import annotations

from typing import Any, ClassVar

from textual.content import Content

from tui_tuner.guiding.judging import HELD_OUT, PROMPTS, JudgeChoice, list_judge_choices
from tui_tuner.locales import _
from tui_tuner.text import one_line
from tui_tuner.ui.screen_words import make_safe_block
from tui_tuner.ui.screens.dialogs import PathDialog
from tui_tuner.ui.screens.guide.guide_question import Question


class JudgeQuestion(Question):
    """Held-out rows are always measured; the other answers add a metric or prompts."""

    PLACE: ClassVar[int] = 5
    HELP_TEXT = _(
        "A model that has memorised its training rows looks excellent on them, which proves nothing. So a "
        "few rows are held out of training, and measured before the first step and at intervals: only an "
        "improvement on them, by more than chance, shows that the model has learned.\n"
        "A metric of the held-out rows that you choose here decides which checkpoint is kept as the best. "
        "Others score answers before and after training; your own prompts are answered then, side by side."
    )

    def question_text(self) -> str:
        return _("How will you judge whether it is better?")

    def explain_question(self) -> str:
        return _(
            "Some of your rows are held out: the model never trains on them. Measured before and after, they "
            "show whether the model has learned or only memorised."
        )

    def list_title(self) -> str:
        return _("Judged by")

    def on_mount(self) -> None:
        self.draw_answers()

    @property
    def _own_prompts(self) -> list[str]:
        """Return the user's own prompts so far."""
        asked = self.walk.answers.judge
        return asked if isinstance(asked, list) else []

    def _list_choices(self) -> tuple[JudgeChoice, ...]:
        return list_judge_choices(self.walk.task_name, self.walk.data_facts(), prompts=self._own_prompts)

    def draw_answers(self) -> None:
        lines = []
        for choice in self._list_choices():
            words = choice.words + (" …" if choice.answer == PROMPTS else "")
            lines.append((choice.answer, self.answer_line(words, choice.means, 30)))
        judge = self.walk.answers.judge
        at = ""
        if not self.answer_list.options and judge:
            at = PROMPTS if isinstance(judge, list) else str(judge)
        self.show_answers(lines, at)

    def render_about(self, chosen: str) -> Content:
        if chosen == HELD_OUT:
            words = _(
                "The usual answer. The held-out share depends on the number of your rows: just enough to "
                "tell an improvement from chance. At the end, a verdict says whether the model has learned, "
                "on what evidence, and what to change."
            )
            return make_safe_block(words)
        choice = next((one for one in self._list_choices() if one.answer == chosen), None)
        if choice is None:
            return Content("")
        lines = [make_safe_block(choice.means)]
        if choice.costs:
            lines.append(make_safe_block(choice.costs).stylize("$dim"))
        if chosen == PROMPTS:
            lines += [make_safe_block("· " + one_line(prompt, 200)) for prompt in self._own_prompts]
        return Content("\n").join(lines)

    def accept_answer(self, chosen: str) -> None:
        if chosen == PROMPTS:
            self._ask_prompts()
            return
        self._take_judge(chosen)

    def _take_judge(self, judge: Any) -> None:
        from tui_tuner.ui.screens.guide.guide_page import GuidePage

        self.walk.set_answers(judge=judge)
        self.keep_answers()
        self.app.push_screen(GuidePage(self.walk))

    def _ask_prompts(self) -> None:
        def take_prompts(text: str | None) -> None:
            prompts = [part.strip() for part in (text or "").split("|") if part.strip()]
            if prompts:
                self._take_judge(prompts)

        question = _("Your prompts, separated by |")
        self.app.push_screen(PathDialog(_("Prompts"), question, " | ".join(self._own_prompts)), take_prompts)
