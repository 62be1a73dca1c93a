"""Data files of a folder, and what each is for: what the guide suggests before anything is chosen.

Only the first rows of a file are read, so that a folder of large files is looked through in a moment.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice

from tui_tuner.config.kinds import TASKS
from tui_tuner.errors import TunerError
from tui_tuner.locales import _

MOST_FILES = 24  # are looked into
_MOST_FOLDERS = 40
_ROWS = 20
_LARGE = 64 << 20  # bytes; a packed or nested file of this size takes long before its first row
_SUFFIXES = (
    ".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet", ".pq", ".arrow", ".feather", ".txt", ".md",
    ".conll", ".conllu", ".bio", ".iob", ".zip", ".jsonl.gz", ".csv.gz", ".jsonl.zst",
)  # fmt: skip
_HELD_OUT = re.compile(r"(^|[^a-z])(test|valid|validation|val|dev|eval|held.?out)([^a-z]|$)", re.I)
_TRAINING = re.compile(r"(^|[^a-z])train(ing)?([^a-z]|$)", re.I)
_NO_DATA = re.compile(
    r"^(readme|license|licence|changelog|contributing|requirements|package|package-lock|tsconfig"
    r"|pyproject|config|settings|tokenizer|tokenizer_config|special_tokens_map|generation_config|vocab)\b",
    re.I,
)


@dataclass(frozen=True)
class FoundFile:
    """A file that may be data.

    Args:
        path: As it is typed in the folder that was looked at.
        size: In bytes.
        task: The task that its rows are for; empty where none can use them.
        problem: Why nothing can be done with it; empty where something can.
    """

    path: str
    size: int
    task: str = ""
    problem: str = ""

    @property
    def rows_words(self) -> str:
        """What its rows are, in a few words."""
        return _(TASKS[self.task].rows) if self.task in TASKS else ""

    def suits(self, task: str) -> bool:
        """Whether its rows are for a task."""
        return bool(task) and self.task == task

    @property
    def held_out(self) -> bool:
        """Whether its name says that it is for judging, and not for training."""
        return bool(_HELD_OUT.search(os.path.basename(self.path)))


def find_data(
    folder: str,
    said: Callable[[int, int], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> tuple[FoundFile, ...]:
    """The data files of a folder, the likeliest first; where it has none, those one folder further down.

    Args:
        said: Called with how many files were looked into, and of how many.
    """
    paths = list(_candidates(folder, "")) or [
        path for name in _folders(folder) for path in _candidates(os.path.join(folder, name), name)
    ]
    paths = paths[:MOST_FILES]
    found = []
    for count, path in enumerate(paths):
        if cancelled is not None and cancelled():
            break
        if said is not None:
            said(count, len(paths))
        found.append(look_into(path, os.path.join(folder, path)))
    return tuple(sorted(found, key=_likely))


def look_into(path: str, place: str) -> FoundFile:
    """What the first rows of a file are for; raises nothing.

    Args:
        place: Where it lies, if `path` is relative to another folder than the working one.
    """
    try:
        size = os.path.getsize(place)
    except OSError as error:
        return FoundFile(path, 0, "", error.strerror or str(error))
    try:
        task = task_of_rows(place)
    except (TunerError, OSError) as error:
        what = error.what if isinstance(error, TunerError) else (error.strerror or str(error))
        return FoundFile(path, size, "", what)
    return FoundFile(path, size, task, "" if task else _("holds nothing that a task could learn"))


def task_of_rows(path: str) -> str:
    """The task that most of the first rows of a data set are for; empty where no task can use them.

    Raises:
        TunerError: it cannot be read or understood.
    """
    from tui_tuner.config.schema import DataSection
    from tui_tuner.data.formats import find_format
    from tui_tuner.data.ledger import Ledger
    from tui_tuner.data.reading import Reading
    from tui_tuner.tasks import name_of_task

    votes: Counter[str] = Counter()
    ledger = Ledger()
    for read in islice(Reading(DataSection(path=path)), _ROWS):
        record = read.begun(ledger)
        if record is None:
            continue
        task = name_of_task(record) or ""
        way = find_format(read.format).otherwise(read.columns, read.row.values) if read.format else None
        if way is not None and way.better and way.task in TASKS:
            task = way.task
        votes[task] += 1
    named = [task for task, _count in votes.most_common() if task]
    return named[0] if named else ""


def _candidates(folder: str, before: str) -> Iterator[str]:
    try:
        with os.scandir(folder) as entries:
            names = sorted(entry.name for entry in entries if _is_data(entry))
    except OSError:
        return
    for name in names:
        yield os.path.join(before, name)


def _is_data(entry: os.DirEntry[str]) -> bool:
    name = entry.name.lower()
    if name.startswith(".") or not name.endswith(_SUFFIXES) or _NO_DATA.match(name):
        return False
    try:
        size = entry.stat().st_size if entry.is_file() else 0
    except OSError:
        return False
    return size > 0 and (size < _LARGE or name.endswith((".jsonl", ".ndjson", ".csv", ".tsv", ".parquet")))


def _folders(folder: str) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in islice(entries, 2000) if entry.is_dir()]
    except OSError:
        return []
    kept = [
        name for name in names if not name.startswith((".", "_")) and name not in ("runs", "node_modules")
    ]
    return sorted(kept, key=lambda name: (not name.lower().startswith("data"), name))[:_MOST_FOLDERS]


def _likely(found: FoundFile) -> tuple[bool, bool, bool, bool, int, str]:
    """Usable ones first, those of training before others and those for judging last, the largest first."""
    name = os.path.basename(found.path)
    text = found.task == "pretraining"  # a note or a page is text, and seldom what is meant
    return (not found.task, found.held_out, text, not _TRAINING.search(name), -found.size, found.path)
