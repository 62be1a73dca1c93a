"""Statements of an SQL dump: which of them hold rows, and the rows; the others are passed over."""

from __future__ import annotations

import itertools
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Any

from tui_tuner.data.sources.sqlcopy import copied
from tui_tuner.data.sources.sqllexer import INNER, Lexer, Token
from tui_tuner.data.sources.sqlvalues import NO_LIST, Trouble, Unknown, Values
from tui_tuner.locales import N_

NOT_PLAIN = N_("an INSERT without plain values")
ELSEWHERE = N_("a statement that loads rows from another file")
COUNT = N_("not as many values as columns")
_SEMICOLON: Token = ("mark", ";")
_COMMA: Token = ("mark", ",")
_OPEN: Token = ("mark", "(")
_CLOSE: Token = ("mark", ")")
_BETWEEN = {  # words between INSERT and the name of its table
    "LOW_PRIORITY", "DELAYED", "HIGH_PRIORITY", "IGNORE", "OR", "REPLACE", "ABORT", "FAIL", "ROLLBACK",
    "INTO", "OVERWRITE", "TABLE",
}  # fmt: skip
_ROUTINES = {"TRIGGER", "PROCEDURE", "FUNCTION", "EVENT", "PACKAGE", "PROC"}
_CLIENT = {"REM", "REMARK", "PROMPT", "GO", "SPOOL", "WHENEVER"}  # commands of a client: a line each
_STARTS = {
    "INSERT", "REPLACE", "GO", "SET", "PRINT", "UPDATE", "DELETE", "CREATE", "ALTER", "DROP", "COMMIT", "USE",
    "BEGIN", "END", "EXEC", "IF", "DECLARE", "TRUNCATE", "MERGE",
}  # fmt: skip


@dataclass
class Found:
    """A row, or the problem of what would have been one. An empty `table`: nobody knows whose it is."""

    table: tuple[str, ...]
    line: int
    values: dict[str, Any]
    problem: str = ""


class Statements:
    """Iterates over the rows of a dump. `lost` counts statements whose end was not where it should be."""

    def __init__(self, lexer: Lexer) -> None:
        self.lexer = lexer
        self.lost = 0
        self._values = Values(lexer)
        self._columns: dict[
            str, list[tuple[str, bool]]
        ] = {}  # last part of a table's name -> columns, computed?

    def __iter__(self) -> Iterator[Found]:
        next = self.lexer.next
        while True:
            kind, value = token = next()
            if kind == "end":
                return
            if kind == "broken":
                self.lost += 1
                yield Found((), self.lexer.line, {}, NO_LIST)
            elif kind == "word":
                yield from self._statement(value.upper())
            elif token == ("mark", "\\"):  # a command of psql
                self.lexer.rest_of_line()
            elif token not in (_SEMICOLON, ("mark", "/"), ("mark", "*/")):
                yield from self._skip()

    def _statement(self, word: str) -> Iterator[Found]:
        if word in ("INSERT", "REPLACE"):
            yield from self._insert()
        elif word == "COPY":
            yield from self._copy()
        elif word == "CREATE":
            yield from self._create()
        elif word == "DELIMITER":
            self.lexer.delimiter = self.lexer.rest_of_line().strip() or ";"
        elif word in _CLIENT:
            self.lexer.rest_of_line()
        elif word in ("LOAD", "BULK"):
            yield Found((), self.lexer.line, {}, ELSEWHERE)
            yield from self._skip()
        elif word not in ("BEGIN", "END"):
            yield from self._skip()

    def _skip(self, routine: bool = False, quiet: bool = False) -> Iterator[Found]:
        """Pass over the rest of a statement; an INSERT inside of it is named as a problem.

        Args:
            routine: It is a trigger or the like, whose statements end with semicolons of their own.
            quiet: It is a definition, such as a rule, in which an INSERT may stand.
        """
        depth = 0
        while True:
            kind, value = token = self.lexer.next()
            if kind == "end":
                return
            if kind == "broken":
                self.lost += 1
                yield Found((), self.lexer.line, {}, NO_LIST)
                return
            if token == _SEMICOLON and depth <= 0:
                return
            if kind != "word":
                continue
            word = value.upper()
            if word == "GO" and self.lexer.begins_line:
                return
            if routine:
                depth += word in ("BEGIN", "CASE")
                if word == "END":
                    depth -= 1
                    after = self.lexer.next()
                    if after[0] == "word" and after[1].upper() in ("IF", "LOOP", "WHILE", "REPEAT", "FOR"):
                        depth += 1
                    elif after != ("word", "CASE"):
                        self.lexer.push(after)
                continue
            if word in ("INSERT", "REPLACE") and not quiet:
                if self.lexer.begins_line:
                    self.lexer.push(token)
                    return
                line = self.lexer.line
                after = self.lexer.next()
                if after[0] == "word" and after[1].upper() == "INTO":
                    yield Found((), line, {}, NOT_PLAIN)
                else:
                    self.lexer.push(after)

    def _create(self) -> Iterator[Found]:
        """A CREATE TABLE names columns; routines hold statements of their own, which are none of the dump."""
        for _unused in range(24):
            kind, value = token = self.lexer.next()
            word = value.upper() if kind == "word" else ""
            if word == "TABLE":
                self._table()
                yield from self._skip()
                return
            if word in _ROUTINES:
                if self.lexer.dialect.oracle:
                    for text in self.lexer.raw_lines():
                        if text is not None and text.strip() == "/":
                            break
                    return
                yield from self._skip(routine=True)
                return
            if token == _SEMICOLON:
                return
            if kind in ("end", "broken") or word in ("AS", "ON", "VIEW", "INDEX"):
                self.lexer.push(token)
                break
        yield from self._skip(quiet=True)

    def _table(self) -> None:
        token = self.lexer.next()
        while token[0] == "word" and token[1].upper() in ("IF", "NOT", "EXISTS"):
            token = self.lexer.next()
        name, token = self._name(token)
        if not name or token != _OPEN:
            self.lexer.push(token)
            return
        columns: list[tuple[str, bool]] = []
        while True:
            item, last = self._item()
            column = _column(item, self.lexer.dialect.mysql or self.lexer.dialect.name == "mssql")
            if column is not None:
                columns.append(column)
            if last != _COMMA:
                break
        if last != _CLOSE:
            self.lexer.push(last)
        self._columns[name[-1].lower()] = columns

    def _item(self) -> tuple[list[Token], Token]:
        """The tokens of one column or constraint, and what ends it."""
        item: list[Token] = []
        depth = 0
        while True:
            token = self.lexer.next()
            if token[0] in ("end", "broken") or token == _SEMICOLON:
                return item, token
            if depth == 0 and token in (_COMMA, _CLOSE):
                return item, token
            depth += (token == _OPEN) - (token == _CLOSE)
            item.append(token)

    def _name(self, token: Token) -> tuple[tuple[str, ...], Token]:
        """A name of dotted parts, and the token after it; no parts if it is none."""
        parts: list[str] = []
        while token[0] in ("word", "name", "double"):
            parts.append(token[1])
            token = self.lexer.next()
            if token != ("mark", "."):
                break
            while token == ("mark", "."):
                token = self.lexer.next()
        return tuple(parts), token

    def _insert(self) -> Iterator[Found]:
        line = self.lexer.line
        token = self.lexer.next()
        every = False
        while token[0] == "word" and token[1].upper() in (*_BETWEEN, "ALL", "FIRST"):
            every = every or token[1].upper() == "ALL"
            token = self.lexer.next()
        table, token = self._name(token)
        while True:
            ended = yield from self._into(table, token, line)
            after = self.lexer.next() if ended else _SEMICOLON
            if every and after[0] == "word" and after[1].upper() == "INTO":
                line = self.lexer.line
                table, token = self._name(self.lexer.next())
                continue
            if not ended or after in (_SEMICOLON, ("mark", INNER)):
                return
            self.lexer.push(after)
            if after[0] == "word":
                starts = after[1].upper() in _STARTS
                if not starts:
                    yield from self._skip()
                return
            if after[0] == "end":
                return
            self.lost += 1
            yield Found(table, self.lexer.line, {}, NO_LIST)
            yield from self._skip()
            return

    def _into(self, table: tuple[str, ...], token: Token, line: int) -> Generator[Found, None, bool]:
        """Rows of what follows the name of a table; returns whether it ended as it should."""
        columns: list[str] = []
        while True:
            kind, value = token
            word = value.upper() if kind == "word" else ""
            if token == _OPEN:
                columns, plain = self._listed()
                if not plain:
                    break
            elif word in ("VALUES", "VALUE"):
                return (yield from self._lists(table, columns))
            elif word == "SET":
                return (yield from self._assigned(table, line))
            elif word == "OUTPUT":  # SQL Server's RETURNING
                token = self._until("VALUES")
                continue
            elif word == "OVERRIDING":
                self._until("VALUE")
            elif word in ("PARTITION", "WITH"):
                self._until(")")
            elif word in ("SELECT", "DEFAULT", "EXEC", "EXECUTE", "TABLE") or kind in (
                "end",
                "broken",
                "mark",
            ):
                break
            token = self.lexer.next()
        self.lexer.push(token if token != _OPEN else ("word", "SELECT"))
        yield Found(table, line, {"": " ".join((".".join(table), value))}, NOT_PLAIN)
        yield from self._skip()
        return False

    def _until(self, what: str) -> Token:
        """Pass over tokens up to this one, or the end of the statement; the one that was met."""
        while True:
            token = self.lexer.next()
            if str(token[1]).upper() == what or token[0] in ("end", "broken") or token == _SEMICOLON:
                return token

    def _listed(self) -> tuple[list[str], bool]:
        """The names in brackets; False if it is a query."""
        names: list[str] = []
        while True:
            token = self.lexer.next()
            if token[0] in ("word", "name", "double"):
                if token[0] == "word" and not names and token[1].upper() in ("SELECT", "WITH"):
                    return names, False
                parts, token = self._name(token)
                names.append(parts[-1])
            if token == _CLOSE:
                return names, True
            if token != _COMMA:
                self.lexer.push(token)
                return names, token != _SEMICOLON and token[0] not in ("end", "broken")

    def _lists(self, table: tuple[str, ...], columns: list[str]) -> Generator[Found, None, bool]:
        """Lists of values, one after the other."""
        while True:
            token = self.lexer.next()
            line = self.lexer.line
            if token[0] == "word" and token[1].upper() == "ROW":
                token = self.lexer.next()
            if token != _OPEN:
                self.lexer.push(token)
                self.lost += 1
                yield Found(table, line, {}, NO_LIST)
                yield from self._skip()
                return False
            try:
                values = self._values.row()
            except Trouble as trouble:
                yield Found(table, line, {"": ".".join(table)}, trouble.reason)
                if trouble.lost:
                    self.lost += 1
                    yield from self._skip()
                    return False
            else:
                yield self._found(table, columns, values, line)
            token = self.lexer.next()
            if token != _COMMA:
                self.lexer.push(token)
                return True

    def _assigned(self, table: tuple[str, ...], line: int) -> Generator[Found, None, bool]:
        """MySQL's INSERT INTO … SET name = value, …: one row."""
        row: dict[str, Any] = {}
        problem = ""
        while True:
            parts, token = self._name(self.lexer.next())
            try:
                if not parts or token != ("mark", "="):
                    raise Trouble(NO_LIST)
                value, token = self._values.expression(self.lexer.next())
            except (Trouble, ValueError) as trouble:
                problem = trouble.reason if isinstance(trouble, Trouble) else NO_LIST
                break
            if not isinstance(value, Unknown):
                row[parts[-1]] = value
            if token != _COMMA:
                self.lexer.push(token)
                break
        yield Found(table, line, row, problem)
        if problem:
            yield from self._skip()
        return not problem

    def _found(self, table: tuple[str, ...], columns: list[str], values: list[Any], line: int) -> Found:
        names = columns
        if not names:
            known = self._columns.get(table[-1].lower() if table else "", [])
            stored = [name for name, computed in known if not computed]
            names = stored if len(stored) == len(values) else [name for name, _unused in known]
        names = names or [f"column {place}" for place in range(1, len(values) + 1)]
        row = {
            name: value for name, value in zip(names, values, strict=False) if not isinstance(value, Unknown)
        }
        return Found(table, line, row, "" if len(names) == len(values) else COUNT)

    def _copy(self) -> Iterator[Found]:
        """PostgreSQL's COPY … FROM stdin, with its lines."""
        line = self.lexer.line
        table, token = self._name(self.lexer.next())
        columns: list[str] = []
        if token == _OPEN and table:
            columns, _unused = self._listed()
            token = self.lexer.next()
        if token[0] != "word" or token[1].upper() != "FROM":
            self.lexer.push(token)
            yield from self._skip()
            return
        options: list[Token] = []
        while token != _SEMICOLON and token[0] not in ("end", "broken"):
            token = self.lexer.next()
            options.append(token)
        if not options or options[0][1].upper() != "STDIN":
            yield Found(table, line, {}, ELSEWHERE)
            return
        columns = columns or [name for name, _unused in self._columns.get(table[-1].lower(), [])]
        for cells, line, problem in copied(self.lexer, options):
            if problem:
                yield Found(table, line, {}, problem)
            else:
                yield self._found(table, columns, cells, line)


def _column(item: list[Token], keys: bool) -> tuple[str, bool] | None:
    """The column that a part of a CREATE TABLE declares, and whether it is computed; None for a constraint.

    Args:
        keys: `KEY` and `INDEX` begin a constraint, as they do in MySQL; elsewhere they are names.
    """
    if not item or item[0][0] not in ("word", "name", "double"):
        return None
    kind, name = item[0]
    second = item[1][1].upper() if len(item) > 1 and item[1][0] in ("word", "mark") else ""
    if kind == "word":
        word = name.upper()
        if word in ("CONSTRAINT", "LIKE") or (keys and word in ("KEY", "INDEX", "FULLTEXT", "SPATIAL")):
            return None
        if second == {"PRIMARY": "KEY", "FOREIGN": "KEY", "CHECK": "(", "PERIOD": "FOR"}.get(word, "-"):
            return None
        if (word == "UNIQUE" and second in ("", "(", "KEY", "INDEX", "NULLS")) or (
            word == "EXCLUDE" and second in ("USING", "(")
        ):
            return None
    computed = any(
        one[0] == "word" and one[1].upper() == "AS" and after == _OPEN
        for one, after in itertools.pairwise(item)
    )
    return name, computed
