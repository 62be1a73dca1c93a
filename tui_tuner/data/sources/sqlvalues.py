"""Values as they stand in INSERT statements: literals, casts, and the functions that dumps are written with.

Whatever else would have to be computed is named as the row's problem, never guessed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tui_tuner.data.sources.sqllexer import MAX_TEXT, Lexer, Token
from tui_tuner.data.sources.sqltext import bytes_text, hex_bytes, number, unistr
from tui_tuner.locales import N_


class Unknown:
    """A value that only the database could give, such as NOW() or DEFAULT: the row goes without it."""


UNKNOWN = Unknown()
COMPUTED = N_("an SQL value that would have to be computed")
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
# Functions whose first argument, if it is a text, says the value as well as their result does.
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


class Trouble(Exception):
    """Why a list of values gives no row. `lost`: the lexer may stand anywhere in the statement."""

    def __init__(self, reason: str, lost: bool = False) -> None:
        self.reason, self.lost = reason, lost
        super().__init__(reason)


class Values:
    """Reads lists of values from a lexer."""

    def __init__(self, lexer: Lexer) -> None:
        self._lexer = lexer
        self._depth = 0

    def row(self) -> list[Any]:
        """The values of a list whose opening bracket has just been read.

        Raises:
            Trouble: it is no row; the lexer stands behind its closing bracket, unless `lost`.
        """
        next = self._lexer.next
        values: list[Any] = []
        self._depth = 1
        try:
            while True:
                token = next()
                if not values and token == ("mark", ")"):
                    return values
                value, after = self._plain(token)
                values.append(value)
                if after == ("mark", ")"):
                    return values
                if after != ("mark", ","):
                    self._refuse(after)
        except Trouble as trouble:
            if not trouble.lost:
                self._leave()
            raise
        except (ValueError, OverflowError):
            self._leave()
            raise Trouble(COMPUTED) from None

    def _plain(self, token: Token) -> tuple[Any, Token]:
        """A value and the token after it; most are a text, a number or NULL, and nothing more."""
        kind, raw = token
        after = self._lexer.next()
        if after[0] == "mark" and after[1] in (",", ")"):
            if kind in ("text", "double"):
                return raw, after
            if kind == "number":
                return _number(raw), after
            if kind == "word" and raw.upper() in _CONSTANTS:
                return _CONSTANTS[raw.upper()], after
        self._lexer.push(after)
        return self.expression(token)

    def expression(self, token: Token) -> tuple[Any, Token]:
        """The value of what begins with this token, and the token after it.

        Raises:
            Trouble: it would have to be computed.
        """
        value, after = self._term(token)
        while True:
            if after == ("mark", "::") or (after[0] == "word" and after[1].upper() in ("COLLATE", "AT")):
                after = self._type()
            elif after in (("mark", "||"), ("mark", "+")):
                other, following = self._term(self._lexer.next())
                if after[1] == "+" and not (isinstance(value, str) and isinstance(other, str)):
                    raise Trouble(COMPUTED)
                value, after = _joined(value, other), following
            else:
                return value, after

    def _type(self) -> Token:
        """Pass over the type of a cast, or a collation; the token after it."""
        depth = 0
        while True:
            token = self._lexer.next()
            if token[0] in ("end", "broken", "text") and not (token[0] == "text" and depth == 0):
                self._refuse(token)
            if token[0] == "mark":
                if token[1] in "([":
                    depth += 1
                elif token[1] in ")]" and depth:
                    depth -= 1
                elif depth == 0 and token[1] in (",", ")", "::", "||", "+", ";"):
                    return token

    def _term(self, token: Token) -> tuple[Any, Token]:
        kind, raw = token
        if kind in ("text", "double"):
            return self._adjacent(raw)
        if kind == "number":
            return _number(raw), self._lexer.next()
        if kind == "word":
            return self._word(raw)
        if token in (("mark", "-"), ("mark", "+")):
            value, after = self._term(self._lexer.next())
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise Trouble(COMPUTED)
            return (-value if raw == "-" else value), after
        if token == ("mark", "("):
            value, close = self._inside()
            if close != ("mark", ")"):
                self._refuse(close)
            self._depth -= 1
            return value, self._lexer.next()
        if token == ("mark", "\\"):  # \N, MySQL's NULL
            after = self._lexer.next()
            if after == ("word", "N"):
                return None, self._lexer.next()
            self._refuse(after)
        self._refuse(token)
        raise AssertionError

    def _inside(self) -> tuple[Any, Token]:
        self._depth += 1
        return self.expression(self._lexer.next())

    def _adjacent(self, text: str) -> tuple[str, Token]:
        """Quoted texts one after the other are one text."""
        after = self._lexer.next()
        while after[0] == "text":
            text += after[1]
            after = self._lexer.next()
        return text, after

    def _word(self, word: str) -> tuple[Any, Token]:
        name = word.upper()
        after = self._lexer.next()
        if after[0] == "text" or (after[0] == "number" and name == "_BINARY"):
            return self._prefixed(name, after)
        if after == ("mark", "(") and name not in _CONSTANTS:
            return self._function(name)
        if after == ("mark", "[") and name == "ARRAY":
            return self._arguments("]"), self._lexer.next()
        if name == "U" and after == ("mark", "&"):
            text = self._lexer.next()
            if text[0] == "text":
                value, after = self._adjacent(text[1])
                return unistr(value), after
        if name in _CONSTANTS:
            return _CONSTANTS[name], after
        if name in _MOMENT:
            return UNKNOWN, after
        if after == ("mark", "."):  # sequence.nextval
            last = self._lexer.next()
            if last[0] == "word" and last[1].upper() in ("NEXTVAL", "CURRVAL"):
                return UNKNOWN, self._lexer.next()
            after = last
        self._refuse(after)
        raise AssertionError

    def _prefixed(self, name: str, text: Token) -> tuple[Any, Token]:
        """N'…', X'…', B'…', _utf8mb4'…', DATE '…'."""
        if name == "_BINARY" and text[0] == "number":
            return _number(text[1]), self._lexer.next()
        value, after = self._adjacent(text[1])
        if name == "X":
            return _known(bytes_text(hex_bytes(value))), after
        if name == "B":
            whole = self._lexer.dialect.mysql and len(value) <= _MOST_BITS
            return (int(value or "0", 2) if whole else value), after
        if name in ("_BINARY", "BINARY"):
            return _known(bytes_text(value.encode("utf-8", "surrogateescape"))), after
        if name == "N" or name in _TYPED or name.startswith("_"):
            return value, after
        self._refuse(after)
        raise AssertionError

    def _function(self, name: str) -> tuple[Any, Token]:
        """The value of a function; the lexer stands behind its opening bracket."""
        if name in ("CAST", "TRY_CAST", "CONVERT", "TRY_CONVERT"):
            return self._cast(name)
        if name in _MOMENT and name not in _FIRST:
            self._depth += 1
            self._leave(self._depth - 1)
            return UNKNOWN, self._lexer.next()
        arguments = self._arguments(")")
        if UNKNOWN in arguments or (name not in _FUNCTIONS and name not in _FIRST):
            raise Trouble(COMPUTED)
        if name in _FUNCTIONS:
            return _FUNCTIONS[name](arguments), self._lexer.next()
        if not arguments or not isinstance(arguments[0], str | None):
            raise Trouble(COMPUTED)
        return arguments[0], self._lexer.next()

    def _cast(self, name: str) -> tuple[Any, Token]:
        """CAST(value AS type), and CONVERT(value, type), CONVERT(value USING …), CONVERT(type, value)."""
        token = self._lexer.next()
        self._depth += 1
        typed = token[0] in ("word", "name") and token[1].upper() not in ("N", "X", "NULL", "CAST", "CHAR")
        if name.endswith("CONVERT") and typed and not token[1].startswith("_"):
            if self._type() != ("mark", ","):  # SQL Server's: the type comes first
                raise Trouble(COMPUTED)
            token = self._lexer.next()
        value, after = self.expression(token)
        if after == ("mark", ")"):
            self._depth -= 1
        elif after == ("mark", ",") or (after[0] == "word" and after[1].upper() in ("AS", "USING")):
            self._leave(self._depth - 1)
        else:
            self._refuse(after)
        return value, self._lexer.next()

    def _arguments(self, close: str) -> list[Any]:
        self._depth += 1
        values: list[Any] = []
        token = self._lexer.next()
        while token != ("mark", close):
            value, after = self.expression(token)
            values.append(value)
            if after == ("mark", close):
                break
            if after != ("mark", ","):
                self._refuse(after)
            token = self._lexer.next()
        self._depth -= 1
        return values

    def _refuse(self, token: Token) -> None:
        """Raise what is wrong with a token that cannot stand where it stands."""
        kind, raw = token
        if kind == "broken":
            raise Trouble(TOO_LONG) if raw == "long" else Trouble(NOT_CLOSED, lost=True)
        if kind == "end" or token == ("mark", ";"):
            self._lexer.push(token)
            raise Trouble(NO_LIST, lost=True)
        if kind == "mark" and (raw in ("(", "[", "{") or raw in _CLOSING):
            self._lexer.push(token)
        raise Trouble(COMPUTED if kind != "text" else NO_LIST)

    def _leave(self, depth: int = 0) -> None:
        """Pass over what is left of the list, or of the brackets deeper than `depth`.

        Raises:
            Trouble: the statement ends before.
        """
        while self._depth > depth:
            token = self._lexer.next()
            if token[0] == "end" or token == ("mark", ";") or token == ("broken", "open"):
                self._lexer.push(token)
                raise Trouble(NO_LIST, lost=True)
            if token[0] == "mark" and token[1] in ("(", "[", "{"):
                self._depth += 1
            elif token[0] == "mark" and token[1] in _CLOSING:
                self._depth -= 1


def _number(raw: str) -> Any:
    if raw[:2] in ("0x", "0X"):
        return _known(bytes_text(hex_bytes(raw[2:])))
    return number(raw)


def _known(value: str | None) -> Any:
    """Binary values that are no text have no place in a row."""
    return UNKNOWN if value is None else value


def _joined(*values: Any) -> Any:
    if any(isinstance(value, Unknown | list | dict) for value in values):
        raise Trouble(COMPUTED)
    if any(value is None for value in values):
        return None
    return _not_too_long("".join(map(str, values)))


def _replaced(values: list[Any]) -> Any:
    text, old, new = values
    if None in values:
        return None
    text, old, new = str(text), str(old), str(new)
    if not old:
        return text
    if len(text) + text.count(old) * len(new) > MAX_TEXT:
        raise Trouble(TOO_LONG)
    return text.replace(old, new)


def _not_too_long(text: str) -> str:
    if len(text) > MAX_TEXT:
        raise Trouble(TOO_LONG)
    return text


def _characters(values: list[Any]) -> str:
    return "".join(chr(int(value)) for value in values if not isinstance(value, str))


_FUNCTIONS: dict[str, Callable[[list[Any]], Any]] = {
    "REPLACE": _replaced,
    "CHAR": _characters,
    "CHR": _characters,
    "NCHAR": _characters,
    "CONCAT": lambda values: _joined(*values) if values else "",
    "UNISTR": lambda values: unistr(str(values[0])) if len(values) == 1 else _joined(UNKNOWN),
    "UNHEX": lambda values: _known(bytes_text(hex_bytes(str(values[0])))),
    "HEXTORAW": lambda values: _known(bytes_text(hex_bytes(str(values[0])))),
    "EMPTY_CLOB": lambda values: "",
    "EMPTY_BLOB": lambda values: UNKNOWN,
}
