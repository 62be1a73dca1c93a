"""Folder listings and name completion for path fields. No Textual; called in threads."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

FOLDER, FILE, BROKEN, OTHER, MISSING = "folder", "file", "broken", "other", ""
DATA_SUFFIXES = (  # same as `data.sources.files.KINDS`, which is slow to import
    ".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".tab", ".parquet", ".pq", ".arrow", ".feather", ".txt",
    ".text", ".md", ".markdown", ".html", ".htm", ".sql", ".conll", ".conllu", ".bio", ".iob", ".zip",
)  # fmt: skip
_TELL = 0.2  # seconds between two counts


@dataclass(frozen=True)
class FolderEntry:
    """A name in a folder and its kind; a link has the kind of its target, or BROKEN."""

    name: str
    kind: str

    @property
    def written_name(self) -> str:
        """The name as shown in a path field: folders end in a slash."""
        return self.name + "/" if self.kind == FOLDER else self.name


@dataclass(frozen=True)
class FileDetails:
    """Size in bytes and time of change in Unix seconds."""

    size: int
    changed: float


def split_typed_path(text: str) -> tuple[str, str]:
    """Split typed text into folder and start of a name: `~/data/sh` into `~/data/` and `sh`."""
    # These are folders, although no slash follows yet; completing them as names would find nothing.
    if text in ("~", "..") or text.endswith("/.."):
        return text + "/", ""
    folder, slash, name = text.rpartition("/")
    return folder + slash, name


def find_real_folder(written: str) -> str:
    """Return the absolute path of a typed folder; of empty text, the working folder."""
    return os.path.abspath(os.path.expanduser(written or "."))


def fold_home(path: str) -> str:
    """Shorten a path with `~` if it is in the home folder."""
    home = os.path.expanduser("~")
    if path == home or path.startswith(home.rstrip("/") + "/"):
        return "~" + path[len(home.rstrip("/")) :]
    return path


def name_source(item: Any) -> str:
    """Return the short name of one of several data sets, as `data.path` lists them."""
    path = str(item.get("path", "") if isinstance(item, Mapping) else item)
    return os.path.basename(path.rstrip("/")) or path


def is_no_local_path(text: str) -> bool:
    """Return whether a text names data that are not a file here: the demo, a hub data set, a pattern."""
    from tui_tuner.data.sources.files import may_name_data

    return may_name_data(text)


def find_path_kind(path: str) -> str:
    """Return the kind of a path; MISSING if nothing exists there.

    Raises:
        OSError: the path cannot be read.
        ValueError: the text cannot be a path.
    """
    try:
        mode = os.stat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return BROKEN if os.path.islink(path) else MISSING
    return FOLDER if stat.S_ISDIR(mode) else FILE if stat.S_ISREG(mode) else OTHER


def read_folder(folder: str, said: Callable[[int], None], cancelled: Callable[[], bool]) -> list[FolderEntry]:
    """List everything in a folder, folders first, by name.

    Args:
        said: Called now and then with the number of names found.

    Raises:
        OSError: the folder cannot be read.
    """
    found: list[FolderEntry] = []
    last = time.monotonic()
    with os.scandir(folder) as entries:
        for entry in entries:
            found.append(FolderEntry(entry.name, _find_kind(entry)))
            if time.monotonic() - last > _TELL:
                last = time.monotonic()
                said(len(found))
            if cancelled():
                break
    return sorted(found, key=lambda one: (one.kind != FOLDER, one.name.casefold(), one.name))


def _find_kind(entry: os.DirEntry[str]) -> str:
    try:
        if entry.is_dir():
            return FOLDER
        if entry.is_file():
            return FILE
        return BROKEN if entry.is_symlink() and not os.path.exists(entry.path) else OTHER
    except OSError:  # a link to itself, or a folder without permission
        return BROKEN if entry.is_symlink() else OTHER


def read_path_details(path: str) -> FileDetails | None:
    """Return size and time of change of a path; None if unknown."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return None
    return FileDetails(found.st_size, found.st_mtime)


class FolderNames:
    """The names in a folder, prepared for a search with every key typed, however many they are.

    Hidden entries only match a name that starts with a dot.
    """

    def __init__(self, entries: Sequence[FolderEntry]) -> None:
        self.all = list(entries)
        self.shown = [one for one in entries if not one.name.startswith(".")]
        # Folded once here: a folder of a million names is searched at every key.
        self._folded = [one.name.casefold() for one in self.all]
        self._shown_folded = [one.name.casefold() for one in self.shown]

    def _choose_entries(self, name: str) -> tuple[list[FolderEntry], list[str]]:
        return (self.all, self._folded) if name.startswith(".") else (self.shown, self._shown_folded)

    def list_fitting(self, name: str) -> list[FolderEntry]:
        """Return entries that start with a typed name, or else contain it, ignoring case."""
        entries, folded = self._choose_entries(name)
        if not name:
            return entries
        wanted = name.casefold()
        begin = [one for one, text in zip(entries, folded, strict=True) if text.startswith(wanted)]
        return begin or [one for one, text in zip(entries, folded, strict=True) if wanted in text]

    def _list_beginning(self, name: str) -> list[FolderEntry]:
        entries, folded = self._choose_entries(name)
        exact = [one for one in entries if one.name.startswith(name)]
        if exact:
            return exact
        wanted = name.casefold()
        return [one for one, text in zip(entries, folded, strict=True) if text.startswith(wanted)]

    def complete_name(self, name: str) -> str:
        """Complete a typed name to an entry, or to the common start of all matching ones.

        Upper and lower case stay as typed if an entry matches exactly; otherwise those of the entries are
        used.
        """
        begin = self._list_beginning(name)
        if len(begin) == 1:
            return begin[0].written_name
        # Matches that differ in case may share less than what was typed, which must not get shorter.
        common = _common_beginning([one.name for one in begin])
        return common if len(common) >= len(name) and begin else name

    def find_first(self, name: str) -> FolderEntry | None:
        """Return the first entry that starts exactly with a name."""
        return next((one for one in self._choose_entries(name)[0] if one.name.startswith(name)), None)


def _common_beginning(names: Sequence[str]) -> str:
    # All names lie between the smallest and the largest, so their common start is that of these two.
    low, high = min(names, default=""), max(names, default="")
    for place, character in enumerate(low):
        if high[place : place + 1] != character:
            return low[:place]
    return low


def is_entry_suited(entry: FolderEntry, suffixes: tuple[str, ...]) -> bool:
    """Return whether to offer an entry: a folder, or a file with one of the suffixes (maybe compressed)."""
    if entry.kind == FOLDER:
        return True
    name = entry.name.lower()
    for packed in (".gz", ".zst"):
        name = name.removesuffix(packed)
    return entry.kind == FILE and (not suffixes or name.endswith(suffixes))
