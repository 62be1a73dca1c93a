"""Previews the first rows of a job and their inputs, before a model is loaded and without torch."""

from __future__ import annotations

import itertools
from typing import Any

from tui_tuner.data.records import Chat, LabelledText, Question, Record, TaggedText, Text
from tui_tuner.errors import DataError, UsageError
from tui_tuner.inference.model_places import build_origin_config
from tui_tuner.inference.predicting.job import Job
from tui_tuner.inference.predicting.roles import find_input_roles
from tui_tuner.inference.predicting.source import SAMPLE_ROWS, InputFiles
from tui_tuner.text import sanitize

ROWS = 5
LONGEST = 4000  # characters of an input


def preview_prediction_job(job: Job, rows: int = ROWS) -> dict[str, Any]:
    """Preview a job: the file's columns, and the inputs for its first rows.

    Returns:
        `columns` of the first rows; `choices`: the possible roles; `roles`: the column of each role, as far
        as it is clear; `problem` and `hint` if it is not; `files`, `notes`; `rows`: for each its `number`,
        `values`, input (`asked`) and `problem`.

    Raises:
        DataError, UsageError: there is nothing to read, or options are not valid.
    """
    job.check_options()
    source = InputFiles(job, build_origin_config(job.model) if job.model.kind == "run" else None)
    found: dict[str, Any] = {
        "columns": list_first_columns(source),
        "choices": []
        if source.asking.uses_columns_only
        else find_input_roles(job.task_kind, source.asking.own).all_roles,
        "roles": {},
        "problem": "",
        "hint": "",
        "files": len(source.files),
        "notes": source.notes,
        "rows": [],
    }
    try:
        roles = source.find_first_roles()
        found["roles"] = dict(roles.columns) if roles is not None else {}
        for asked in itertools.islice(source.read_inputs(), rows):
            text = "" if asked.record is None else format_job_input(asked.record)
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


def list_first_columns(source: InputFiles) -> list[str]:
    """List the columns in the first rows of the first readable file."""
    for file in source.files:
        head = [row for row in itertools.islice(file.iterate_rows(), SAMPLE_ROWS) if not row.problem]
        if head:
            return list(dict.fromkeys(str(name) for row in head for name in row.values))
    return []


def format_job_input(record: Record) -> str:
    """Format an input for people: the turns of a chat with their roles, or a text."""
    if isinstance(record, Chat):
        parts = [
            f"{message.role}: {message.content or ''}" if len(record.messages) > 1 else message.content or ""
            for message in record.messages
        ]
        text = "\n\n".join(parts)
    elif isinstance(record, Question):
        text = f"{record.question}\n\n{record.context}"
    elif isinstance(record, LabelledText):
        text = record.text if record.pair is None else f"{record.text}\n\n{record.pair}"
    elif isinstance(record, TaggedText):
        text = " ".join(record.tokens)
    else:
        text = record.text if isinstance(record, Text) else ""
    return sanitize(text[:LONGEST])
