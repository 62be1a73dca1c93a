"""Rows made by hand: what they look like in their file, which is whole after each of them, whatever happens.

A row is a line of JSON, appended in one write and brought to the disk before the next one is asked for. What
a kill or a full disk may leave of a line is taken away when the file is opened again.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from tui_tuner.errors import DataError, DiskFullError, UsageError
from tui_tuner.guiding.amounts import OF_CLASS, OF_TAG, need_of
from tui_tuner.guiding.examples import ANNOTATED, kinds_of_rows
from tui_tuner.guiding.marking import Row, read_texts, text_of
from tui_tuner.locales import N_, _, _n
from tui_tuner.text import one_line

LARGEST = 64 << 20  # bytes of a file of rows made by hand
_NAMES = {"chat": "answers", "labelled": "labels", "tagged": "tags", "question": "questions"}
_KEYS = {
    "chat": ("prompt", "response"),
    "labelled": ("text", "label"),
    "tagged": ("tokens", "ner_tags"),
    "question": ("question", "context", "answers"),
}
_AIMS = (
    N_("something begins to show"),
    N_("it is clear"),
    N_("it is a good data set"),
)


@dataclass
class Annotation:
    """A file of rows made by hand, and the texts that are still to be done.

    Args:
        kind: The kind of record that a row is: `chat`, `labelled`, `tagged` or `question`.
        rows: Those in the file, in its order; lines that are no such rows are left alone.
        texts: What is to be marked, from a file without marks; empty where texts are typed.
        notes: What was done to the file when it was opened.
    """

    path: Path
    task: str
    kind: str
    rows: list[Row] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    from_file: bool = False

    def __post_init__(self) -> None:
        self._begins: list[int] = []  # where each row stands in the file [bytes]
        self._end = 0

    # ---- the file -------------------------------------------------------------------------------------

    def load(self) -> None:
        """Read the rows that are there, and take away what is left of a line that was not written whole.

        Raises:
            DataError: it cannot be read, or is too large.
        """
        if not self.path.exists():
            return
        try:
            if self.path.stat().st_size > LARGEST:
                raise DataError(
                    _("is too large to be gone on with by hand."),
                    where=one_line(self.path),
                    hint=_("Name another file."),
                )
            content = self.path.read_bytes()
        except OSError as error:
            raise DataError(error.strerror or str(error), where=one_line(self.path)) from None
        whole = self._whole(content)
        if whole < len(content):
            os.truncate(self.path, whole)
            self.notes.append(_("The last line was not written whole and was taken away."))
        place = 0
        for line in content[:whole].splitlines(keepends=True):
            row = _read(line)
            if row is not None and self.fits(row):
                self.rows.append(row)
                self._begins.append(place)
            place += len(line)
        self._end = whole

    def _whole(self, content: bytes) -> int:
        """Bytes up to the end of the last line that is whole."""
        last = content.rfind(b"\n") + 1
        return len(content) if last == len(content) or _read(content[last:]) is not None else last

    def fits(self, row: Row) -> bool:
        """Whether a row is of the shape that is written here."""
        return all(name in row for name in _KEYS[self.kind])

    def append(self, row: Row) -> None:
        """Write a row, and bring it to the disk.

        Raises:
            DiskFullError: it cannot be written; the file is as before.
        """
        line = json.dumps(row, ensure_ascii=False).encode("utf-8", "replace") + b"\n"
        try:
            new = not self.path.exists()
            file = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
            try:
                begin = os.lseek(file, 0, os.SEEK_END)
                if begin and os.pread(file, 1, begin - 1) != b"\n":
                    line = b"\n" + line
                try:
                    written = os.write(file, line)
                    if written < len(line):
                        raise OSError(28, os.strerror(28))
                    os.fsync(file)
                except OSError:
                    os.ftruncate(file, begin)
                    raise
            finally:
                os.close(file)
            if new:
                _keep_name(self.path)
        except OSError as error:
            raise DiskFullError(
                _("the row cannot be written: {problem}.", problem=error.strerror or str(error)),
                where=one_line(self.path),
                hint=_("Make room, or leave with Esc: all rows before it are safe."),
            ) from None
        self.rows.append(row)
        self._begins.append(begin + line.startswith(b"\n"))
        self._end = begin + len(line)

    def undo(self) -> Row | None:
        """Take the last row back; None where there is none.

        Raises:
            UsageError: something else has changed the file meanwhile.
            DiskFullError: the file cannot be written.
        """
        if not self.rows:
            return None
        try:
            if self.path.stat().st_size != self._end or not self._ends_with(self.rows[-1]):
                raise UsageError(
                    _("another program has changed the file, so its last row is left as it is."),
                    where=one_line(self.path),
                )
            with open(self.path, "r+b") as file:
                file.truncate(self._begins[-1])
                os.fsync(file.fileno())
        except OSError as error:
            raise DiskFullError(error.strerror or str(error), where=one_line(self.path)) from None
        self._end = self._begins.pop()
        return self.rows.pop()

    def _ends_with(self, row: Row) -> bool:
        with open(self.path, "rb") as file:
            file.seek(self._begins[-1])
            return _read(file.read()) == row

    # ---- what there is and what is left -----------------------------------------------------------------

    def counts(self) -> dict[str, int]:
        """Rows of each class, or marked places of each kind, the most frequent first."""
        found: Counter[str] = Counter()
        for row in self.rows:
            if self.kind == "labelled":
                found[str(row["label"])] += 1
            elif self.kind == "tagged":
                found.update(str(tag)[2:] for tag in row["ner_tags"] if str(tag).startswith("B-"))
        return dict(found.most_common())

    def labels(self) -> list[str]:
        """The labels that were used, in the order in which they came."""
        found: dict[str, None] = {}
        for row in self.rows:
            if self.kind == "labelled":
                found[str(row["label"])] = None
            elif self.kind == "tagged":
                found.update(dict.fromkeys(str(tag)[2:] for tag in row["ner_tags"] if str(tag)[1:2] == "-"))
        return list(found)

    def skip_done(self) -> None:
        """Leave out the texts that rows of the file are about."""
        done = {_key(text_of(row)) for row in self.rows}
        self.texts = [text for text in self.texts if _key(text) not in done]


def can_mark(task: str) -> str:
    """The kind of row of a task that can be made by hand.

    Raises:
        UsageError: none can.
    """
    kind = next((kind for kind in kinds_of_rows(task) if kind in ANNOTATED), "")
    if not kind:
        raise UsageError(_("rows of task {task} cannot be written here.", task=one_line(task, 40)))
    return kind


def open_annotation(path: str | None, task: str, folder: Path | str = ".") -> Annotation:
    """Begin a file of rows made by hand, or go on with one.

    Args:
        path: A file of such rows, there or not; a file of texts without marks, next to which the rows are
            kept; None for a file of this folder.

    Raises:
        TunerError: it cannot be read, or rows of this task cannot be made by hand.
    """
    kind = can_mark(task)
    if not path:
        return _opened(Annotation(_own_name(Path(folder), kind), task, kind))
    named = Path(path).expanduser()
    if named.is_dir():
        return _opened(Annotation(_own_name(named, kind), task, kind))
    if not named.exists():
        if named.suffix.lower() not in ("", ".jsonl", ".ndjson") or not named.parent.is_dir():
            raise UsageError(_("no such file."), where=one_line(named), hint=_("A new one ends in .jsonl."))
        return _opened(Annotation(named if named.suffix else named.with_suffix(".jsonl"), task, kind))
    if _is_own(named, kind):
        return _opened(Annotation(named, task, kind))
    out = named.with_name(f"{named.stem}-{_NAMES[kind]}.jsonl")
    found = _opened(Annotation(out, task, kind, from_file=True))
    done, found.texts = read_texts(named, kind)
    if not found.rows:
        for row in done:  # what is marked there already is not to be marked again
            found.append(row)
    found.skip_done()
    return found


def _opened(annotation: Annotation) -> Annotation:
    annotation.load()
    return annotation


def _own_name(folder: Path, kind: str) -> Path:
    """The file of a folder that is begun or gone on with; one that holds something else is left alone."""
    number = 1
    while True:
        name = f"my-{_NAMES[kind]}.jsonl" if number == 1 else f"my-{_NAMES[kind]}-{number}.jsonl"
        path = folder / name
        if not path.exists() or path.stat().st_size == 0 or _is_own(path, kind):
            return path
        number += 1


def _is_own(path: Path, kind: str) -> bool:
    """Whether a file is one that is written here: lines of JSON of this shape."""
    if path.suffix.lower() not in (".jsonl", ".ndjson") or not path.is_file():
        return False
    with open(path, "rb") as file:
        first = _read(file.readline(1 << 20))
    return first is not None and set(first) == set(_KEYS[kind])


# ---- how far one is -------------------------------------------------------------------------------------


def say_progress(annotation: Annotation) -> str:
    """How many rows there are, and how many more it takes until that is enough for something."""
    need, counts = need_of(annotation.task), annotation.counts()
    count = len(annotation.rows)
    rows = _n("{count:,} row", "{count:,} rows", count, count=count)
    label = ""
    if need.unit in (OF_CLASS, OF_TAG) and counts:
        label, count = min(counts.items(), key=lambda item: item[1])
        label = one_line(label, 24)
        if len(counts) == 1 and need.unit == OF_CLASS:
            return _("{rows}, all of them {label}: it takes two classes", rows=rows, label=label)
    for target, aim in zip((need.begins, need.clear, need.good), _AIMS, strict=True):
        if count < target and label:
            said = {"rows": rows, "left": target - count, "label": label, "aim": _(aim)}
            return _("{rows}; {left:,} more of {label} until {aim}", **said)
        if count < target:
            return _("{rows}; {left:,} more until {aim}", rows=rows, left=target - count, aim=_(aim))
    return _("{rows}: a good data set", rows=rows)


# ---- files ----------------------------------------------------------------------------------------------


def _read(line: bytes) -> Row | None:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _key(text: str) -> bytes:
    """What tells texts apart, whatever stands between their words."""
    return hashlib.blake2b("".join(text.split()).encode("utf-8", "replace"), digest_size=16).digest()


def _keep_name(path: Path) -> None:
    """Bring the name of a new file to the disk, too."""
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    except OSError:
        pass  # some file systems have no such thing
    finally:
        os.close(folder)
