"""A whole chat in one text, as in HH-RLHF."""

from __future__ import annotations

from tui_tuner.data.formats.base import Match, ask
from tui_tuner.data.formats.messages import Messages
from tui_tuner.data.formats.parts.columns import Column, Sample
from tui_tuner.data.formats.parts.transcripts import is_transcript
from tui_tuner.data.formats.parts.values import Columns
from tui_tuner.locales import _
from tui_tuner.text import one_line


class Transcript(Messages):
    name = "transcript"
    rank = 35

    def recognise(self, sample: Sample, asked: bool) -> Match | None:
        columns = [column for column in sample.columns.values() if _are_transcripts(column, sample)]
        if any(column in sample.named("prompt") for column in columns) and sample.named("response"):
            return None  # the rounds before an answer that has a column of its own
        if len(columns) > 1:
            raise ask(sample, "messages", [column.name for column in columns], {})
        if not columns:
            return None
        name = columns[0].name
        roles = {"messages": name, **sample.optional("system", "tools", taken=[name])}
        return Match(
            roles, 0.95, _("{name} holds what a human and an assistant say", name=one_line(name, 40))
        )

    def fits_told(self, told: Columns, sample: Sample) -> bool:
        return False  # a chat in a column that the user names is `messages`, however it is spelt


def _are_transcripts(column: Column, sample: Sample) -> bool:
    """Whether at least 90 % of the filled rows are."""
    if not column.mostly("text") or not is_transcript(column.example):
        return False
    return sum(is_transcript(row.get(column.name)) for row in sample.rows) >= 0.9 * column.filled


FORMATS = (Transcript(),)
