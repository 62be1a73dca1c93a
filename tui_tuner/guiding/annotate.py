"""Files of rows annotated by hand, which stay valid after every row, even after a crash.

A row is a line of JSON, appended in one write and synced to the disk before the next one is asked for. A
partial line, left by a kill or a full disk, is removed when the file is opened again.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from tui_tuner.errors import DataError, DiskFullError, UsageError
from tui_tuner.guiding.amounts import OF_CLASS, OF_TAG, find_example_need
from tui_tuner.guiding.example_rows import ANNOTATED, list_record_kinds
from tui_tuner.guiding.marking import Row, find_row_text, read_texts_to_mark
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
    N_("an effect begins to show"),
    N_("it is clear"),
    N_("it is a good data set"),
)


@dataclass
class Annotation:
    """A file of rows annotated by hand, and the texts that are still to be annotated.

    Args:
        kind: The kind of record that a row is: `chat`, `labelled`, `tagged` or `question`.
        rows: Rows of the file in its order; other lines are left alone.
        texts: Texts to annotate, from a file without labels; empty if texts are typed.
        notes: Changes made to the file when it was opened.
    """

    path: Path
    task: str
    kind: str
    rows: list[Row] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    from_file: bool = False

    def __post_init__(self) -> None:
        self._begins: list[int] = []  # offset of each row in the file [bytes]
        self._end = 0

    # ---- the file -------------------------------------------------------------------------------------

    def load_rows(self) -> None:
        """Read the rows of the file, and remove a partial last line from it.

        Raises:
            DataError: it cannot be read, or is too large.
        """
        if not self.path.exists():
            return
        try:
            if self.path.stat().st_size > LARGEST:
                raise DataError(
                    _("is too large to be continued by hand."),
                    where=one_line(self.path),
                    hint=_("Name another file."),
                )
            content = self.path.read_bytes()
        except OSError as error:
            raise DataError(error.strerror or str(error), where=one_line(self.path)) from None
        # Only a partial last line is removed; damaged lines in the middle may be the user's own and stay
        whole = self._find_whole_end(content)
        if whole < len(content):
            os.truncate(self.path, whole)
            self.notes.append(_("The last line was incomplete and was removed."))
        place = 0
        for line in content[:whole].splitlines(keepends=True):
            row = _parse_row(line)
            # Other rows are left in the file but not counted, so `undo_last` can never delete them
            if row is not None and self.fits_kind(row):
                self.rows.append(row)
                self._begins.append(place)
            place += len(line)
        self._end = whole

    def _find_whole_end(self, content: bytes) -> int:
        """Return the length in bytes up to the end of the last complete line."""
        last = content.rfind(b"\n") + 1
        return len(content) if last == len(content) or _parse_row(content[last:]) is not None else last

    def fits_kind(self, row: Row) -> bool:
        """Return whether a row has the keys of this kind of record."""
        return all(name in row for name in _KEYS[self.kind])

    def append_row(self, row: Row) -> None:
        """Append a row to the file and sync it to the disk.

        Raises:
            DiskFullError: it cannot be written; the file is as before.
        """
        line = json.dumps(row, ensure_ascii=False).encode("utf-8", "replace") + b"\n"
        try:
            new = not self.path.exists()
            file = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
            try:
                begin = os.lseek(file, 0, os.SEEK_END)
                # A file that was written by an editor may lack the newline at its end
                if begin and os.pread(file, 1, begin - 1) != b"\n":
                    line = b"\n" + line
                try:
                    written = os.write(file, line)
                    if written < len(line):
                        # 28 is ENOSPC: a short write to a file means that the disk is full
                        raise OSError(28, os.strerror(28))
                    os.fsync(file)
                except OSError:
                    # Take the partial line back at once, so that other readers never see it
                    os.ftruncate(file, begin)
                    raise
            finally:
                os.close(file)
            if new:
                _sync_folder(self.path)
        except OSError as error:
            raise DiskFullError(
                _("the row cannot be written: {problem}.", problem=error.strerror or str(error)),
                where=one_line(self.path),
                hint=_("Free some space, or leave with Esc: all earlier rows are saved."),
            ) from None
        self.rows.append(row)
        # A newline that completed the line before belongs to that line
        self._begins.append(begin + line.startswith(b"\n"))
        self._end = begin + len(line)

    def undo_last(self) -> Row | None:
        """Remove the last row from the file and return it; None if there is none.

        Raises:
            UsageError: another program has changed the file since.
            DiskFullError: the file cannot be written.
        """
        if not self.rows:
            return None
        try:
            # Truncating would delete lines that another program has added since
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
            return _parse_row(file.read()) == row

    # ---- what there is and what is left -----------------------------------------------------------------

    def count_marks(self) -> dict[str, int]:
        """Count rows of each class, or marks of each kind, the most frequent first."""
        found: Counter[str] = Counter()
        for row in self.rows:
            if self.kind == "labelled":
                found[str(row["label"])] += 1
            elif self.kind == "tagged":
                found.update(str(tag)[2:] for tag in row["ner_tags"] if str(tag).startswith("B-"))
        return dict(found.most_common())

    def list_labels(self) -> list[str]:
        """Return the labels used so far, in the order of their first use."""
        found: dict[str, None] = {}
        for row in self.rows:
            if self.kind == "labelled":
                found[str(row["label"])] = None
            elif self.kind == "tagged":
                found.update(dict.fromkeys(str(tag)[2:] for tag in row["ner_tags"] if str(tag)[1:2] == "-"))
        return list(found)

    def drop_done_texts(self) -> None:
        """Drop the texts that the file already has a row for."""
        # By hash, as a file of texts may be much larger than what has been annotated
        done = {_hash_words(find_row_text(row)) for row in self.rows}
        self.texts = [text for text in self.texts if _hash_words(text) not in done]


def find_markable_kind(task: str) -> str:
    """Return the kind of record that can be annotated by hand for a task.

    Raises:
        UsageError: none can.
    """
    kind = next((kind for kind in list_record_kinds(task) if kind in ANNOTATED), "")
    if not kind:
        raise UsageError(_("rows of task {task} cannot be written here.", task=one_line(task, 40)))
    return kind


def open_annotation(path: str | None, task: str, folder: Path | str = ".") -> Annotation:
    """Open a file of hand-made rows, new or to be continued.

    Args:
        path: A file of such rows, existing or not; a file of texts without labels, next to which the rows are
            written; None for a file in `folder`.

    Raises:
        TunerError: it cannot be read, or rows of this task cannot be annotated by hand.
    """
    kind = find_markable_kind(task)
    if not path:
        return _load_annotation(Annotation(_choose_own_path(Path(folder), kind), task, kind))
    named = Path(path).expanduser()
    if named.is_dir():
        return _load_annotation(Annotation(_choose_own_path(named, kind), task, kind))
    if not named.exists():
        # A new file is only created under a name that says what is in it; anything else is probably a typing
        # error
        if named.suffix.lower() not in ("", ".jsonl", ".ndjson") or not named.parent.is_dir():
            raise UsageError(
                _("no such file."), where=one_line(named), hint=_("The name of a new file ends in .jsonl.")
            )
        return _load_annotation(
            Annotation(named if named.suffix else named.with_suffix(".jsonl"), task, kind)
        )
    if _is_own(named, kind):
        return _load_annotation(Annotation(named, task, kind))
    out = named.with_name(f"{named.stem}-{_NAMES[kind]}.jsonl")
    found = _load_annotation(Annotation(out, task, kind, from_file=True))
    done, found.texts = read_texts_to_mark(named, kind)
    if not found.rows:
        # These are already labelled in the source file
        for row in done:
            found.append_row(row)
    found.drop_done_texts()
    return found


def _load_annotation(annotation: Annotation) -> Annotation:
    annotation.load_rows()
    return annotation


def _choose_own_path(folder: Path, kind: str) -> Path:
    """Return the file in a folder to create or continue; files with other content are skipped."""
    number = 1
    while True:
        name = f"my-{_NAMES[kind]}.jsonl" if number == 1 else f"my-{_NAMES[kind]}-{number}.jsonl"
        path = folder / name
        # An empty file may have been reserved by the user with this name
        if not path.exists() or path.stat().st_size == 0 or _is_own(path, kind):
            return path
        number += 1


def _is_own(path: Path, kind: str) -> bool:
    """Return whether a file was written by this module: JSON lines with exactly these keys."""
    if path.suffix.lower() not in (".jsonl", ".ndjson") or not path.is_file():
        return False
    with open(path, "rb") as file:
        first = _parse_row(file.readline(1 << 20))
    # Exactly these keys: a file with more columns is somebody's data set, which must not be appended to
    return first is not None and set(first) == set(_KEYS[kind])


# ---- progress -------------------------------------------------------------------------------------------


def describe_annotation_progress(annotation: Annotation) -> str:
    """State how many rows there are, and how many more are needed for the next goal."""
    need, counts = find_example_need(annotation.task), annotation.count_marks()
    count = len(annotation.rows)
    rows = _n("{count:,} row", "{count:,} rows", count, count=count)
    label = ""
    if need.unit in (OF_CLASS, OF_TAG) and counts:
        # Rules count per class, so the rarest class decides how far the file is
        label, count = min(counts.items(), key=lambda item: item[1])
        label = one_line(label, 24)
        if len(counts) == 1 and need.unit == OF_CLASS:
            return _("{rows}, all of them {label}: at least two classes are needed", rows=rows, label=label)
    for target, aim in zip((need.begins, need.clear, need.good), _AIMS, strict=True):
        if count < target and label:
            said = {"rows": rows, "left": target - count, "label": label, "aim": _(aim)}
            return _("{rows}; {left:,} more of {label} until {aim}", **said)
        if count < target:
            return _("{rows}; {left:,} more until {aim}", rows=rows, left=target - count, aim=_(aim))
    return _("{rows}: a good data set", rows=rows)


# ---- files ----------------------------------------------------------------------------------------------


def _parse_row(line: bytes) -> Row | None:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _hash_words(text: str) -> bytes:
    """Hash a text without its whitespace, so that copies with other spacing count as the same."""
    return hashlib.blake2b("".join(text.split()).encode("utf-8", "replace"), digest_size=16).digest()


def _sync_folder(path: Path) -> None:
    """Sync the folder, without which a new file's name may be lost in a crash."""
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    except OSError:
        # Some file systems cannot sync a folder
        pass
    finally:
        os.close(folder)
