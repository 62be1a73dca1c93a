"""ChatGLM: prompt, response and the rounds before them."""

from __future__ import annotations

from tui_tuner.data.formats.base import Match
from tui_tuner.data.formats.parts.columns import Sample
from tui_tuner.data.formats.prompt_response import PromptResponse
from tui_tuner.locales import _


class ChatGLM(PromptResponse):
    name = "chatglm"
    needed = ("prompt", "response", "history")
    more = ("input", "system", "tools")
    rank = 40
    rank_told = 68

    def recognise(self, sample: Sample, asked: bool) -> Match | None:
        if sample.get("instruction") and sample.get("output") and not asked:
            return None  # alpaca, which has a history too
        history = sample.named("history", "lists", "list")
        prompts, answers = sample.named("prompt", "text"), sample.named("response", "text")
        if (not history and not asked) or len(prompts) != 1 or len(answers) != 1:
            return None
        named = history or [c for c in sample.columns.values() if c.plain == "history"]
        if not named:
            return None
        roles = {"prompt": prompts[0].name, "response": answers[0].name, "history": named[0].name}
        roles |= sample.optional("input", "system", "tools", taken=list(roles.values()))
        return Match(roles, 0.97, _("prompt, response and history"))


FORMATS = (ChatGLM(),)
