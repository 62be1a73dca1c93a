"""Read the rows of an SQL dump of MySQL, PostgreSQL, SQLite, SQL Server or Oracle; nothing is executed.

Statements are read as a stream, one list of values after the other, so a dump of any size takes the memory
of one row. A parser for whole statements would need them split first, which takes the same knowledge of
quotes and comments, and would hold each of them as a tree.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from tui_tuner.config.advice import build_hint, write_setting
from tui_tuner.data.records import Origin, Row
from tui_tuner.data.sources.sqllexer import DIALECTS, Lexer
from tui_tuner.data.sources.sqlstatements import FoundRow, StatementReader
from tui_tuner.data.sources.streams import HEAD, detect_encoding
from tui_tuner.errors import DataError
from tui_tuner.locales import N_, _
from tui_tuner.text import one_line

_TRIED = 256 * 1024  # characters of a dump that are read in each dialect that it could be in
_SIGNED = 64 * 1024  # and those that are searched for signs of one
# Patterns that only one program writes; and then signs of a dialect, which may also occur in texts
_SURE = {
    "mysql": r"-- (?:MySQL|MariaDB) dump|^-- phpMyAdmin SQL Dump|^/\*!40101 SET ",
    "old postgres": r"^SET standard_conforming_strings = off",
    "postgres": r"PostgreSQL database dump|^SET standard_conforming_strings = on|^COPY [^\n;]* FROM stdin",
    "sqlite": r"^PRAGMA foreign_keys\s*=",
    "oracle": r"^REM INSERTING|^SET DEFINE OFF",
}
_SIGNS = {
    "mysql": r"/\*M?!\d|ENGINE\s*=|\bAUTO_INCREMENT\b|^(?:UN)?LOCK TABLES|^DELIMITER |`",
    "postgres": r"\bpg_catalog\b|::\w|\bE'|\bpublic\.",
    "sqlite": r"^PRAGMA |\bsqlite_sequence\b|\bAUTOINCREMENT\b|\bunistr\(|^BEGIN TRANSACTION;",
    "mssql": r"^GO\s*$|\bSET IDENTITY_INSERT\b|\[dbo\]|\bN'|^USE \[|\bnvarchar\b",
    "oracle": r"^REM |\bVARCHAR2\b|\bto_(?:date|timestamp|clob)\s*\(|^/\s*$|\bq'\[",
}
_OWN_TABLES = re.compile(r"sqlite_(?:sequence|stat\d|master|schema)")  # SQLite's bookkeeping


def read_sql(
    file: io.BufferedReader, name: str, wanted: str | None = None, told: str | None = None
) -> Iterator[Row]:
    """Read the rows of the table `wanted`, or of the only table with rows.

    Raises:
        DataError: no rows, several tables and none chosen, or lost statements.
    """
    head = file.peek(HEAD)[:HEAD]
    encoding = detect_encoding(head, len(head) < HEAD, told)
    wide = encoding.startswith(("utf-16", "utf-32"))
    errors = "replace" if wide else "surrogateescape"
    lexer = Lexer(
        io.TextIOWrapper(file, encoding=encoding, errors=errors, newline=""),
        DIALECTS[detect_sql_dialect(head.decode(encoding, "replace"))],
    )
    dump = _TableReader(name, encoding, StatementReader(lexer), wanted.lower().split(".") if wanted else [])
    yield from dump.read_table_rows()
    # The lexer counts INSERT lines in the raw text as well: a quote that is closed wrongly would swallow
    # statements without any other sign.
    if lexer.has_lost_statements or (lexer.inside and dump.statements.lost):
        raise DataError(
            _(
                "{lines:,} lines begin with INSERT, and only {read:,} of them were read as statements: "
                "a quote before one of the others is not closed, or is closed twice.",
                lines=lexer.raw,
                read=lexer.met,
            ),
            where=one_line(name),
            hint=_("Export the table again, as CSV or JSON if possible."),
        )


@dataclass
class _TableReader:
    """Picks the rows of one table. `wanted` is its name in parts, lower case; empty until it is known."""

    name: str
    encoding: str
    statements: StatementReader
    wanted: list[str]
    told: bool = False
    counts: dict[str, int] = field(default_factory=dict)

    def read_table_rows(self) -> Iterator[Row]:
        self.told = bool(self.wanted)
        number = 0
        several = False
        for found in self.statements:
            table = [part.lower() for part in found.table]
            # sqlite_sequence and the like would make a second table of every dump.
            if table and _OWN_TABLES.fullmatch(table[-1]) and not self.told:
                continue
            if table:
                key = ".".join(table)
                self.counts[key] = self.counts.get(key, 0) + 1
            if not self.wanted:
                self.wanted = table
            if table and not _is_same_table(table, self.wanted):
                several = not self.told
                continue
            # The longer name is kept, so that a.chats and b.chats are different tables.
            if len(table) > len(self.wanted) and not self.told:
                self.wanted = table
            # Rows of the first table go out until another one appears; `_check_tables` then ends the file
            # with an error, because the user must choose.
            if not several:
                number += 1
                yield self._make_row(found, number)
        self._check_tables(several, number)

    def _check_tables(self, several: bool, number: int) -> None:
        names = [key for key in self.counts if _is_same_table(key.split("."), self.wanted)]
        if several or len({key for key in names if "." in key}) > 1:
            most = sorted(self.counts, key=lambda key: -self.counts[key])
            shown = [
                _("{table} ({rows:,})", table=one_line(key, 40), rows=self.counts[key]) for key in most[:12]
            ]
            raise DataError(
                _("rows of several tables: {tables}.", tables=", ".join([*shown, *["…"] * (len(most) > 12)])),
                where=one_line(self.name),
                hint=build_hint(N_("Choose one: {command}", command=write_setting({"data.field": most[0]}))),
                field="data.field",
            )
        if number:
            return
        hint = _("Export the table with its data.")
        if self.told and self.counts:
            tables = ", ".join(one_line(key, 40) for key in list(self.counts)[:12])
            hint = _("It contains rows of {tables}.", tables=tables)
        if self.told:
            what = _("contains no INSERT into {table!r}.", table=one_line(".".join(self.wanted)))
        else:
            what = _("contains no INSERT statement.")
        raise DataError(what, where=one_line(self.name), hint=hint)

    def _make_row(self, found: FoundRow, number: int) -> Row:
        origin = Origin(self.name, number, found.line)
        problem = found.problem
        if not problem and any(
            "\udc80" <= char <= "\udcff"
            for value in found.values.values()
            if isinstance(value, str) and not value.isascii()
            for char in value
        ):
            problem = N_("bytes that are not {encoding} text", encoding=self.encoding)
        return Row(origin, found.values, problem)


def _is_same_table(one: list[str], other: list[str]) -> bool:
    """Return whether two names mean the same table: `public.chats` is `chats`."""
    common = min(len(one), len(other))
    return one[-common:] == other[-common:]


def detect_sql_dialect(head: str) -> str:
    """Detect the dialect of a dump: the one in which its first characters parse with the fewest problems.

    Among equals, the dialect with the most signs wins; then the SQL standard.
    """
    sample = head[:_TRIED]
    for name, pattern in _SURE.items():
        if re.search(pattern, sample[:4096], re.M):
            return name
    signs = {name: len(set(re.findall(pattern, sample[:_SIGNED], re.M))) for name, pattern in _SIGNS.items()}
    likely = [name for name in sorted(signs, key=lambda name: -signs[name]) if signs[name]]
    candidates = [*likely, "standard", *([] if "mysql" in likely else ["mysql"])]
    if len(sample) < len(head) or len(head) >= HEAD // 4:
        # A statement cut by the end of the sample would count as a problem in every dialect.
        sample = sample[: sample.rfind("\n") + 1]
    trouble = {name: _count_problems(sample, name) for name in candidates}
    return min(candidates, key=lambda name: (trouble[name], candidates.index(name)))


def _count_problems(sample: str, dialect: str) -> int:
    """Count the statements of a sample that cannot be read in a dialect."""
    statements = StatementReader(Lexer(io.StringIO(sample, newline=""), DIALECTS[dialect]))
    problems = sum(bool(found.problem) for found in statements)
    return problems + statements.lost + statements.lexer.inside
