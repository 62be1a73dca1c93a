"""Folders as a path field needs them: what is in one, what completes a name. No Textual; threads call it."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

FOLDER, FILE, BROKEN, OTHER, MISSING = "folder", "file", "broken", "other", ""
DATA_SUFFIXES = (  # those of `data.sources.files.KINDS`, which takes long to import
    ".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".tab", ".parquet", ".pq", ".arrow", ".feather", ".txt",
    ".text", ".md", ".markdown", ".html", ".htm", ".sql", ".conll", ".conllu", ".bio", ".iob", ".zip",
)  # fmt: skip
_TELL = 0.2  # seconds between two counts


@dataclass(frozen=True)
class Entry:
    """One name in a folder, and what it is: a link is what it leads to, BROKEN if that is nothing."""

    name: str
    kind: str

    @property
    def written(self) -> str:
        """The name as a path field has it: a folder ends in a slash."""
        return self.name + "/" if self.kind == FOLDER else self.name


@dataclass(frozen=True)
class Details:
    """Size in bytes, and when it was changed (Unix seconds)."""

    size: int
    changed: float


def split_path(text: str) -> tuple[str, str]:
    """What is typed as the folder, and the name that begins after it: `~/data/` and `sh` of `~/data/sh`."""
    if text in ("~", "..") or text.endswith("/.."):
        return text + "/", ""
    folder, slash, name = text.rpartition("/")
    return folder + slash, name


def real_folder(written: str) -> str:
    """The absolute path of a folder as it was typed; of nothing, the working folder."""
    return os.path.abspath(os.path.expanduser(written or "."))


def short_path(path: str) -> str:
    """A path as short as it can be typed: from the home folder on where it lies there."""
    home = os.path.expanduser("~")
    if path == home or path.startswith(home.rstrip("/") + "/"):
        return "~" + path[len(home.rstrip("/")) :]
    return path


def kind_of(path: str) -> str:
    """What is at a path, MISSING for nothing.

    Raises:
        OSError: it cannot be looked at.
        ValueError: it can be no path.
    """
    try:
        mode = os.stat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return BROKEN if os.path.islink(path) else MISSING
    return FOLDER if stat.S_ISDIR(mode) else FILE if stat.S_ISREG(mode) else OTHER


def read_folder(folder: str, said: Callable[[int], None], cancelled: Callable[[], bool]) -> list[Entry]:
    """Everything in a folder, folders first, by name.

    Args:
        said: Called with how many were found, now and then.

    Raises:
        OSError: it cannot be read.
    """
    found: list[Entry] = []
    last = time.monotonic()
    with os.scandir(folder) as entries:
        for entry in entries:
            found.append(Entry(entry.name, _kind(entry)))
            if time.monotonic() - last > _TELL:
                last = time.monotonic()
                said(len(found))
            if cancelled():
                break
    return sorted(found, key=lambda one: (one.kind != FOLDER, one.name.casefold(), one.name))


def _kind(entry: os.DirEntry[str]) -> str:
    try:
        if entry.is_dir():
            return FOLDER
        if entry.is_file():
            return FILE
        return BROKEN if entry.is_symlink() and not os.path.exists(entry.path) else OTHER
    except OSError:  # a link that leads to itself, a folder nobody may look into
        return BROKEN if entry.is_symlink() else OTHER


def details_of(path: str) -> Details | None:
    """Size and age of what is at a path; None where that cannot be told."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return None
    return Details(found.st_size, found.st_mtime)


class Names:
    """What is in a folder, ready to be asked with every key that is typed, however much it is.

    Hidden entries fit only a name that begins with a dot.
    """

    def __init__(self, entries: Sequence[Entry]) -> None:
        self.all = list(entries)
        self.shown = [one for one in entries if not one.name.startswith(".")]
        self._folded = [one.name.casefold() for one in self.all]
        self._shown_folded = [one.name.casefold() for one in self.shown]

    def _asked(self, name: str) -> tuple[list[Entry], list[str]]:
        return (self.all, self._folded) if name.startswith(".") else (self.shown, self._shown_folded)

    def fitting(self, name: str) -> list[Entry]:
        """The entries that a typed name fits: those that begin so, else those that hold it, in any case."""
        entries, folded = self._asked(name)
        if not name:
            return entries
        wanted = name.casefold()
        begin = [one for one, text in zip(entries, folded, strict=True) if text.startswith(wanted)]
        return begin or [one for one, text in zip(entries, folded, strict=True) if wanted in text]

    def _begin(self, name: str) -> list[Entry]:
        entries, folded = self._asked(name)
        exact = [one for one in entries if one.name.startswith(name)]
        if exact:
            return exact
        wanted = name.casefold()
        return [one for one, text in zip(entries, folded, strict=True) if text.startswith(wanted)]

    def completed(self, name: str) -> str:
        """A typed name, as far as it can be completed: an entry, or what all that begin so have in common.

        Capitals are taken as typed where an entry begins exactly so, and else as the entries have them.
        """
        begin = self._begin(name)
        if len(begin) == 1:
            return begin[0].written
        common = _common_beginning([one.name for one in begin])
        return common if len(common) >= len(name) and begin else name

    def first(self, name: str) -> Entry | None:
        """The first entry that begins exactly so."""
        return next((one for one in self._asked(name)[0] if one.name.startswith(name)), None)


def _common_beginning(names: Sequence[str]) -> str:
    low, high = min(names, default=""), max(names, default="")
    for place, character in enumerate(low):
        if high[place : place + 1] != character:
            return low[:place]
    return low


def is_suited(entry: Entry, suffixes: tuple[str, ...]) -> bool:
    """Whether an entry is looked for: a folder leads on, a file has a suffix of those (and may be packed)."""
    if entry.kind == FOLDER:
        return True
    name = entry.name.lower()
    for packed in (".gz", ".zst"):
        name = name.removesuffix(packed)
    return entry.kind == FILE and (not suffixes or name.endswith(suffixes))
