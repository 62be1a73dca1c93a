"""Rows out of an SQL dump: its INSERT statements are parsed (sqlglot), and nothing is ever executed."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from typing import Any

from tui_tuner.data.records import Origin, Row
from tui_tuner.data.sources.streams import HEAD, encoding_of
from tui_tuner.errors import DataError
from tui_tuner.locales import N_, _
from tui_tuner.text import human_bytes, one_line

MAX_STATEMENT = 32 * 1024 * 1024
_INSERT = re.compile(r"\s*(?:INSERT|REPLACE)\b", re.IGNORECASE)
_CREATE = re.compile(r"\s*CREATE\s+(?:TEMPORARY\s+)?TABLE\b", re.IGNORECASE)
_TABLE = re.compile(r"INTO\s+((?:[`\"\[]?[\w$]+[`\"\]]?\.)*[`\"\[]?[\w$]+[`\"\]]?)", re.IGNORECASE)


def read_sql(
    file: io.BufferedReader, name: str, field: str | None = None, told: str | None = None
) -> Iterator[Row]:
    """Rows of the table `field`, or of the only table with INSERT statements.

    Raises:
        DataError: no INSERT, or several tables and no `field`.
    """
    import sqlglot.errors

    encoding = encoding_of(file.peek(HEAD)[:HEAD], False, told)
    text = io.TextIOWrapper(file, encoding=encoding, errors="replace")
    head = file.peek(HEAD)[:HEAD].decode(encoding, "replace")
    dialect = "mysql" if "`" in head or "ENGINE=" in head else "sqlite" if "PRAGMA" in head else "postgres"
    columns: dict[str, list[str]] = {}
    wanted = field.lower() if field else None
    row = 0
    for line, statement in statements(text, backslash=dialect == "mysql"):
        if statement is None:
            row += 1
            yield Row(
                Origin(name, row, line),
                {},
                N_("the statement is longer than {size}", size=human_bytes(MAX_STATEMENT)),
            )
            continue
        statement = _uncommented(statement)
        if _CREATE.match(statement):
            table, names = _created(statement, dialect)
            columns[table] = names
        if not _INSERT.match(statement):
            continue
        table = _table_of(statement)
        if wanted is None:
            wanted = table
        if table != wanted:
            if field is None:
                raise DataError(
                    _(
                        "rows of several tables: {tables}.",
                        tables=f"{one_line(wanted)}, {one_line(table)}",
                    ),
                    where=f"{one_line(name)}:{line}",
                    hint=_("Say which one: --set data.field={name}", name=one_line(wanted)),
                )
            continue
        try:
            found = list(_inserted(statement, dialect, columns.get(table, [])))
        except (sqlglot.errors.SqlglotError, RecursionError) as error:
            row += 1
            shown = one_line(str(error).splitlines()[0], 120)
            yield Row(
                Origin(name, row, line), {"": f"{statement[:80]}: {shown}"}, N_("SQL that cannot be parsed")
            )
            continue
        for values, problem in found:
            row += 1
            yield Row(Origin(name, row, line), values, problem)
    if not row:
        if field:
            what = _("holds no INSERT into {table!r}.", table=one_line(field))
        else:
            what = _("holds no INSERT statement.")
        raise DataError(what, where=one_line(name), hint=_("Export the table with its data."))


def statements(text: Any, backslash: bool) -> Iterator[tuple[int, str | None]]:
    """(first line, statement) for each `;`-ended statement; None for one over `MAX_STATEMENT`."""
    parts: list[str] = []
    size, begin, quote, comment = 0, 1, "", False
    special = re.compile(
        r"\\.|--[^\n]*|#[^\n]*|/\*|\*/|['\"`;]" if backslash else r"--[^\n]*|/\*|\*/|['\"`;]", re.S
    )
    for number, line in enumerate(iter(lambda: text.readline(MAX_STATEMENT), ""), 1):
        start = 0
        for match in special.finditer(line):
            token = match.group()
            if comment:
                comment = token != "*/"
            elif quote:
                quote = "" if token == quote else quote
            elif token in ("'", '"', "`"):
                quote = token
            elif token == "/*":
                comment = True
            elif token == ";":
                parts.append(line[start : match.start()])
                size += match.start() - start
                start = match.end()
                statement = "".join(parts) if size <= MAX_STATEMENT else None
                if statement is None or statement.strip():
                    yield begin, statement
                parts, size, begin = [], 0, number
        rest = line[start:]
        if not parts and not rest.strip():
            begin = number + 1
            continue
        size += len(rest)
        if size <= MAX_STATEMENT:
            parts.append(rest)
        else:
            parts = [""]
    last = "".join(parts)
    if last.strip():
        yield begin, last


def _plain(name: str) -> str:
    return name.split(".")[-1].strip('`"[]').lower()


def _table_of(statement: str) -> str:
    match = _TABLE.search(statement[:2000])
    return _plain(match.group(1)) if match else ""


def _created(statement: str, dialect: str) -> tuple[str, list[str]]:
    """Table and column names of a CREATE TABLE; no names where it cannot be parsed."""
    import sqlglot
    from sqlglot import exp

    try:
        tree = sqlglot.parse_one(statement, dialect=dialect)
        table = tree.find(exp.Table)
        return (table.name.lower() if table else ""), [column.name for column in tree.find_all(exp.ColumnDef)]
    except (sqlglot.errors.SqlglotError, RecursionError):
        return "", []


def _uncommented(statement: str) -> str:
    return re.sub(r"^(?:\s*(?:--[^\n]*\n|/\*.*?\*/))+", "", statement, flags=re.S)


def _inserted(statement: str, dialect: str, known: list[str]) -> Iterator[tuple[dict[str, Any], str]]:
    import sqlglot
    from sqlglot import exp

    tree = sqlglot.parse_one(statement, dialect=dialect)
    target = tree.this
    names = [item.name for item in target.expressions] if isinstance(target, exp.Schema) else known
    values = tree.expression
    if not isinstance(values, exp.Values):
        yield {"": statement[:120]}, N_("an INSERT without plain values")
        return
    for item in values.expressions:
        cells = item.expressions if isinstance(item, exp.Tuple) else [item]
        plain = [_value(cell) for cell in cells]
        labels = names or [f"column {place}" for place in range(1, len(plain) + 1)]
        problem = "" if len(plain) == len(labels) else N_("not as many values as columns")
        yield dict(zip(labels, plain, strict=False)), problem


def _value(cell: Any) -> Any:
    """A literal as a value; anything that would have to be computed as its text."""
    from sqlglot import exp

    if isinstance(cell, exp.Null):
        return None
    if isinstance(cell, exp.Boolean):
        return bool(cell.this)
    if isinstance(cell, exp.Neg) and isinstance(cell.this, exp.Literal):
        inner = _value(cell.this)
        return -inner if isinstance(inner, int | float) else f"-{inner}"
    if isinstance(cell, exp.Literal):
        if cell.is_string:
            return cell.this
        try:
            return int(cell.this)
        except ValueError:
            return float(cell.this)
    if isinstance(cell, exp.National | exp.RawString):
        return str(cell.this)
    return cell.sql()
