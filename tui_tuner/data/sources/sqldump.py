"""Rows out of an SQL dump of MySQL, PostgreSQL, SQLite, SQL Server or Oracle; nothing is executed.

Statements are read as a stream, one list of values after the other, so a dump of any size takes the memory
of one row. A parser of whole statements would have to be given them cut apart, which takes the very same
knowledge of quotes and comments, and would hold each of them as a tree.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from tui_tuner.config.advice import advise, setting
from tui_tuner.data.records import Origin, Row
from tui_tuner.data.sources.sqllexer import DIALECTS, Lexer
from tui_tuner.data.sources.sqlstatements import Found, Statements
from tui_tuner.data.sources.streams import HEAD, encoding_of
from tui_tuner.errors import DataError
from tui_tuner.locales import N_, _
from tui_tuner.text import one_line

_TRIED = 256 * 1024  # characters of a dump that are read in each dialect that it could be in
_SIGNED = 64 * 1024  # and those that are searched for signs of one
# What only one program writes, and then what speaks for a dialect (texts may hold that as well)
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
    """Rows of the table `wanted`, or of the only table with rows.

    Raises:
        DataError: no rows, several tables and none named, or statements that were lost.
    """
    head = file.peek(HEAD)[:HEAD]
    encoding = encoding_of(head, len(head) < HEAD, told)
    wide = encoding.startswith(("utf-16", "utf-32"))
    errors = "replace" if wide else "surrogateescape"
    lexer = Lexer(
        io.TextIOWrapper(file, encoding=encoding, errors=errors, newline=""),
        DIALECTS[dialect_of(head.decode(encoding, "replace"))],
    )
    dump = _Dump(name, encoding, Statements(lexer), wanted.lower().split(".") if wanted else [])
    yield from dump.rows()
    if lexer.astray or (lexer.inside and dump.statements.lost):
        raise DataError(
            _(
                "{lines:,} lines begin with INSERT, and only {read:,} of them were read as statements: "
                "a quote before one of the others is not closed, or closed twice.",
                lines=lexer.raw,
                read=lexer.met,
            ),
            where=one_line(name),
            hint=_("Export the table again, as CSV or JSON if it can be."),
        )


@dataclass
class _Dump:
    """Picks the rows of one table. `wanted` is its name in parts, lower case; empty until it is known."""

    name: str
    encoding: str
    statements: Statements
    wanted: list[str]
    told: bool = False
    counts: dict[str, int] = field(default_factory=dict)

    def rows(self) -> Iterator[Row]:
        self.told = bool(self.wanted)
        number = 0
        several = False
        for found in self.statements:
            table = [part.lower() for part in found.table]
            if table and _OWN_TABLES.fullmatch(table[-1]) and not self.told:
                continue
            if table:
                key = ".".join(table)
                self.counts[key] = self.counts.get(key, 0) + 1
            if not self.wanted:
                self.wanted = table
            if table and not _same(table, self.wanted):
                several = not self.told
                continue
            if len(table) > len(self.wanted) and not self.told:
                self.wanted = table
            if not several:
                number += 1
                yield self._row(found, number)
        self._check(several, number)

    def _check(self, several: bool, number: int) -> None:
        names = [key for key in self.counts if _same(key.split("."), self.wanted)]
        if several or len({key for key in names if "." in key}) > 1:
            most = sorted(self.counts, key=lambda key: -self.counts[key])
            shown = [
                _("{table} ({rows:,})", table=one_line(key, 40), rows=self.counts[key]) for key in most[:12]
            ]
            raise DataError(
                _("rows of several tables: {tables}.", tables=", ".join([*shown, *["…"] * (len(most) > 12)])),
                where=one_line(self.name),
                hint=advise(N_("Say which one: {command}", command=setting({"data.field": most[0]}))),
                field="data.field",
            )
        if number:
            return
        hint = _("Export the table with its data.")
        if self.told and self.counts:
            tables = ", ".join(one_line(key, 40) for key in list(self.counts)[:12])
            hint = _("It holds rows of {tables}.", tables=tables)
        if self.told:
            what = _("holds no INSERT into {table!r}.", table=one_line(".".join(self.wanted)))
        else:
            what = _("holds no INSERT statement.")
        raise DataError(what, where=one_line(self.name), hint=hint)

    def _row(self, found: Found, number: int) -> Row:
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


def _same(one: list[str], other: list[str]) -> bool:
    """Whether two names are of one table: `public.chats` is `chats`."""
    common = min(len(one), len(other))
    return one[-common:] == other[-common:]


def dialect_of(head: str) -> str:
    """The dialect of a dump, by its first characters: the one in which they read without trouble.

    Where several do, signs that only one of them has decide; then the SQL standard.
    """
    sample = head[:_TRIED]
    for name, pattern in _SURE.items():
        if re.search(pattern, sample[:4096], re.M):
            return name
    signs = {name: len(set(re.findall(pattern, sample[:_SIGNED], re.M))) for name, pattern in _SIGNS.items()}
    likely = [name for name in sorted(signs, key=lambda name: -signs[name]) if signs[name]]
    candidates = [*likely, "standard", *([] if "mysql" in likely else ["mysql"])]
    if len(sample) < len(head) or len(head) >= HEAD // 4:
        sample = sample[: sample.rfind("\n") + 1]
    trouble = {name: _trouble(sample, name) for name in candidates}
    return min(candidates, key=lambda name: (trouble[name], candidates.index(name)))


def _trouble(sample: str, dialect: str) -> int:
    """How many statements of a sample cannot be read in a dialect."""
    statements = Statements(Lexer(io.StringIO(sample, newline=""), DIALECTS[dialect]))
    problems = sum(bool(found.problem) for found in statements)
    return problems + statements.lost + statements.lexer.inside
