"""Example rows for each kind of record, as text and as a file that can be trained on.

The task itself names the kinds of records it takes, so a new task gets examples of its kind; one with an
unknown kind gets its own description of its rows.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any

from tui_tuner.config.kinds.tasks import TASKS
from tui_tuner.errors import DiskFullError, UsageError
from tui_tuner.guiding.amounts import describe_example_need
from tui_tuner.locales import _
from tui_tuner.text import one_line, sanitize

Rows = Sequence[Mapping[str, Any]]

_CONTEXT = (
    "The museum on Harbour Street opens at nine and closes at six, but on Mondays it stays shut. A ticket "
    "costs 12 euros, and children under ten pay nothing. The café is on the second floor."
)


def _make_question(question: str, answer: str) -> dict[str, Any]:
    """Build a question about `_CONTEXT`; an empty answer makes it unanswerable."""
    found = {"text": [answer], "answer_start": [_CONTEXT.index(answer)]} if answer else None
    nothing: dict[str, list[Any]] = {"text": [], "answer_start": []}
    return {"question": question, "context": _CONTEXT, "answers": found or nothing}


_CHATS: Rows = (
    {
        "prompt": "My parcel has not arrived yet.",
        "response": "Oh no, that should not be! Tell me your order number and I will look where it is.",
    },
    {
        "prompt": "Can I return shoes that I have worn outside?",
        "response": "I am afraid not: once worn outside they are yours. If there is a fault, send a photo.",
    },
    {
        "prompt": "Do you have this jacket in green?",
        "response": "We do, in M and L. Shall I put one aside for you?",
    },
    {
        "prompt": "How long does delivery to Norway take?",
        "response": "Four to six days, and you can follow it all the way. Customs are paid already.",
    },
    {
        "prompt": "Thank you, it came today!",
        "response": "Lovely to hear! Wear it well, and write to us whenever something is wrong.",
    },
)
_REWRITES: Rows = (
    {
        "prompt": "Summarise: The meeting was moved from Monday to Wednesday, as two of us are ill.",
        "response": "Meeting: now on Wednesday (two are ill).",
    },
    {
        "prompt": "Summarise: The printer on the third floor is broken. A new one comes next week.",
        "response": "Printer, third floor: broken, new one next week.",
    },
    {
        "prompt": "Summarise: All holidays for the summer have to be entered by the end of March.",
        "response": "Summer holidays: enter them by 31 March.",
    },
    {
        "prompt": "Summarise: The car park closes on Friday at noon, because the ground is renewed.",
        "response": "Car park: closed from Friday noon (new ground).",
    },
)
_LABELLED: Rows = (
    {"text": "The heel broke on the first day.", "label": "complaint"},
    {"text": "Best boots that I ever had, thank you!", "label": "praise"},
    {"text": "Do you have these in size 44?", "label": "question"},
    {"text": "It took five weeks, and the box was open.", "label": "complaint"},
    {"text": "My daughter loves the red ones.", "label": "praise"},
    {"text": "When will the green jacket be back?", "label": "question"},
)
_TAGGED: Rows = (
    {
        "tokens": ["Ada", "Lovelace", "flew", "to", "Lima", "."],
        "ner_tags": ["B-PERSON", "I-PERSON", "O", "O", "B-PLACE", "O"],
    },
    {
        "tokens": ["In", "New", "Delhi", "it", "rains", "."],
        "ner_tags": ["O", "B-PLACE", "I-PLACE", "O", "O", "O"],
    },
    {
        "tokens": ["Ask", "Omar", "about", "it", "."],
        "ner_tags": ["O", "B-PERSON", "O", "O", "O"],
    },
    {"tokens": ["Nobody", "knew", "why", "."], "ner_tags": ["O", "O", "O", "O"]},
)
_QUESTIONS: Rows = (
    _make_question("When does the museum open?", "nine"),
    _make_question("What does a ticket cost?", "12 euros"),
    _make_question("On which day is it closed?", "Mondays"),
    _make_question("Who built the museum?", ""),
)
_TEXTS: Rows = (
    {
        "text": "A lathe turns the workpiece while the tool stands still. The harder the metal, the slower "
        "it turns, and the more it has to be cooled."
    },
    {
        "text": "Before a thread is cut, the bolt is turned to its outer diameter and its end is chamfered, "
        "so that the die finds its way."
    },
    {
        "text": "Play in the spindle shows as chatter: fine waves that one can feel with a fingernail. Then "
        "the bearings are set again."
    },
)
_PREFERENCES: Rows = (
    {
        "prompt": "How do I get a coffee stain out of wool?",
        "chosen": "Dab it with cold water at once, do not rub, and wash it with soap for wool.",
        "rejected": "Use hot water and rub hard.",
    },
    {
        "prompt": "Is it going to rain tomorrow?",
        "chosen": "I cannot see the weather from here; your local forecast knows.",
        "rejected": "Yes, definitely.",
    },
    {
        "prompt": "Name a tree that keeps its leaves.",
        "chosen": "The holly does.",
        "rejected": "The oak, the holly, the birch and many more, as trees are green and tall and old.",
    },
)
_JUDGED: Rows = (
    {"prompt": "Name a tree that keeps its leaves.", "response": "The holly does.", "kto_tag": True},
    {"prompt": "Is it going to rain tomorrow?", "response": "Yes, definitely.", "kto_tag": False},
    {"prompt": "What is 7 x 8?", "response": "56.", "kto_tag": True},
    {"prompt": "What is 9 x 6?", "response": "It is a number.", "kto_tag": False},
)

# By the kind of record that a task takes (`data.records`)
EXAMPLES: dict[str, Rows] = {
    "chat": _CHATS,
    "text": _TEXTS,
    "labelled": _LABELLED,
    "tagged": _TAGGED,
    "question": _QUESTIONS,
    "preference": _PREFERENCES,
    "judged": _JUDGED,
}
OF_GOALS: dict[str, Rows] = {"rewrite": _REWRITES}  # goals whose example rows differ from those of their task


ANNOTATED = ("chat", "labelled", "tagged", "question")  # kinds of records that can be annotated by hand


def list_record_kinds(task: str) -> list[str]:
    """List the kinds of records that a task takes, by their names in `data.records`."""
    from tui_tuner.tasks import find_task

    # Goals may name tasks that do not exist yet
    if task not in TASKS:
        return []
    return [str(getattr(record, "kind", "")) for record in find_task(task).records]


def can_annotate(task: str) -> bool:
    """Return whether rows of a task can be annotated by hand (`guiding.annotate`)."""
    return any(kind in ANNOTATED for kind in list_record_kinds(task))


def find_example_rows(task: str, goal: str = "") -> Rows:
    """Return 3 to 6 example rows for a task; none if its kind of record is unknown.

    Args:
        goal: The name of a goal in `goals.GOALS`, which may have examples of its own.
    """
    kinds = list_record_kinds(task)
    if goal in OF_GOALS and "chat" in kinds:
        return OF_GOALS[goal]
    return next((EXAMPLES[kind] for kind in kinds if kind in EXAMPLES), ())


def format_example(task: str, goal: str = "") -> str:
    """Return the content of a task's example file; the task's description of its rows if there is none."""
    rows = find_example_rows(task, goal)
    if rows:
        return _format_csv(rows) if _is_table(rows) else _format_lines(rows)
    kind = TASKS.get(task)
    if kind is None:
        return ""
    told = [_(kind.help)]
    if kind.rows:
        told.append(_("Its rows are {rows}.", rows=_(kind.rows)))
    return sanitize("\n".join(told))


def explain_example(task: str, goal: str = "") -> str:
    """Explain in sentences what a row holds and how many rows are needed."""
    rows = find_example_rows(task, goal)
    said = [describe_example_need(task)]
    if rows and _is_table(rows):
        said.insert(
            0, _("One row per line; the first line names the columns: {names}.", names=_name_columns(rows))
        )
    elif rows:
        said.insert(0, _("One JSON object per line, with {names}.", names=_name_columns(rows)))
    return " ".join(said)


def write_example(task: str, folder: Path | str = ".", goal: str = "") -> Path:
    """Write the example file of a task into a folder under an unused name; return its path.

    Raises:
        UsageError: there are no examples of this task, or no such folder.
        DiskFullError: it cannot be written.
    """
    rows = find_example_rows(task, goal)
    if not rows:
        raise UsageError(
            _("there are no example rows for task {task}.", task=one_line(task, 40)),
            hint=_("Its rows: {words}", words=one_line(format_example(task), 300)),
        )
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise UsageError(_("no such folder."), where=one_line(folder))
    ending = "csv" if _is_table(rows) else "jsonl"
    stem = f"example-{goal if goal in OF_GOALS else task}"
    # The user may have edited an earlier example, so it is never overwritten
    for number in count(1):
        path = folder / (f"{stem}.{ending}" if number == 1 else f"{stem}-{number}.{ending}")
        try:
            # "x" is O_EXCL: an existing file is never overwritten, not even in a race
            with open(path, "x", encoding="utf-8", newline="") as file:
                file.write(format_example(task, goal))
                file.flush()
                os.fsync(file.fileno())
            return path
        except FileExistsError:
            continue
        except OSError as error:
            raise DiskFullError(
                _("cannot be written: {problem}.", problem=error.strerror or str(error)), where=one_line(path)
            ) from None
    raise AssertionError("count() has no end")


def _is_table(rows: Rows) -> bool:
    """Return whether rows are texts with a class, which people usually keep in tables."""
    return "label" in rows[0]


def _name_columns(rows: Rows) -> str:
    return ", ".join(map(str, rows[0]))


def _format_lines(rows: Rows) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def _format_csv(rows: Rows) -> str:
    written = io.StringIO()
    table = csv.DictWriter(written, list(rows[0]), lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    return written.getvalue()
