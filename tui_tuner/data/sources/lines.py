"""Read line-wise and JSON files as `Row`s; broken rows carry their reason."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import orjson

from tui_tuner.config.advice import build_hint, write_setting
from tui_tuner.data.records import Origin, Row
from tui_tuner.data.sources.jsonvalues import (
    NullingReader,
    make_json_row,
    make_squad_row,
    parse_concatenated,
    parse_json,
    read_pandas_rows,
    read_squad_rows,
)
from tui_tuner.data.sources.line_tally import add_tally, check_line_tally
from tui_tuner.data.sources.streams import HEAD, detect_encoding
from tui_tuner.errors import DataError
from tui_tuner.locales import N_, _
from tui_tuner.text import format_bytes, one_line

MAX_LINE = 32 * 1024 * 1024
WHOLE_JSON = 64 * 1024 * 1024
WHOLE_PACKED_JSON = 8 * 1024 * 1024  # of a small packed file, empty lists may take a hundred times its bytes
MOST_BLANK = 250_000  # lines one after the other
# ijson copies an unfinished string with each block: small blocks make a huge string take minutes.
_JSON_BUFFER = 8 * 1024 * 1024


def make_blank_lines_error(name: str, line: int) -> DataError:
    """Make the error for a file that has blank lines without end."""
    return DataError(
        _("more than {count:,} blank lines in a row: this is not data.", count=MOST_BLANK),
        where=f"{one_line(name)}:{line}",
        hint=_("Remove the blank lines."),
    )


def read_raw_lines(file: io.BufferedReader, name: str) -> Iterator[tuple[int, int, bytes | None]]:
    """Yield (line number from 1, bytes before it, bytes without the line end).

    The bytes are None for a line longer than `MAX_LINE`, which is skipped.

    Raises:
        DataError: blank lines without end.
    """
    number = blank = end = 0
    while True:
        # One byte more than allowed, so that a line of exactly MAX_LINE is not taken for a longer one.
        line = file.readline(MAX_LINE + 1)
        if not line:
            return
        at = end
        end += len(line)
        number += 1
        blank = blank + 1 if line == b"\n" or line == b"\r\n" else 0
        if blank > MOST_BLANK:
            raise make_blank_lines_error(name, number)
        if len(line) <= MAX_LINE:
            yield number, at, line.rstrip(b"\r\n")
            continue
        while line and not line.endswith(b"\n"):
            line = file.readline(HEAD)
            end += len(line)
        yield number, at, None


def read_jsonl(file: io.BufferedReader, name: str, told: str | None = None) -> Iterator[Row]:
    """Read one JSON value from each line: an object, or a list of turns; blank lines are not rows.

    Raises:
        DataError: lines were lost.
    """
    head = file.peek(HEAD)
    encoding = detect_encoding(head[:HEAD], False, told)
    placed = isinstance(file.raw, io.FileIO)  # as it lies on the disk, and not unpacked
    if encoding.startswith(("utf-16", "utf-32")):
        file = reencode_file(file, encoding)
        encoding, placed = "utf-8-sig", False
    file, tally = add_tally(file)
    row = blank = 0
    for number, at, line in read_raw_lines(file, name):
        if number == 1 and line and line.startswith(b"\xef\xbb\xbf"):
            at, line = at + 3, line[3:]
        if line is not None and not line.strip():
            blank += 1
            continue
        row += 1
        origin = Origin(name, row, number)
        if line is None:
            yield Row(origin, {}, N_("the line is longer than {size}", size=format_bytes(MAX_LINE)))
            continue
        yield _parse_json_row(line, origin, encoding, (at, len(line)) if placed else None)
    check_line_tally(name, row + blank, tally.line_count)


def _parse_json_row(line: bytes, origin: Origin, encoding: str, place: tuple[int, int] | None = None) -> Row:
    try:
        value = orjson.loads(line)
        # `type(...) is dict` and no call: this line runs for every row of every JSONL file.
        return Row(origin, value, "", place) if type(value) is dict else make_json_row(value, origin)
    except orjson.JSONDecodeError:
        shown = {"": line[:200].decode("utf-8", "replace")}
        try:
            return make_json_row(parse_json(line), origin)
        except orjson.JSONDecodeError:
            pass
        try:
            # Only now, because most lines in another encoding are plain ASCII, which orjson has read
            # already.
            if encoding not in ("utf-8", "utf-8-sig"):
                return make_json_row(parse_json(line.decode(encoding).encode()), origin)
            # orjson reports wrong bytes and broken JSON with the same error
            line.decode("utf-8")
        except UnicodeDecodeError:
            return Row(origin, shown, N_("not UTF-8 text"))
        except orjson.JSONDecodeError:
            pass
        return Row(origin, shown, N_("broken JSON"))


def reencode_file(file: io.BufferedReader, encoding: str) -> io.BufferedReader:
    """Return a file with the same text as UTF-8."""
    text = io.TextIOWrapper(file, encoding=encoding, errors="replace", newline="")

    class Recoded(io.RawIOBase):
        _rest = b""

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: Any) -> int:
            if not self._rest:
                self._rest = text.read(HEAD).encode("utf-8", "replace")
            block, self._rest = self._rest[: len(buffer)], self._rest[len(buffer) :]
            buffer[: len(block)] = block
            return len(block)

    return io.BufferedReader(Recoded(), HEAD)


def read_json(
    file: io.BufferedReader, name: str, size: int | None, field: str | None = None, told: str | None = None
) -> Iterator[Row]:
    """Read a JSON list of objects, an object that holds one under a key, or one object after another.

    Args:
        size: Bytes of the file; None if it is packed, so that the size is unknown.

    Raises:
        DataError: broken JSON (with its line), no list in it, or several and no `field`.
    """
    head = file.peek(HEAD)[:HEAD]
    encoding = detect_encoding(head, size is not None and len(head) >= size, told)
    most = WHOLE_PACKED_JSON if size is None else WHOLE_JSON
    if size is None or size <= most:
        begin = file.read(most + 1)
        if len(begin) <= most:
            yield from _read_whole_json(begin, encoding, name, field)
            return
        # A packed file whose text is too large to hold at once: what was read goes in front of the rest.
        file = io.BufferedReader(_ChainedReader(begin, file), HEAD)  # type: ignore[type-var]
    if encoding not in ("utf-8", "utf-8-sig"):
        file = reencode_file(file, encoding)
    yield from _stream_json(file, name, field)


class _ChainedReader(io.RawIOBase):
    """The part of a file that was read already, followed by its rest."""

    def __init__(self, begin: bytes, rest: io.BufferedReader) -> None:
        self._begin, self._rest = io.BytesIO(begin), rest

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return self._begin.readinto(buffer) or self._rest.readinto(buffer)


def _read_whole_json(data: bytes, encoding: str, name: str, field: str | None) -> Iterator[Row]:
    where = one_line(name)
    try:
        text = data.removeprefix(b"\xef\xbb\xbf")
        if encoding not in ("utf-8", "utf-8-sig"):
            text = data.decode(encoding).encode()
        value = parse_json(text)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError(_("holds bytes that are not text."), where=f"{where}:{line}") from None
    except orjson.JSONDecodeError as error:
        # A .json file that holds JSON lines is common enough to be read as such.
        first, _unused, rest = text.lstrip().partition(b"\n")
        if first[:1] in (b"{", b"[") and rest.strip() and _is_json(first):
            yield from read_jsonl(io.BufferedReader(io.BytesIO(text)), name)  # type: ignore[arg-type]
            return
        values = _parse_several(text)
        if values:
            yield from (make_json_row(item, Origin(name, number)) for number, item in enumerate(values, 1))
            return
        raise DataError(
            _("broken JSON: {error}.", error=one_line(error.msg)),
            where=f"{where}:{error.lineno}",
            hint=_("Fix or remove that line."),
        ) from None
    rows = _find_list(value, where, field)
    if _is_squad(rows):
        yield from (
            make_squad_row(item, name, number) for number, item in enumerate(read_squad_rows(rows), 1)
        )
        return
    yield from (make_json_row(item, Origin(name, number)) for number, item in enumerate(rows, 1))


def _parse_several(text: bytes) -> list[Any]:
    """Parse objects that follow one another over any number of lines; empty if the text is something else."""
    try:
        found = list(parse_concatenated(text))
    except ValueError:
        return []
    return found if len(found) > 1 else []


def _is_json(text: bytes) -> bool:
    try:
        parse_json(text)
    except orjson.JSONDecodeError:
        return False
    return True


def _find_list(value: Any, where: str, field: str | None) -> list[Any]:
    """Find the list of rows in a JSON value."""
    for part in field.split(".") if field and isinstance(value, dict) else ():
        value = value.get(part) if isinstance(value, dict) else None
        if value is None:
            raise DataError(
                _("has no key {field!r}.", field=one_line(field)),
                where=where,
                hint=_("See data.field."),
                field="data.field",
            )
    if isinstance(value, list):
        return value
    if not isinstance(value, dict):
        raise DataError(_("contains no list of rows."), where=where)
    table = read_pandas_rows(value)
    if table:
        return table
    lists = {key: item for key, item in value.items() if isinstance(item, list) and item}
    # Lists of objects win over lists of plain values, which are often metadata.
    tables = {key: item for key, item in lists.items() if isinstance(item[0], dict)} or lists
    # Plain lists of one length are columns, as `Dataset.to_dict` writes them.
    if len(tables) > 1 and len({len(item) for item in tables.values()}) == 1 and tables is lists:
        return [dict(zip(tables, values, strict=True)) for values in zip(*tables.values(), strict=True)]
    if len(tables) > 1:
        names = ", ".join(one_line(key, 40) for key in tables)
        raise DataError(
            _("several keys hold rows: {names}.", names=names),
            where=where,
            hint=build_hint(
                N_("Choose one: {command}", command=write_setting({"data.field": next(iter(tables))}))
            ),
            field="data.field",
        )
    if tables:
        return next(iter(tables.values()))
    return [value]


def _is_squad(value: list[Any]) -> bool:
    """Return whether a list has SQuAD's nesting: articles of paragraphs with questions."""
    return bool(value) and isinstance(value[0], dict) and isinstance(value[0].get("paragraphs"), list)


def _stream_json(file: io.BufferedReader, name: str, field: str | None) -> Iterator[Row]:
    import ijson

    prefix = f"{field}.item" if field else ""
    number = 0
    file = io.BufferedReader(NullingReader(file), HEAD)
    where = one_line(name)
    try:
        if not prefix:
            prefix, file = _find_first_list(file)
        for item in ijson.items(file, prefix, use_float=True, multiple_values=True, buf_size=_JSON_BUFFER):
            articles = _is_squad([item])
            for flat in read_squad_rows([item]) if articles else [item]:
                number += 1
                yield (
                    make_squad_row(flat, name, number)
                    if articles
                    else make_json_row(flat, Origin(name, number))
                )
    except (ijson.JSONError, UnicodeDecodeError) as error:
        what = _("broken JSON after row {row}: {error}.", row=number, error=one_line(error, 160))
        raise DataError(what, where=where) from None
    if not number:
        raise DataError(
            _("contains no list of rows."),
            where=where,
            hint=_("Name its key in data.field."),
            field="data.field",
        )


def _find_first_list(file: io.BufferedReader) -> tuple[str, io.BufferedReader]:
    """Return ijson's prefix of the first list of objects, judging by the first bytes."""
    import ijson

    head = file.peek(HEAD)[:HEAD]
    # ijson would have to parse up to the first object to know its prefix.
    if head.lstrip()[:1] == b"[":
        return "item", file
    prefix = ""
    try:
        for path, event, _unused in ijson.parse(io.BytesIO(head)):
            if event == "start_map" and path.endswith("item"):
                prefix = path
                break
    except ijson.JSONError:
        pass
    return prefix, file


def read_text_lines(file: io.BufferedReader, name: str, told: str | None = None) -> Iterator[Row]:
    """Read each line that is not blank as a document.

    Raises:
        DataError: lines were lost.
    """
    head = file.peek(HEAD)[:HEAD]
    encoding = detect_encoding(head, False, told)
    if encoding.startswith(("utf-16", "utf-32")):
        file, encoding = reencode_file(file, encoding), "utf-8"
    file, tally = add_tally(file)
    row = blank = 0
    for number, _at, line in read_raw_lines(file, name):
        if line is not None and not line.strip():
            blank += 1
            continue
        row += 1
        origin = Origin(name, row, number)
        if line is None:
            yield Row(origin, {}, N_("the line is longer than {size}", size=format_bytes(MAX_LINE)))
            continue
        try:
            if number == 1:
                line = line.removeprefix(b"\xef\xbb\xbf")
            yield Row(origin, {"text": line.decode(encoding)})
        except UnicodeDecodeError:
            yield Row(
                origin,
                {"": line[:200].decode(encoding, "replace")},
                N_("not {encoding} text", encoding=encoding),
            )
    check_line_tally(name, row + blank, tally.line_count)
