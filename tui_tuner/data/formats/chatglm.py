"""Read ChatGLM rows: prompt, response and the earlier rounds."""

from __future__ import annotations

from tui_tuner.data.formats.parts.columns import ColumnSample
from tui_tuner.data.formats.prompt_response import PromptResponse
from tui_tuner.data.formats.record_format import FormatMatch
from tui_tuner.locales import _


class ChatGLM(PromptResponse):
    name = "chatglm"
    needed = ("prompt", "response", "history")
    more = ("input", "system", "tools")
    rank = 40
    rank_told = 68

    def recognise_rows(self, sample: ColumnSample, asked: bool) -> FormatMatch | None:
        if sample.get_filled("instruction") and sample.get_filled("output") and not asked:
            # This is alpaca, which has a history too.
            return None
        history = sample.find_named("history", "lists", "list")
        prompts, answers = sample.find_named("prompt", "text"), sample.find_named("response", "text")
        if (not history and not asked) or len(prompts) != 1 or len(answers) != 1:
            return None
        named = history or [c for c in sample.columns.values() if c.normalised_name == "history"]
        if not named:
            return None
        roles = {"prompt": prompts[0].name, "response": answers[0].name, "history": named[0].name}
        roles |= sample.find_optional("input", "system", "tools", taken=list(roles.values()))
        return FormatMatch(roles, 0.97, _("prompt, response and history"))


FORMATS = (ChatGLM(),)
