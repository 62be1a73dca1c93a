"""Read the values of INSERT statements: literals, casts, and the functions that dumps are written with.

Any other value would need a database to compute it, and becomes the row's problem; it is never guessed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tui_tuner.data.sources.sqllexer import MAX_TEXT, Lexer, Token
from tui_tuner.data.sources.sqltext import decode_sql_bytes, decode_unistr, parse_sql_hex, parse_sql_number
from tui_tuner.locales import N_


class UnknownValue:
    """A value that only the database knows, such as NOW() or DEFAULT; the row is kept without it."""


UNKNOWN = UnknownValue()
COMPUTED = N_("an SQL value that a database must compute")
NOT_CLOSED = N_("an SQL text that is not closed")
TOO_LONG = N_("an SQL text that is too long")
NO_LIST = N_("SQL that cannot be parsed")

_MOMENT = {
    "NOW", "CURRENT_TIMESTAMP", "CURRENT_DATE", "CURRENT_TIME", "LOCALTIME", "LOCALTIMESTAMP", "SYSDATE",
    "SYSTIMESTAMP", "SYSDATETIME", "GETDATE", "GETUTCDATE", "UTC_TIMESTAMP", "UNIX_TIMESTAMP", "CURDATE",
    "CURTIME", "UUID", "NEWID", "SYS_GUID", "GEN_RANDOM_UUID", "UUID_GENERATE_V4", "NEXTVAL", "CURRVAL",
    "LASTVAL", "LAST_INSERT_ID", "LAST_INSERT_ROWID", "SCOPE_IDENTITY", "RAND", "RANDOM", "CURRENT_USER",
    "SESSION_USER", "USER", "DEFAULT",
}  # fmt: skip
# Functions whose first argument, if it is a text, is as good as their result.
_FIRST = {
    "TO_DATE", "TO_TIMESTAMP", "TO_TIMESTAMP_TZ", "TO_CLOB", "TO_NCLOB", "TO_NUMBER", "STR_TO_DATE", "DATE",
    "TIMESTAMP", "DATETIME", "JSON", "JSONB", "JSON_COMPACT", "PARSE_JSON",
}  # fmt: skip
_TYPED = {
    "DATE",
    "TIME",
    "TIMESTAMP",
    "TIMESTAMPTZ",
    "DATETIME",
    "INTERVAL",
    "UUID",
    "JSON",
    "JSONB",
    "BINARY",
}
_CONSTANTS = {"NULL": None, "TRUE": True, "FALSE": False}
_MOST_BITS = 64  # of MySQL's BIT
_CLOSING = {")": "(", "]": "[", "}": "{"}


class ValuesError(Exception):
    """The reason why a list of values gives no row. `lost`: the lexer may be anywhere in the statement."""

    def __init__(self, reason: str, lost: bool = False) -> None:
        self.reason, self.lost = reason, lost
        super().__init__(reason)


class ValueReader:
    """Reads lists of values from a lexer."""

    def __init__(self, lexer: Lexer) -> None:
        self._lexer = lexer
        self._depth = 0

    def read_row(self) -> list[Any]:
        """Read the values of a list, after its opening bracket.

        Raises:
            Trouble: the list is not a row; the lexer is after its closing bracket, unless `lost`.
        """
        next = self._lexer.next_token
        values: list[Any] = []
        self._depth = 1
        try:
            while True:
                token = next()
                if not values and token == ("mark", ")"):
                    return values
                value, after = self._read_simple_value(token)
                values.append(value)
                if after == ("mark", ")"):
                    return values
                if after != ("mark", ","):
                    self._refuse_token(after)
        except ValuesError as trouble:
            if not trouble.lost:
                self._skip_rest()
            raise
        except (ValueError, OverflowError):
            self._skip_rest()
            raise ValuesError(COMPUTED) from None

    def _read_simple_value(self, token: Token) -> tuple[Any, Token]:
        """Read a value and the token after it; nearly all are a single text, number or NULL."""
        kind, raw = token
        after = self._lexer.next_token()
        if after[0] == "mark" and after[1] in (",", ")"):
            # The common case first: nearly all values of a dump need none of the grammar below.
            if kind in ("text", "double"):
                return raw, after
            if kind == "number":
                return _parse_number(raw), after
            if kind == "word" and raw.upper() in _CONSTANTS:
                return _CONSTANTS[raw.upper()], after
        self._lexer.push_back(after)
        return self.read_expression(token)

    def read_expression(self, token: Token) -> tuple[Any, Token]:
        """Read the expression that begins with this token; returns its value and the token after it.

        Raises:
            Trouble: a database must compute it.
        """
        value, after = self._read_term(token)
        while True:
            if after == ("mark", "::") or (after[0] == "word" and after[1].upper() in ("COLLATE", "AT")):
                after = self._skip_type()
            # Dumps split long texts into pieces joined like this.
            elif after in (("mark", "||"), ("mark", "+")):
                other, following = self._read_term(self._lexer.next_token())
                # SQL Server joins texts with +; between numbers it is a sum.
                if after[1] == "+" and not (isinstance(value, str) and isinstance(other, str)):
                    raise ValuesError(COMPUTED)
                value, after = _join_values(value, other), following
            else:
                return value, after

    def _skip_type(self) -> Token:
        """Skip the type of a cast, or a collation; returns the token after it."""
        depth = 0
        while True:
            token = self._lexer.next_token()
            if token[0] in ("end", "broken", "text") and not (token[0] == "text" and depth == 0):
                self._refuse_token(token)
            if token[0] == "mark":
                if token[1] in "([":
                    depth += 1
                elif token[1] in ")]" and depth:
                    depth -= 1
                elif depth == 0 and token[1] in (",", ")", "::", "||", "+", ";"):
                    return token

    def _read_term(self, token: Token) -> tuple[Any, Token]:
        kind, raw = token
        if kind in ("text", "double"):
            return self._join_adjacent(raw)
        if kind == "number":
            return _parse_number(raw), self._lexer.next_token()
        if kind == "word":
            return self._read_word(raw)
        if token in (("mark", "-"), ("mark", "+")):
            value, after = self._read_term(self._lexer.next_token())
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise ValuesError(COMPUTED)
            return (-value if raw == "-" else value), after
        if token == ("mark", "("):
            value, close = self._read_inside()
            if close != ("mark", ")"):
                self._refuse_token(close)
            self._depth -= 1
            return value, self._lexer.next_token()
        if token == ("mark", "\\"):  # \N, MySQL's NULL
            after = self._lexer.next_token()
            if after == ("word", "N"):
                return None, self._lexer.next_token()
            self._refuse_token(after)
        self._refuse_token(token)
        # For the type checker: `_refuse_token` never returns.
        raise AssertionError

    def _read_inside(self) -> tuple[Any, Token]:
        self._depth += 1
        return self.read_expression(self._lexer.next_token())

    def _join_adjacent(self, text: str) -> tuple[str, Token]:
        """Join quoted texts that follow one another, which SQL treats as one text."""
        after = self._lexer.next_token()
        while after[0] == "text":
            text += after[1]
            after = self._lexer.next_token()
        return text, after

    def _read_word(self, word: str) -> tuple[Any, Token]:
        name = word.upper()
        after = self._lexer.next_token()
        if after[0] == "text" or (after[0] == "number" and name == "_BINARY"):
            return self._read_prefixed(name, after)
        if after == ("mark", "(") and name not in _CONSTANTS:
            return self._read_function(name)
        if after == ("mark", "[") and name == "ARRAY":
            return self._read_arguments("]"), self._lexer.next_token()
        # The lexer splits U&'…' into three tokens.
        if name == "U" and after == ("mark", "&"):
            text = self._lexer.next_token()
            if text[0] == "text":
                value, after = self._join_adjacent(text[1])
                return decode_unistr(value), after
        if name in _CONSTANTS:
            return _CONSTANTS[name], after
        if name in _MOMENT:
            return UNKNOWN, after
        if after == ("mark", "."):  # sequence.nextval
            last = self._lexer.next_token()
            if last[0] == "word" and last[1].upper() in ("NEXTVAL", "CURRVAL"):
                return UNKNOWN, self._lexer.next_token()
            after = last
        self._refuse_token(after)
        raise AssertionError

    def _read_prefixed(self, name: str, text: Token) -> tuple[Any, Token]:
        """Read N'…', X'…', B'…', _utf8mb4'…' or DATE '…'."""
        if name == "_BINARY" and text[0] == "number":
            return _parse_number(text[1]), self._lexer.next_token()
        value, after = self._join_adjacent(text[1])
        if name == "X":
            return _replace_none(decode_sql_bytes(parse_sql_hex(value))), after
        if name == "B":
            # MySQL's BIT columns are numbers; elsewhere a bit string is a text.
            whole = self._lexer.dialect.mysql and len(value) <= _MOST_BITS
            return (int(value or "0", 2) if whole else value), after
        if name in ("_BINARY", "BINARY"):
            return _replace_none(decode_sql_bytes(value.encode("utf-8", "surrogateescape"))), after
        if name == "N" or name in _TYPED or name.startswith("_"):
            return value, after
        self._refuse_token(after)
        raise AssertionError

    def _read_function(self, name: str) -> tuple[Any, Token]:
        """Read the value of a function, after its opening bracket."""
        if name in ("CAST", "TRY_CAST", "CONVERT", "TRY_CONVERT"):
            return self._read_cast(name)
        # Their arguments are skipped and not read: whatever they are, the result is not known.
        if name in _MOMENT and name not in _FIRST:
            self._depth += 1
            self._skip_rest(self._depth - 1)
            return UNKNOWN, self._lexer.next_token()
        arguments = self._read_arguments(")")
        if UNKNOWN in arguments or (name not in _FUNCTIONS and name not in _FIRST):
            raise ValuesError(COMPUTED)
        if name in _FUNCTIONS:
            return _FUNCTIONS[name](arguments), self._lexer.next_token()
        if not arguments or not isinstance(arguments[0], str | None):
            raise ValuesError(COMPUTED)
        return arguments[0], self._lexer.next_token()

    def _read_cast(self, name: str) -> tuple[Any, Token]:
        """Read CAST(value AS type), CONVERT(value, type), CONVERT(value USING …) or CONVERT(type, value)."""
        token = self._lexer.next_token()
        self._depth += 1
        # A type comes first in SQL Server only; functions and literals that begin with a word are excluded.
        typed = token[0] in ("word", "name") and token[1].upper() not in ("N", "X", "NULL", "CAST", "CHAR")
        if name.endswith("CONVERT") and typed and not token[1].startswith("_"):
            if self._skip_type() != ("mark", ","):  # SQL Server's: the type comes first
                raise ValuesError(COMPUTED)
            token = self._lexer.next_token()
        value, after = self.read_expression(token)
        if after == ("mark", ")"):
            self._depth -= 1
        elif after == ("mark", ",") or (after[0] == "word" and after[1].upper() in ("AS", "USING")):
            self._skip_rest(self._depth - 1)
        else:
            self._refuse_token(after)
        return value, self._lexer.next_token()

    def _read_arguments(self, close: str) -> list[Any]:
        self._depth += 1
        values: list[Any] = []
        token = self._lexer.next_token()
        while token != ("mark", close):
            value, after = self.read_expression(token)
            values.append(value)
            if after == ("mark", close):
                break
            if after != ("mark", ","):
                self._refuse_token(after)
            token = self._lexer.next_token()
        self._depth -= 1
        return values

    def _refuse_token(self, token: Token) -> None:
        """Raise the error for a token that is not allowed here."""
        kind, raw = token
        if kind == "broken":
            raise ValuesError(TOO_LONG) if raw == "long" else ValuesError(NOT_CLOSED, lost=True)
        if kind == "end" or token == ("mark", ";"):
            self._lexer.push_back(token)
            raise ValuesError(NO_LIST, lost=True)
        if kind == "mark" and (raw in ("(", "[", "{") or raw in _CLOSING):
            # A bracket is put back, so that `_skip_rest` counts it.
            self._lexer.push_back(token)
        raise ValuesError(COMPUTED if kind != "text" else NO_LIST)

    def _skip_rest(self, depth: int = 0) -> None:
        """Skip the rest of the list, or of the brackets deeper than `depth`.

        Raises:
            Trouble: the statement ends before that.
        """
        while self._depth > depth:
            token = self._lexer.next_token()
            if token[0] == "end" or token == ("mark", ";") or token == ("broken", "open"):
                self._lexer.push_back(token)
                raise ValuesError(NO_LIST, lost=True)
            if token[0] == "mark" and token[1] in ("(", "[", "{"):
                self._depth += 1
            elif token[0] == "mark" and token[1] in _CLOSING:
                self._depth -= 1


def _parse_number(raw: str) -> Any:
    if raw[:2] in ("0x", "0X"):
        return _replace_none(decode_sql_bytes(parse_sql_hex(raw[2:])))
    return parse_sql_number(raw)


def _replace_none(value: str | None) -> Any:
    # Bytes that are not text, such as pictures, are left out of a row.
    return UNKNOWN if value is None else value


def _join_values(*values: Any) -> Any:
    if any(isinstance(value, UnknownValue | list | dict) for value in values):
        raise ValuesError(COMPUTED)
    # NULL joined with anything is NULL in SQL.
    if any(value is None for value in values):
        return None
    return _check_text_length("".join(map(str, values)))


def _apply_replace(values: list[Any]) -> Any:
    text, old, new = values
    if None in values:
        return None
    text, old, new = str(text), str(old), str(new)
    if not old:
        return text
    # REPLACE can make a text of gigabytes out of a short one.
    if len(text) + text.count(old) * len(new) > MAX_TEXT:
        raise ValuesError(TOO_LONG)
    return text.replace(old, new)


def _check_text_length(text: str) -> str:
    if len(text) > MAX_TEXT:
        raise ValuesError(TOO_LONG)
    return text


def _join_characters(values: list[Any]) -> str:
    return "".join(chr(int(value)) for value in values if not isinstance(value, str))


_FUNCTIONS: dict[str, Callable[[list[Any]], Any]] = {
    "REPLACE": _apply_replace,
    "CHAR": _join_characters,
    "CHR": _join_characters,
    "NCHAR": _join_characters,
    "CONCAT": lambda values: _join_values(*values) if values else "",
    "UNISTR": lambda values: decode_unistr(str(values[0])) if len(values) == 1 else _join_values(UNKNOWN),
    "UNHEX": lambda values: _replace_none(decode_sql_bytes(parse_sql_hex(str(values[0])))),
    "HEXTORAW": lambda values: _replace_none(decode_sql_bytes(parse_sql_hex(str(values[0])))),
    "EMPTY_CLOB": lambda values: "",
    "EMPTY_BLOB": lambda values: UNKNOWN,
}
