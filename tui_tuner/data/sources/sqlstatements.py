"""Read the statements of an SQL dump that contain rows; the others are skipped."""

from __future__ import annotations

import itertools
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Any

from tui_tuner.data.sources.sqlcopy import read_copy_block
from tui_tuner.data.sources.sqllexer import INNER, Lexer, Token
from tui_tuner.data.sources.sqlvalues import NO_LIST, UnknownValue, ValueReader, ValuesError
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
class FoundRow:
    """A row, or the problem that there was with one. `table` is empty if its table is not known."""

    table: tuple[str, ...]
    line: int
    values: dict[str, Any]
    problem: str = ""


class StatementReader:
    """Iterates over the rows of a dump. `lost` counts statements that did not end where they should."""

    def __init__(self, lexer: Lexer) -> None:
        self.lexer = lexer
        self.lost = 0
        self._values = ValueReader(lexer)
        self._columns: dict[
            str, list[tuple[str, bool]]
        ] = {}  # last part of a table's name -> columns, computed?

    def __iter__(self) -> Iterator[FoundRow]:
        next = self.lexer.next_token
        while True:
            kind, value = token = next()
            if kind == "end":
                return
            if kind == "broken":
                self.lost += 1
                yield FoundRow((), self.lexer.current_line, {}, NO_LIST)
            elif kind == "word":
                yield from self._read_statement(value.upper())
            elif token == ("mark", "\\"):  # a command of psql
                self.lexer.read_rest_of_line()
            # What clients write between statements, such as Oracle's slash.
            elif token not in (_SEMICOLON, ("mark", "/"), ("mark", "*/")):
                yield from self._skip_statement()

    def _read_statement(self, word: str) -> Iterator[FoundRow]:
        if word in ("INSERT", "REPLACE"):
            yield from self._read_insert()
        elif word == "COPY":
            yield from self._read_copy()
        elif word == "CREATE":
            yield from self._read_create()
        elif word == "DELIMITER":
            self.lexer.delimiter = self.lexer.read_rest_of_line().strip() or ";"
        elif word in _CLIENT:
            self.lexer.read_rest_of_line()
        elif word in ("LOAD", "BULK"):
            yield FoundRow((), self.lexer.current_line, {}, ELSEWHERE)
            yield from self._skip_statement()
        # These two may begin a block, whose statements are read like any others.
        elif word not in ("BEGIN", "END"):
            yield from self._skip_statement()

    def _skip_statement(self, routine: bool = False, quiet: bool = False) -> Iterator[FoundRow]:
        """Skip the rest of a statement; an INSERT inside of it is reported as a problem.

        Args:
            routine: It is a trigger or the like, whose inner statements also end with semicolons.
            quiet: It is a definition, such as a rule, that may contain an INSERT.
        """
        depth = 0
        while True:
            kind, value = token = self.lexer.next_token()
            if kind == "end":
                return
            if kind == "broken":
                self.lost += 1
                yield FoundRow((), self.lexer.current_line, {}, NO_LIST)
                return
            if token == _SEMICOLON and depth <= 0:
                return
            if kind != "word":
                continue
            word = value.upper()
            if word == "GO" and self.lexer.is_at_line_start:
                return
            # Nesting is tracked by words, since END IF, END LOOP and END CASE close other blocks than
            # BEGIN.
            if routine:
                depth += word in ("BEGIN", "CASE")
                if word == "END":
                    depth -= 1
                    after = self.lexer.next_token()
                    if after[0] == "word" and after[1].upper() in ("IF", "LOOP", "WHILE", "REPEAT", "FOR"):
                        depth += 1
                    elif after != ("word", "CASE"):
                        self.lexer.push_back(after)
                continue
            if word in ("INSERT", "REPLACE") and not quiet:
                # The statement before has lost its semicolon; SQL Server does not require one.
                if self.lexer.is_at_line_start:
                    self.lexer.push_back(token)
                    return
                line = self.lexer.current_line
                after = self.lexer.next_token()
                # WITH … INSERT INTO, or the like: rows that only the database can compute.
                if after[0] == "word" and after[1].upper() == "INTO":
                    yield FoundRow((), line, {}, NOT_PLAIN)
                else:
                    self.lexer.push_back(after)

    def _read_create(self) -> Iterator[FoundRow]:
        """Read a CREATE statement: the columns of a table; routines and other objects are skipped."""
        # TABLE or the kind of routine comes after a few words such as OR REPLACE DEFINER = …; the limit
        # keeps a damaged CREATE from taking the whole file.
        for _unused in range(24):
            kind, value = token = self.lexer.next_token()
            word = value.upper() if kind == "word" else ""
            if word == "TABLE":
                self._read_table()
                yield from self._skip_statement()
                return
            if word in _ROUTINES:
                # Oracle ends a routine with a slash on its own line.
                if self.lexer.dialect.oracle:
                    for text in self.lexer.read_raw_lines():
                        if text is not None and text.strip() == "/":
                            break
                    return
                yield from self._skip_statement(routine=True)
                return
            if token == _SEMICOLON:
                return
            if kind in ("end", "broken") or word in ("AS", "ON", "VIEW", "INDEX"):
                self.lexer.push_back(token)
                break
        yield from self._skip_statement(quiet=True)

    def _read_table(self) -> None:
        token = self.lexer.next_token()
        while token[0] == "word" and token[1].upper() in ("IF", "NOT", "EXISTS"):
            token = self.lexer.next_token()
        name, token = self._read_name(token)
        if not name or token != _OPEN:
            self.lexer.push_back(token)
            return
        columns: list[tuple[str, bool]] = []
        while True:
            item, last = self._read_item()
            column = _parse_column(item, self.lexer.dialect.mysql or self.lexer.dialect.name == "mssql")
            if column is not None:
                columns.append(column)
            if last != _COMMA:
                break
        if last != _CLOSE:
            self.lexer.push_back(last)
        # By the last part only: INSERT may leave out the schema that CREATE has.
        self._columns[name[-1].lower()] = columns

    def _read_item(self) -> tuple[list[Token], Token]:
        """Collect the tokens of one column or constraint; also returns the token that ends it."""
        item: list[Token] = []
        depth = 0
        while True:
            token = self.lexer.next_token()
            if token[0] in ("end", "broken") or token == _SEMICOLON:
                return item, token
            if depth == 0 and token in (_COMMA, _CLOSE):
                return item, token
            depth += (token == _OPEN) - (token == _CLOSE)
            item.append(token)

    def _read_name(self, token: Token) -> tuple[tuple[str, ...], Token]:
        """Read a name of dotted parts, and the token after it; no parts if it is not a name."""
        parts: list[str] = []
        while token[0] in ("word", "name", "double"):
            parts.append(token[1])
            token = self.lexer.next_token()
            if token != ("mark", "."):
                break
            # SQL Server may leave out the schema: database..table
            while token == ("mark", "."):
                token = self.lexer.next_token()
        return tuple(parts), token

    def _read_insert(self) -> Iterator[FoundRow]:
        line = self.lexer.current_line
        token = self.lexer.next_token()
        every = False
        while token[0] == "word" and token[1].upper() in (*_BETWEEN, "ALL", "FIRST"):
            every = every or token[1].upper() == "ALL"
            token = self.lexer.next_token()
        table, token = self._read_name(token)
        while True:
            ended = yield from self._read_into(table, token, line)
            after = self.lexer.next_token() if ended else _SEMICOLON
            # Oracle's INSERT ALL has one INTO for each row.
            if every and after[0] == "word" and after[1].upper() == "INTO":
                line = self.lexer.current_line
                table, token = self._read_name(self.lexer.next_token())
                continue
            if not ended or after in (_SEMICOLON, ("mark", INNER)):
                return
            self.lexer.push_back(after)
            if after[0] == "word":
                starts = after[1].upper() in _STARTS
                if not starts:
                    yield from self._skip_statement()
                return
            if after[0] == "end":
                return
            self.lost += 1
            yield FoundRow(table, self.lexer.current_line, {}, NO_LIST)
            yield from self._skip_statement()
            return

    def _read_into(self, table: tuple[str, ...], token: Token, line: int) -> Generator[FoundRow, None, bool]:
        """Read the rows after the name of a table; returns whether the statement ended as it should."""
        columns: list[str] = []
        while True:
            kind, value = token
            word = value.upper() if kind == "word" else ""
            if token == _OPEN:
                columns, plain = self._read_name_list()
                if not plain:
                    break
            elif word in ("VALUES", "VALUE"):
                return (yield from self._read_value_lists(table, columns))
            elif word == "SET":
                return (yield from self._read_assignments(table, line))
            elif word == "OUTPUT":  # SQL Server's RETURNING
                token = self._skip_until("VALUES")
                continue
            elif word == "OVERRIDING":
                self._skip_until("VALUE")
            elif word in ("PARTITION", "WITH"):
                self._skip_until(")")
            elif word in ("SELECT", "DEFAULT", "EXEC", "EXECUTE", "TABLE") or kind in (
                "end",
                "broken",
                "mark",
            ):
                break
            token = self.lexer.next_token()
        self.lexer.push_back(token if token != _OPEN else ("word", "SELECT"))
        yield FoundRow(table, line, {"": " ".join((".".join(table), value))}, NOT_PLAIN)
        yield from self._skip_statement()
        return False

    def _skip_until(self, what: str) -> Token:
        """Skip tokens up to this one, or the end of the statement; returns the last one."""
        while True:
            token = self.lexer.next_token()
            if str(token[1]).upper() == what or token[0] in ("end", "broken") or token == _SEMICOLON:
                return token

    def _read_name_list(self) -> tuple[list[str], bool]:
        """Read names in brackets; the second value is False if it is a query."""
        names: list[str] = []
        while True:
            token = self.lexer.next_token()
            if token[0] in ("word", "name", "double"):
                if token[0] == "word" and not names and token[1].upper() in ("SELECT", "WITH"):
                    return names, False
                parts, token = self._read_name(token)
                names.append(parts[-1])
            if token == _CLOSE:
                return names, True
            if token != _COMMA:
                self.lexer.push_back(token)
                return names, token != _SEMICOLON and token[0] not in ("end", "broken")

    def _read_value_lists(
        self, table: tuple[str, ...], columns: list[str]
    ) -> Generator[FoundRow, None, bool]:
        """Read the lists of values that follow VALUES."""
        while True:
            token = self.lexer.next_token()
            line = self.lexer.current_line
            # MySQL 8 may write VALUES ROW(…), ROW(…).
            if token[0] == "word" and token[1].upper() == "ROW":
                token = self.lexer.next_token()
            if token != _OPEN:
                self.lexer.push_back(token)
                self.lost += 1
                yield FoundRow(table, line, {}, NO_LIST)
                yield from self._skip_statement()
                return False
            try:
                values = self._values.read_row()
            except ValuesError as trouble:
                yield FoundRow(table, line, {"": ".".join(table)}, trouble.reason)
                if trouble.lost:
                    self.lost += 1
                    yield from self._skip_statement()
                    return False
            else:
                yield self._make_found_row(table, columns, values, line)
            token = self.lexer.next_token()
            if token != _COMMA:
                self.lexer.push_back(token)
                return True

    def _read_assignments(self, table: tuple[str, ...], line: int) -> Generator[FoundRow, None, bool]:
        """Read MySQL's INSERT INTO … SET name = value, …, which is one row."""
        row: dict[str, Any] = {}
        problem = ""
        while True:
            parts, token = self._read_name(self.lexer.next_token())
            try:
                if not parts or token != ("mark", "="):
                    raise ValuesError(NO_LIST)
                value, token = self._values.read_expression(self.lexer.next_token())
            except (ValuesError, ValueError) as trouble:
                problem = trouble.reason if isinstance(trouble, ValuesError) else NO_LIST
                break
            if not isinstance(value, UnknownValue):
                row[parts[-1]] = value
            if token != _COMMA:
                self.lexer.push_back(token)
                break
        yield FoundRow(table, line, row, problem)
        if problem:
            yield from self._skip_statement()
        return not problem

    def _make_found_row(
        self, table: tuple[str, ...], columns: list[str], values: list[Any], line: int
    ) -> FoundRow:
        names = columns
        if not names:
            known = self._columns.get(table[-1].lower() if table else "", [])
            # Dumps leave out computed columns in some versions, and write them in others.
            stored = [name for name, computed in known if not computed]
            names = stored if len(stored) == len(values) else [name for name, _unused in known]
        names = names or [f"column {place}" for place in range(1, len(values) + 1)]
        row = {
            name: value
            for name, value in zip(names, values, strict=False)
            if not isinstance(value, UnknownValue)
        }
        return FoundRow(table, line, row, "" if len(names) == len(values) else COUNT)

    def _read_copy(self) -> Iterator[FoundRow]:
        """Read PostgreSQL's COPY … FROM stdin, with its lines."""
        line = self.lexer.current_line
        table, token = self._read_name(self.lexer.next_token())
        columns: list[str] = []
        if token == _OPEN and table:
            columns, _unused = self._read_name_list()
            token = self.lexer.next_token()
        if token[0] != "word" or token[1].upper() != "FROM":
            self.lexer.push_back(token)
            yield from self._skip_statement()
            return
        options: list[Token] = []
        while token != _SEMICOLON and token[0] not in ("end", "broken"):
            token = self.lexer.next_token()
            options.append(token)
        if not options or options[0][1].upper() != "STDIN":
            yield FoundRow(table, line, {}, ELSEWHERE)
            return
        # Without a list of columns COPY has those of the table, in their order.
        columns = columns or [name for name, _unused in self._columns.get(table[-1].lower(), [])]
        for cells, line, problem in read_copy_block(self.lexer, options):
            if problem:
                yield FoundRow(table, line, {}, problem)
            else:
                yield self._make_found_row(table, columns, cells, line)


def _parse_column(item: list[Token], keys: bool) -> tuple[str, bool] | None:
    """Return the column that a part of a CREATE TABLE declares, and whether it is computed; None for others.

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
