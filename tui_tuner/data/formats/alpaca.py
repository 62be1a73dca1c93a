"""Alpaca: instruction, input and output."""

from __future__ import annotations

from tui_tuner.data.formats.base import Match, ask
from tui_tuner.data.formats.parts.columns import Sample
from tui_tuner.data.formats.parts.values import Columns
from tui_tuner.data.formats.prompt_response import PromptResponse
from tui_tuner.locales import _


class Alpaca(PromptResponse):
    name = "alpaca"
    more = ("input", "system", "history", "tools")
    rank = 45

    def recognise(self, sample: Sample, asked: bool) -> Match | None:
        instruction, output = sample.get("instruction"), sample.get("output")
        if not instruction or not output:
            return None
        if not asked and not (instruction.worded and output.written):
            return None
        rivals = [c for c in sample.named("prompt", "text") if c.plain not in ("instruction", "input")]
        rivals_out = [c for c in sample.named("response", "text") if c.plain != "output"]
        if rivals:
            names = [instruction.name, *(c.name for c in rivals)]
            raise ask(sample, "prompt", names, {"response": output.name})
        if rivals_out:
            names = [output.name, *(c.name for c in rivals_out)]
            raise ask(sample, "response", names, {"prompt": instruction.name})
        roles = {"prompt": instruction.name, "response": output.name}
        roles |= sample.optional("input", "system", "history", "tools", taken=list(roles.values()))
        return Match(roles, 0.99, _("instruction and output"))

    def fits_told(self, told: Columns, sample: Sample) -> bool:
        return False  # under any other names it is prompt_response


FORMATS = (Alpaca(),)
