"""Find the data files of a folder and the task that each is for: the suggestions of the guide.

Only the first rows of a file are read, so that a folder of large files is searched in a moment.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice

from tui_tuner.config.kinds.tasks import TASKS
from tui_tuner.errors import TunerError
from tui_tuner.locales import _

MOST_FILES = 24  # files that are opened
_MOST_FOLDERS = 40
_ROWS = 20
# Bytes: in a compressed or nested file of this size, it takes long to reach the first row
_LARGE = 64 << 20
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
        path: Path relative to the folder that was searched.
        size: In bytes.
        task: The task that its rows are for; empty if none can use them.
        problem: Why it cannot be used; empty if it can.
    """

    path: str
    size: int
    task: str = ""
    problem: str = ""

    @property
    def rows_words(self) -> str:
        """Describe its rows in a few words."""
        return _(TASKS[self.task].rows) if self.task in TASKS else ""

    def is_for_task(self, task: str) -> bool:
        """Return whether its rows are for a task."""
        return bool(task) and self.task == task

    @property
    def held_out(self) -> bool:
        """Return whether its name suggests held-out data rather than training data."""
        return bool(_HELD_OUT.search(os.path.basename(self.path)))


def find_data(
    folder: str,
    said: Callable[[int, int], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> tuple[FoundFile, ...]:
    """Find the data files of a folder, the likeliest first; if it has none, those one level deeper.

    Args:
        said: Called with the number of files opened so far and the number of all.
    """
    paths = list(_find_candidates(folder, "")) or [
        path for name in _list_folders(folder) for path in _find_candidates(os.path.join(folder, name), name)
    ]
    paths = paths[:MOST_FILES]
    found = []
    for count, path in enumerate(paths):
        # Checked between files only: reading the first rows of one takes a moment at most.
        if cancelled is not None and cancelled():
            break
        if said is not None:
            said(count, len(paths))
        found.append(inspect_file_task(path, os.path.join(folder, path)))
    return tuple(sorted(found, key=_likelihood_key))


def inspect_file_task(path: str, place: str) -> FoundFile:
    """Find the task that the first rows of a file are for; raises nothing.

    Args:
        place: Its full path, if `path` is relative to another folder than the working one.
    """
    try:
        size = os.path.getsize(place)
    except OSError as error:
        return FoundFile(path, 0, "", error.strerror or str(error))
    try:
        task = find_task_of_rows(place)
    except (TunerError, OSError) as error:
        what = error.what if isinstance(error, TunerError) else (error.strerror or str(error))
        return FoundFile(path, size, "", what)
    return FoundFile(path, size, task, "" if task else _("contains no rows that a task can train on"))


def find_task_of_rows(path: str) -> str:
    """Return the task that most of the first rows of a data set are for; empty if no task can use them.

    Raises:
        TunerError: it cannot be read or understood.
    """
    from tui_tuner.config.schema import DataSection
    from tui_tuner.data.formats import find_format
    from tui_tuner.data.ledger import Ledger
    from tui_tuner.data.read_data import DataReading
    from tui_tuner.tasks import name_of_task

    votes: Counter[str] = Counter()
    ledger = Ledger()
    for read in islice(DataReading(DataSection(path=path)), _ROWS):
        record = read.count_start(ledger)
        if record is None:
            continue
        task = name_of_task(record) or ""
        way = (
            find_format(read.format).suggest_other_way(read.columns, read.row.values) if read.format else None
        )
        # A row may fit two tasks; its format knows which one it was more likely made for.
        if way is not None and way.better and way.task in TASKS:
            task = way.task
        votes[task] += 1
    named = [task for task, _count in votes.most_common() if task]
    return named[0] if named else ""


def _find_candidates(folder: str, before: str) -> Iterator[str]:
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
    # Formats whose first rows can be read without the rest are accepted at any size.
    return size > 0 and (size < _LARGE or name.endswith((".jsonl", ".ndjson", ".csv", ".tsv", ".parquet")))


def _list_folders(folder: str) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            # A folder of images or caches may have millions of entries.
            names = [entry.name for entry in islice(entries, 2000) if entry.is_dir()]
    except OSError:
        return []
    kept = [
        name for name in names if not name.startswith((".", "_")) and name not in ("runs", "node_modules")
    ]
    # Only so many folders are searched, so those that are called data come first.
    return sorted(kept, key=lambda name: (not name.lower().startswith("data"), name))[:_MOST_FOLDERS]


def _likelihood_key(found: FoundFile) -> tuple[bool, bool, bool, bool, int, str]:
    """Return the sort key: usable first, training data before other, held-out data last, large first."""
    name = os.path.basename(found.path)
    # Notes and web pages are text too, but seldom the data set.
    text = found.task == "pretraining"
    return (not found.task, found.held_out, text, not _TRAINING.search(name), -found.size, found.path)
