"""The first rows of a job, with what would be asked: before a model is loaded, and without torch."""

from __future__ import annotations

import itertools
from typing import Any

from tui_tuner.data.records import Chat, Labelled, Question, Record, Tagged, Text
from tui_tuner.errors import DataError, UsageError
from tui_tuner.inference.places import config_of
from tui_tuner.inference.predicting.job import Job
from tui_tuner.inference.predicting.roles import roles_of
from tui_tuner.inference.predicting.source import SAMPLE_ROWS, Source
from tui_tuner.text import sanitize

ROWS = 5
LONGEST = 4000  # characters of what is asked


def look(job: Job, rows: int = ROWS) -> dict[str, Any]:
    """What a file holds, and what a model would be asked about its first rows.

    Returns:
        `columns`: those of the first rows; `choices`: the roles that one may have; `roles`: the column of
        each, as far as that is clear; `problem` and `hint`: why it is not, or empty; `files`, `notes`;
        `rows`: of each its `number`, `values`, what is `asked` (text), and its `problem`.

    Raises:
        DataError, UsageError: there is nothing to read, or options are out of range.
    """
    job.check()
    source = Source(job, config_of(job.model) if job.model.kind == "run" else None)
    found: dict[str, Any] = {
        "columns": columns_of(source),
        "choices": [] if source.asking.columns_alone else roles_of(job.kind, source.asking.own).roles,
        "roles": {},
        "problem": "",
        "hint": "",
        "files": len(source.files),
        "notes": source.notes,
        "rows": [],
    }
    try:
        roles = source.roles()
        found["roles"] = dict(roles.columns) if roles is not None else {}
        for asked in itertools.islice(source.rows(), rows):
            text = "" if asked.record is None else shown(asked.record)
            found["rows"].append(
                {
                    "number": asked.number + 1,
                    "values": asked.row.values,
                    "asked": text,
                    "problem": asked.problem,
                }
            )
    except (DataError, UsageError) as error:
        found["problem"] = f"{error.where}: {error.what}" if error.where else error.what
        found["hint"] = error.hint
    return found


def columns_of(source: Source) -> list[str]:
    """The columns of the first rows of the first file."""
    for file in source.files:
        head = [row for row in itertools.islice(file.rows(), SAMPLE_ROWS) if not row.problem]
        if head:
            return list(dict.fromkeys(str(name) for row in head for name in row.values))
    return []


def shown(record: Record) -> str:
    """What is asked, for a person: the turns of a chat with who says them, or a text."""
    if isinstance(record, Chat):
        parts = [
            f"{message.role}: {message.content or ''}" if len(record.messages) > 1 else message.content or ""
            for message in record.messages
        ]
        text = "\n\n".join(parts)
    elif isinstance(record, Question):
        text = f"{record.question}\n\n{record.context}"
    elif isinstance(record, Labelled):
        text = record.text if record.pair is None else f"{record.text}\n\n{record.pair}"
    elif isinstance(record, Tagged):
        text = " ".join(record.tokens)
    else:
        text = record.text if isinstance(record, Text) else ""
    return sanitize(text[:LONGEST])
