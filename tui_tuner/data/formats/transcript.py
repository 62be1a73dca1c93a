"""Read a whole chat from one text, as in HH-RLHF."""

from __future__ import annotations

from tui_tuner.data.formats.messages import Messages
from tui_tuner.data.formats.parts.columns import Column, ColumnSample
from tui_tuner.data.formats.parts.transcripts import is_transcript
from tui_tuner.data.formats.parts.values import Columns
from tui_tuner.data.formats.record_format import FormatMatch, ask_for_column
from tui_tuner.locales import _
from tui_tuner.text import one_line


class Transcript(Messages):
    name = "transcript"
    rank = 35

    def recognise_rows(self, sample: ColumnSample, asked: bool) -> FormatMatch | None:
        columns = [column for column in sample.columns.values() if _are_transcripts(column, sample)]
        if any(column in sample.find_named("prompt") for column in columns) and sample.find_named("response"):
            # These are the rounds before an answer that is in another column.
            return None
        if len(columns) > 1:
            raise ask_for_column(sample, "messages", [column.name for column in columns], {})
        if not columns:
            return None
        name = columns[0].name
        roles = {"messages": name, **sample.find_optional("system", "tools", taken=[name])}
        return FormatMatch(
            roles, 0.95, _("{name} holds the turns of a human and an assistant", name=one_line(name, 40))
        )

    def fits_told(self, told: Columns, sample: ColumnSample) -> bool:
        # A chat in a column that the user has named is `messages`, in whatever spelling.
        return False


def _are_transcripts(column: Column, sample: ColumnSample) -> bool:
    """Return whether at least 90 % of the filled rows are transcripts."""
    if not column.is_mostly("text") or not is_transcript(column.example):
        return False
    return sum(is_transcript(row.get(column.name)) for row in sample.rows) >= 0.9 * column.filled


FORMATS = (Transcript(),)
