"""Formats rows: turns by role, a text and its class, words and their tags, a question and its answer.

Roles are named as well as coloured. A row's problem is shown apart from its content.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import orjson
from rich.cells import cell_len, chop_cells
from textual.content import Content

from tui_tuner.data.records import (
    Chat,
    JudgedChat,
    LabelledText,
    Message,
    Preference,
    Question,
    Record,
    TaggedText,
    Text,
)
from tui_tuner.data.spool import SpooledRow
from tui_tuner.locales import _
from tui_tuner.runs.wire import convert_to_plain_json
from tui_tuner.text import mark_blanks, one_line, sanitize

_ROLES = {"user": "$primary", "assistant": "$trained", "system": "$special", "tool": "$accent"}
_MOST_TAGS = 2000  # words with tags that are shown
LONGEST = 2_000_000  # characters of a row that are shown at most
Part = tuple[str, str, str]  # a label, its colour, a text


def count_row_lines(record: Record | None) -> int:
    """Return how many lines a row needs in the list."""
    return 3 if isinstance(record, Preference | Question) else 2


def format_row_briefly(kept: SpooledRow, width: int, lines: int) -> list[Content]:
    """Format a row in a few lines; of a long chat the first question and the last answer."""
    problem = find_row_problem(kept)
    parts = list_row_parts(kept)
    # A row with a record only gets a mark here; its problem is shown when the row is opened.
    alone = bool(problem) and kept.read.record is None
    first = [Content.assemble(("✗ ", "$error"), (_cut_line(problem, width - 2), "$error"))] if alone else []
    left = lines - len(first)
    if len(parts) > left:
        parts = _most_telling(parts, left)
    room = left - len(parts)
    found = first
    width -= 2 if problem and not alone else 0
    for number, (label, colour, text) in enumerate(parts, 1):
        own = 1 + room if number == len(parts) else 1
        found += _lay_part(label, colour, text, width, own)
    if problem and not alone:
        found = [
            Content.assemble("  " if place else ("✗ ", "$error"), line) for place, line in enumerate(found)
        ]
    return found[:lines]


def _most_telling(parts: list[Part], lines: int) -> list[Part]:
    """Choose `lines` parts: the first that is not a system text, and the last ones."""
    if lines <= 0:
        return []
    if lines == 1:
        return parts[-1:]
    spoken = [part for part in parts if part[0] != "system"] or parts
    if len(spoken) <= lines:
        return spoken
    return [spoken[0], *spoken[len(spoken) - lines + 1 :]]


def _lay_part(label: str, colour: str, text: str, width: int, lines: int) -> list[Content]:
    """Lay out a part in at most `lines` lines, starting with its label."""
    head = f"{one_line(label, 24)}: " if label else ""
    # Cut before it is sanitised: a row may have millions of characters, and the list draws often.
    shown = one_line(mark_blanks(text[: width * lines * 2 + 40]))
    pieces = chop_cells(head + shown, max(8, width))
    if len(pieces) > lines:
        pieces = [*pieces[: lines - 1], _cut_line(pieces[lines - 1] + "…", width)]
    first, *rest = pieces or [head]
    coloured = Content.assemble((first[: len(head)], f"bold {colour}"), first[len(head) :])
    return [coloured, *map(Content, rest)]


def _cut_line(text: str, width: int) -> str:
    line = one_line(text)
    if cell_len(line) <= width:
        return line
    pieces = chop_cells(line, max(1, width - 1))
    return pieces[0] + "…"


def find_row_problem(kept: SpooledRow) -> str:
    """Return the problem of a row; empty if it has none."""
    read = kept.read
    if read.problem is not None:
        return (
            f"{_(read.problem.reason)}: {read.problem.detail}"
            if _has_new_detail(kept)
            else _(read.problem.reason)
        )
    if read.row.problem:
        return read.row.problem
    if kept.outcome == "dropped":
        return kept.reason or _("left out by data.cleaning")
    return _("a copy of a row above") if kept.outcome == "deduplicated" else ""


def _has_new_detail(kept: SpooledRow) -> bool:
    """Return whether a problem's detail says more than the row, which is shown next to it."""
    problem = kept.read.problem
    if problem is None or not problem.detail:
        return False
    return problem.detail not in str(kept.read.row.values) and problem.detail not in (
        str(value) for value in kept.read.row.values.values()
    )


def list_row_parts(kept: SpooledRow) -> list[Part]:
    """Return the parts of a row; for a row that was not understood, its raw columns."""
    read = kept.read
    if read.merged:
        return [("", "", _("a turn of the chat that starts above"))]
    if read.record is None:
        if list(read.row.values) == [""]:
            return [("", "", str(read.row.values[""]))]
        return [(str(name), "$dim", format_row_value(value)) for name, value in read.row.values.items()]
    return list(_iterate_parts(read.record))


def _iterate_parts(record: Record) -> Iterator[Part]:
    if isinstance(record, Chat):
        yield from _iterate_turns(record.messages)
    elif isinstance(record, JudgedChat):
        yield from _iterate_turns(record.messages)
        yield _("judged"), "$accent", _("good") if record.good else _("bad")
    elif isinstance(record, Preference):
        yield from _iterate_turns(record.messages)
        yield _("chosen"), "$trained", " ⏎ ".join(_join_said(turn) for turn in record.chosen)
        yield _("rejected"), "$error", " ⏎ ".join(_join_said(turn) for turn in record.rejected)
    elif isinstance(record, LabelledText):
        yield "", "", record.text
        if record.pair is not None:
            yield _("second text"), "$primary", record.pair
        yield _("class"), "$trained", _format_class(record.label)
    elif isinstance(record, TaggedText):
        pairs = zip(record.tokens[:_MOST_TAGS], record.tags, strict=False)
        yield "", "", " ".join(word if tag in ("O", 0) else f"{word}⟨{tag}⟩" for word, tag in pairs)
    elif isinstance(record, Question):
        yield _("question"), "$primary", record.question
        answers = [f"“{text}”" for text, _start in record.answers]
        yield _("answer"), "$trained", ", ".join(answers) or _("the text does not answer it")
        yield _("text"), "$dim", record.context
    elif isinstance(record, Text):
        yield "", "", record.text


def _iterate_turns(messages: Sequence[Message]) -> Iterator[Part]:
    for turn in messages:
        colour = _ROLES.get(turn.role, "$accent")
        if turn.reasoning:
            yield _("{role} thinks", role=turn.role), "$dim", turn.reasoning
        yield turn.role, colour, _join_said(turn)


def _join_said(turn: Message) -> str:
    calls = format_row_value(turn.tool_calls) if turn.tool_calls else ""
    return " ".join(filter(None, (turn.content or "", calls)))


def _format_class(label: Any) -> str:
    if label is None:
        return _("none")
    return ", ".join(map(str, label)) if isinstance(label, list) else str(label)


def format_row_value(value: Any, indent: bool = False) -> str:
    """Return a value of a row as text; other values as JSON."""
    if isinstance(value, str):
        return value
    option = orjson.OPT_INDENT_2 if indent else 0
    try:
        return orjson.dumps(
            convert_to_plain_json(value), default=str, option=option | orjson.OPT_NON_STR_KEYS
        ).decode()
    except (TypeError, RecursionError):
        return str(value)


# A whole row


def format_whole_row(kept: SpooledRow, width: int) -> list[Content]:
    """Format everything in a row, in lines of `width` cells."""
    found: list[Content] = []
    problem = find_row_problem(kept)
    if problem:
        found += [Content(line).stylize("$error") for line in _wrap_text("✗ " + problem, width)] + [
            Content("")
        ]
    # The spool cuts very long rows, so what follows is not all of it.
    if kept.cut:
        words = _("This row is too long to be stored in full: long texts are shown in part.")
        found += [Content(line).stylize("$warning") for line in _wrap_text(words, width)] + [Content("")]
    told = 0
    for label, colour, text in _all_parts(kept):
        if label:
            found.append(Content(one_line(label, 60)).stylize(f"bold {colour}" if colour else "bold"))
        text, told = text[: max(0, LONGEST - told)], told + len(text)
        found += [Content(line) for line in _wrap_text(text, width, "  " if label else "")] + [Content("")]
        if told > LONGEST:
            words = _("The rest of the row is not shown.")
            return [*found, Content(words).stylize("$warning")]
    return found[:-1] if found else [Content(_("The row is empty.")).stylize("$dim")]


def _all_parts(kept: SpooledRow) -> Iterator[Part]:
    read, record = kept.read, kept.read.record
    tools = getattr(record, "tools", None)
    if tools:
        yield _("tools"), "$accent", format_row_value(tools, True)
    if isinstance(record, Chat | JudgedChat | Preference):
        yield from _whole_turns(record.messages)
        if isinstance(record, JudgedChat):
            yield _("judged"), "$accent", _("good") if record.good else _("bad")
        if isinstance(record, Preference):
            for name, turns in ((_("chosen"), record.chosen), (_("rejected"), record.rejected)):
                for label, colour, text in _whole_turns(turns):
                    yield _("{kind} · {role}", kind=name, role=label), colour, text
    else:
        yield from list_row_parts(kept)
    # Columns that the format does not read are shown last, as they may be missed by mistake.
    used = set(read.columns.values()) if record is not None else set(read.row.values)
    for name, value in read.row.values.items():
        if name not in used and value not in (None, "", [], {}):
            yield _("not used: {column}", column=name), "$dim", format_row_value(value, True)


def _whole_turns(messages: Sequence[Message]) -> Iterator[Part]:
    for turn in messages:
        colour = _ROLES.get(turn.role, "$accent")
        name = f"{turn.role} {turn.name}" if turn.name else turn.role
        if turn.reasoning:
            yield _("{role} thinks ({key})", role=name, key=turn.reasoning_key), "$dim", turn.reasoning
        if turn.content or not turn.tool_calls:
            yield name, colour, turn.content or ""
        if turn.tool_calls:
            yield _("{role} calls tools", role=name), "$accent", format_row_value(turn.tool_calls, True)


def _wrap_text(text: str, width: int, indent: str = "") -> list[str]:
    """Wrap text into lines of `width` cells, broken between words if possible."""
    room = max(8, width - len(indent))
    found: list[str] = []
    for line in sanitize(mark_blanks(text)).replace("\t", "    ").split("\n"):
        found += [indent + piece for piece in _break_line(line, room)]
    return found


def _break_line(line: str, room: int) -> Iterator[str]:
    if cell_len(line) <= room:
        yield line
        return
    rest = ""
    for word in line.split(" "):
        joined = f"{rest} {word}" if rest else word
        if cell_len(joined) <= room:
            rest = joined
            continue
        if rest:
            yield rest
        *whole, rest = chop_cells(word, room) or [""]
        yield from whole
    yield rest
