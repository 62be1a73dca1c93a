"""Resolve `data.path`: files, folders, globs, zips, hub data sets and the demo."""

from __future__ import annotations

import difflib
import glob
import os
import re
from dataclasses import dataclass, replace
from pathlib import Path

from tui_tuner.config.paths import explain_missing_path
from tui_tuner.config.schema import DataSection, Source
from tui_tuner.data.sources.datafile import DEMO, PACKED, DataFile
from tui_tuner.data.sources.folders.class_folders import find_class_files
from tui_tuner.data.sources.paths import find_meant_path
from tui_tuner.data.sources.streams import (
    detect_compression,
    detect_encoding,
    list_zip_members,
    open_byte_stream,
)
from tui_tuner.errors import DataError, name_error_field
from tui_tuner.locales import _
from tui_tuner.text import one_line

KINDS = {
    ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "json", ".csv": "csv", ".tsv": "csv", ".tab": "csv",
    ".parquet": "parquet", ".pq": "parquet", ".arrow": "arrow", ".feather": "arrow", ".txt": "text",
    ".text": "text", ".md": "document", ".markdown": "document", ".html": "document", ".htm": "document",
    ".sql": "sql", ".conll": "conll", ".conllu": "conll", ".bio": "conll", ".iob": "conll",
}  # fmt: skip
_DOCUMENTS = {"text", "document"}
MAX_FILES = 1_000_000
LARGEST_AT_ONCE = 64 << 20  # bytes of a file that must be read completely for its first row
_AT_ONCE = ("json", "sql", "document")
_LFS = b"version https://git-lfs.github.com/spec/"
# The start of a dump without a telling name; a comment alone is not enough, other files begin with one too
_SQL = re.compile(
    rb"(?:\s|--[^\n]*\n|/\*(?!!).*?\*/)*+(?:/\*!\d{5} SET "
    rb"|INSERT\s+INTO\s+\S+\s*(?:\([^)]*\)\s*)?VALUES\b|CREATE\s+TABLE\s+[^(]{1,200}\("
    rb"|COPY\s[^;]{1,4000}FROM\s+stdin;|SET\s+(?:NAMES\s|[\w@.]+\s*(?:=|TO))[^;\n]*;|PRAGMA\s+\w+\s*=|DROP\s+TABLE\s)",
    re.I | re.S,
)
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")


@dataclass
class ResolvedSource:
    """The files of one source of `data.path`, with its share and format; `notes` list what was left out."""

    source: Source
    files: list[DataFile]
    notes: list[str]

    @property
    def is_far_off(self) -> bool:
        """Return whether the first row needs a request to a hub, or much reading."""
        first = self.files[0]
        return first.kind in ("hub", "demo") or (first.kind in _AT_ONCE and first.size > LARGEST_AT_ONCE)


def resolve_data_paths(data: DataSection) -> list[ResolvedSource]:
    """Find the files of every source of `data.path`, in a fixed order.

    Raises:
        DataError: nothing is there, or nothing that can be read.
        HubError: a hub data set that cannot be reached.
    """
    # Errors below name files; this adds the field to which a screen leads the user.
    with name_error_field("data.path"):
        return _resolve_each(data)


def _resolve_each(data: DataSection) -> list[ResolvedSource]:
    paths = data.path if isinstance(data.path, list) else [data.path]
    if not paths:
        raise DataError(_("no data set is named."), where="data.path")
    found = []
    for item in paths:
        if item == "":
            raise DataError(_("no data set is named."), where="data.path")
        source = item if isinstance(item, Source) else Source(path=item, format=data.format)
        # The format of a single source wins over that of all.
        if source.format == "auto" and data.format != "auto":
            source = source.model_copy(update={"format": data.format})
        resolved = resolve_data_source(source, data.field)
        if data.encoding is not None or data.header != "ask" or source.format != "auto":
            resolved.files = [
                replace(file, encoding=data.encoding, header=data.header, told=source.format)
                for file in resolved.files
            ]
        found.append(resolved)
    return found


def resolve_data_source(source: Source, field: str | None = None) -> ResolvedSource:
    """Find the files of one source.

    Raises:
        DataError: nothing is there, or nothing that can be read.
    """
    notes: list[str] = []
    if source.path in DEMO:
        return ResolvedSource(source, [DataFile(source.path, "demo")], notes)
    if source.path.startswith("hub:"):
        return ResolvedSource(source, [DataFile(source.path.removeprefix("hub:"), "hub", field=field)], notes)
    name = find_meant_path(source.path)
    path = Path(name).expanduser()
    # os.path and not Path: these give False for a name that the system refuses, where Path raises.
    if os.path.isdir(path):
        files = find_class_files(path, source.format, notes) or _resolve_folder(path, field, notes)
    elif os.path.exists(path):
        files = _resolve_file(path, field)
    elif glob.has_magic(name):
        matches = sorted(glob.glob(str(path), recursive=True))
        files = [
            file for match in matches if os.path.isfile(match) for file in _resolve_file(Path(match), field)
        ]
        if not files:
            raise DataError(
                _("no file matches this pattern."),
                where=one_line(source.path),
                hint=explain_missing_path(source.path),
            )
    # A path that exists comes first: owner/name may also be a local folder.
    elif _HUB_ID.fullmatch(name) and Path(name).suffix.lower() not in {
        *KINDS,
        ".zip",
        *PACKED,
    }:
        files = [DataFile(name, "hub", field=field)]
    elif os.path.islink(path):
        raise DataError(
            _("is a broken symbolic link (to {target}).", target=one_line(os.readlink(path))),
            where=one_line(source.path),
        )
    else:
        hint = f"{explain_missing_path(source.path)} {_suggest_nearby(path)}".strip()
        raise DataError(_("no such file."), where=one_line(source.path), hint=hint)
    return ResolvedSource(source, files, notes)


def may_name_data(text: str) -> bool:
    """Return whether a text that is not a file here can still name data: the demo, the hub, or a pattern."""
    if text in DEMO or text.startswith("hub:") or glob.has_magic(text):
        return True
    known = {*KINDS, ".zip", *PACKED}
    return _HUB_ID.fullmatch(text) is not None and Path(text).suffix.lower() not in known


def _suggest_nearby(path: Path) -> str:
    try:
        names = [item.name for item in os.scandir(path.parent)]
    except OSError:
        return _("Check the path, or give a hub data set such as owner/name.")
    close = difflib.get_close_matches(path.name, names, n=1)
    if not close:
        return _("Check the path in data.path.")
    return _("Did you mean {name}?", name=one_line(path.parent / close[0]))


def guess_file_reader(path: Path) -> str:
    """Return the reader for a file, by its name without `.gz` and `.zst`; empty if none is known."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    while suffixes and suffixes[-1] in PACKED:
        suffixes.pop()
    if suffixes and suffixes[-1] == ".zip":
        return "zip"
    if suffixes[-1:] == [".txt"] and KINDS.get("".join(suffixes[-2:-1])) not in (None, "document", "text"):
        # A name such as sentences.conll.txt: the inner suffix gives the kind.
        suffixes.pop()
    return KINDS.get(suffixes[-1], "") if suffixes else ""


def _resolve_file(path: Path, field: str | None) -> list[DataFile]:
    """Return a file as one data file, or several for a zip; its content decides if its name does not."""
    where = one_line(path)
    if not path.is_file():
        raise DataError(_("is not a regular file."), where=where)
    try:
        size = path.stat().st_size
        with open(path, "rb") as file:
            head = file.read(4096)
    except OSError as error:
        raise DataError(_("cannot be read: {problem}.", problem=error.strerror), where=where) from None
    if not size:
        raise DataError(_("is empty."), where=where)
    # A clone without git-lfs has these small texts in the place of the data.
    if head.startswith(_LFS):
        raise DataError(
            _("is a Git LFS pointer and not the data itself."),
            where=where,
            hint=_("Fetch the data with: git lfs pull"),
        )
    kind = guess_file_reader(path)
    # The content decides: a zip under another name is still a zip.
    if detect_compression(head) == "zip" and kind not in ("parquet", "arrow"):
        return _resolve_zip(path, field)
    if kind == "zip":
        raise DataError(_("is not a zip archive despite its extension."), where=where)
    if not kind:
        with open_byte_stream(path) as file:
            kind = _sniff_kind(file.peek(4096)[:4096])
    if not kind:
        raise DataError(
            _("is not a data file that can be read."),
            where=where,
            hint=_("Supported are {kinds}, plain or as gz, zst, zip.", kinds=", ".join(KINDS)),
        )
    return [DataFile(str(path), kind, field=field, size=size)]


def _sniff_kind(head: bytes) -> str:
    """Detect the kind of a file from its first bytes; empty for binary files."""
    if head.startswith(b"PAR1"):
        return "parquet"
    if head.startswith(b"ARROW1"):
        return "arrow"
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n")[:1]
    if start == b"{":
        return "jsonl"
    if start == b"[":
        return "json"
    # A binary file is never guessed to be text: every row would be garbage.
    return "" if _is_binary(head) else "sql" if _SQL.match(head) else "text"


def _is_binary(head: bytes) -> bool:
    """Return whether bytes are not text: they have many control characters, or NULs other than UTF-16's."""
    if b"\0" in head and not detect_encoding(head, False).startswith(("utf-16", "utf-32")):
        return True
    return sum(byte < 9 or 13 < byte < 27 for byte in head.replace(b"\0", b"")) > len(head) // 10


def _resolve_zip(path: Path, field: str | None) -> list[DataFile]:
    members = [
        # macOS adds a shadow file for each file.
        m
        for m in sorted(list_zip_members(path))
        if not Path(m).name.startswith(".") and "__MACOSX" not in m
    ]
    if field in members:
        # data.field may name a member of the zip instead of a key in it.
        members, field = [str(field)], None
    found = [DataFile(str(path), guess_file_reader(Path(m)), m, field) for m in members]
    # Parquet and Arrow need a file that can be sought in, which a member of a zip is not.
    found = [file for file in found if file.kind and file.kind not in ("zip", "parquet", "arrow")]
    found = _keep_best_kinds(found, [])
    if not found and any(member.startswith("xl/") for member in members):
        raise DataError(
            _("is an Excel workbook, which cannot be read."),
            where=one_line(path),
            hint=_("Save its sheet as CSV (UTF-8)."),
        )
    if not found:
        raise DataError(_("contains no data file that can be read."), where=one_line(path))
    return found


def _resolve_folder(path: Path, field: str | None, notes: list[str]) -> list[DataFile]:
    """Find the data files below a folder; each file once, however many links lead to it."""
    found: list[DataFile] = []
    seen: set[tuple[int, int]] = set()
    others = 0
    for folder, folders, names in os.walk(path, followlinks=True):
        status = os.stat(folder)
        # Links may lead in circles; inode numbers show a folder that was visited already.
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith((".", "__")))
        for name in sorted(names):
            file = Path(folder, name)
            if name.startswith("."):
                continue
            kind = guess_file_reader(file)
            try:
                status = os.stat(file)
            except OSError:
                notes.append(_("{file} is a broken link and was skipped.", file=one_line(file)))
                continue
            if not kind or not status.st_size or not os.path.isfile(file):
                others += 1
                continue
            if (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
            if kind == "zip":
                found += _resolve_file(file, field)
            else:
                found.append(DataFile(str(file), kind, field=field, size=status.st_size))
            if len(found) > MAX_FILES:
                raise DataError(_("holds more than {most:,} files.", most=MAX_FILES), where=one_line(path))
    if others:
        note = _(
            "{count:,} other or empty files in {folder} were skipped.",
            count=others,
            folder=one_line(path),
        )
        notes.append(note)
    found = _keep_training_part(_keep_best_kinds(found, notes), notes)
    if not found:
        raise DataError(
            _("contains no data file that can be read."),
            where=one_line(path),
            hint=_("Supported are {kinds}.", kinds=", ".join(KINDS)),
        )
    return found


def _keep_best_kinds(files: list[DataFile], notes: list[str]) -> list[DataFile]:
    """Drop documents where there are tables or JSON: a README next to them is not data."""
    rows = [file for file in files if file.kind not in _DOCUMENTS and not _is_dataset_info(file)]
    if not rows or len(rows) == len(files):
        return files
    left = [one_line(Path(file.name).name) for file in files if file not in rows]
    names = ", ".join([*left[:3], "…"] if left[3:] else left)
    note = _("{count:,} files next to the data were skipped: {names}.", count=len(left), names=names)
    notes.append(note)
    return rows


def _is_dataset_info(file: DataFile) -> bool:
    return Path(file.name).name in (
        "dataset_info.json",
        "state.json",
        "dataset_infos.json",
        "dataset_dict.json",
    )


def _keep_training_part(files: list[DataFile], notes: list[str]) -> list[DataFile]:
    """Keep only the train part of a folder that also has a test or validation part."""
    part = re.compile(r"(?:^|[/\\_.-])(train(?:ing)?)(?:[/\\_.-]|$)", re.IGNORECASE)
    other = re.compile(r"(?:^|[/\\_.-])(test|valid|validation|dev|eval)(?:[/\\_.-]|$)", re.IGNORECASE)
    # Only the file and its folder: a data set may lie anywhere below a path that contains "test".
    names = {file: os.path.join(*Path(file.name).parts[-2:]) for file in files}
    train = [file for file in files if part.search(names[file])]
    held = [file for file in files if file not in train and other.search(names[file])]
    if not train or not held:
        return files
    shown = ", ".join(one_line(Path(file.name).name) for file in held[:3])
    notes.append(
        _(
            "{count} files that look like test or validation data are not trained on: {names}.",
            count=len(held),
            names=shown,
        )
    )
    return [file for file in files if file not in held]
