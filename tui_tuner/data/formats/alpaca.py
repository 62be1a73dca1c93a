"""Read Alpaca rows: instruction, input and output."""

from __future__ import annotations

from tui_tuner.data.formats.parts.columns import ColumnSample
from tui_tuner.data.formats.parts.values import Columns
from tui_tuner.data.formats.prompt_response import PromptResponse
from tui_tuner.data.formats.record_format import FormatMatch, ask_for_column
from tui_tuner.locales import _


class Alpaca(PromptResponse):
    name = "alpaca"
    more = ("input", "system", "history", "tools")
    rank = 45

    def recognise_rows(self, sample: ColumnSample, asked: bool) -> FormatMatch | None:
        instruction, output = sample.get_filled("instruction"), sample.get_filled("output")
        if not instruction or not output:
            return None
        if not asked and not (instruction.is_worded and output.is_written):
            return None
        rivals = [
            c
            for c in sample.find_named("prompt", "text")
            if c.normalised_name not in ("instruction", "input")
        ]
        rivals_out = [c for c in sample.find_named("response", "text") if c.normalised_name != "output"]
        if rivals:
            names = [instruction.name, *(c.name for c in rivals)]
            raise ask_for_column(sample, "prompt", names, {"response": output.name})
        if rivals_out:
            names = [output.name, *(c.name for c in rivals_out)]
            raise ask_for_column(sample, "response", names, {"prompt": instruction.name})
        roles = {"prompt": instruction.name, "response": output.name}
        roles |= sample.find_optional("input", "system", "history", "tools", taken=list(roles.values()))
        return FormatMatch(roles, 0.99, _("instruction and output"))

    def fits_told(self, told: Columns, sample: ColumnSample) -> bool:
        # Under any other names the rows are prompt_response.
        return False


FORMATS = (Alpaca(),)
