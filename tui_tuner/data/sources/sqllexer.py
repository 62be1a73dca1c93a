"""Split an SQL dump into tokens: a file of any size is read in blocks, and nothing is executed.

Quotes, escapes and comments are distinguished only here, by one pattern for each dialect, so that a dash in a
text is never a comment and a semicolon in it never ends a statement.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tui_tuner.data.sources.sqltext import decode_c_escapes, decode_mysql_text

MAX_TEXT = 32 * 1024 * 1024
BLOCK = 1024 * 1024
# The start of a statement with rows at the start of a line; see `Lexer.has_lost_statements`.
_FORMS = ("\nINSERT ", "\ninsert ", "\nInsert ", "\nREPLACE INTO ")
_FIRST = {form.split()[0] for form in _FORMS}
_BEFORE = max(map(len, _FORMS)) - 1

Token = tuple[str, Any]
END: Token = ("end", "")
INNER = "inner ;"  # a semicolon after DELIMITER has chosen another mark: it does not end a statement


@dataclass(frozen=True)
class Dialect:
    """The differences between dumps.

    Args:
        backslash: A backslash in a quoted text begins an escape.
        mysql: `#` begins a comment, `--` only before a blank, and `/*! … */` is code.
        postgres: Dollar quotes, `E'…'`, and comments inside comments.
        brackets: `[name]` is a name.
        oracle: `q'[…]'` is a text.
    """

    name: str
    backslash: bool = False
    mysql: bool = False
    postgres: bool = False
    brackets: bool = False
    oracle: bool = False


DIALECTS = {
    "standard": Dialect("standard", postgres=True),
    "mysql": Dialect("mysql", backslash=True, mysql=True),
    "postgres": Dialect("postgres", postgres=True),
    "old postgres": Dialect("old postgres", backslash=True, postgres=True),
    "sqlite": Dialect("sqlite", brackets=True),
    "mssql": Dialect("mssql", brackets=True),
    "oracle": Dialect("oracle", oracle=True),
}


def _build_pattern(dialect: Dialect) -> re.Pattern[str]:
    # Possessive quantifiers (++, *+) keep a text without an end from being tried again at every position.
    escaped = r"(?:[^Q\\]++|\\.|QQ)*+Q"
    plain = r"(?:[^Q]++|QQ)*+Q"
    body = escaped if dialect.backslash else plain
    comment = r"--(?=[\s\x00-\x1f])[^\n]*|--\Z|\#[^\n]*" if dialect.mysql else r"--[^\n]*"
    parts = [
        ("text", "'" + body.replace("Q", "'")),
        ("comment", comment),
        ("number", r"0[xX][0-9a-fA-F]+\b|(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?(?![\w$])"),
        ("escaped", "[eE]'" + escaped.replace("Q", "'") if dialect.postgres else r"(?!)"),
        ("quoted_q", r"[nN]?[qQ]'(?=\S)" if dialect.oracle else r"(?!)"),
        ("dollar", r"\$(?:[^\W\d]\w*)?\$" if dialect.postgres else r"(?!)"),
        ("word", r"[^\W\d][\w$]*|@[\w@$]+|\d[\w$]+"),
        ("double", '"' + (body if dialect.mysql else plain).replace("Q", '"')),
        ("backtick", "`" + plain.replace("Q", "`")),
        ("bracket", r"\[(?:[^\]]++|\]\])*+\]" if dialect.brackets else r"(?!)"),
        ("open", r"/\*(?:M?!\d*)?" if dialect.mysql else r"/\*"),
        ("mark", r"::|\|\||\*/|."),
    ]
    return re.compile(r"\s*+(?:" + "|".join(f"(?P<{name}>{part})" for name, part in parts) + ")", re.S)


_PATTERNS = {name: _build_pattern(dialect) for name, dialect in DIALECTS.items()}
_CLOSERS = {"[": "]", "(": ")", "{": "}", "<": ">"}


class Lexer:
    """Splits a text file into tokens (kind, value).

    Kinds are `text` (a quoted text, decoded), `double` (in double quotes: a name, or a text in the place of a
    value), `name` (quoted otherwise), `word`, `number` (as written), `mark` (punctuation), `broken` (a text
    without an end, or too long; the value is `open` or `long`) and `end`.
    """

    def __init__(self, text: Any, dialect: Dialect) -> None:
        self.dialect = dialect
        self.delimiter = ";"
        self.raw = self.met = self.inside = 0
        self._text = text
        self._match = _PATTERNS[dialect.name].match
        self._buffer, self._pos, self._eof = "\n", 1, False
        self._begin = 1  # where the last token begins
        self._lines, self._counted = 0, 0  # line ends before `_counted`, a place in the buffer
        self._tail = "\n"
        self._back: Token | None = None
        self._skipped = False  # something too long was skipped without being searched

    @property
    def current_line(self) -> int:
        """Return the line at which the last token begins, from 1."""
        self._lines += self._buffer.count("\n", self._counted, self._begin)
        self._counted = max(self._counted, self._begin)
        return max(1, self._lines)

    @property
    def has_lost_statements(self) -> bool:
        """Return whether some lines that begin with INSERT in the raw text were never read as statements."""
        return not self._skipped and self.raw != self.met + self.inside

    @property
    def is_at_line_start(self) -> bool:
        """Return whether only blanks come before the last token on its line."""
        before = self._buffer.rfind("\n", 0, self._begin)
        return before >= 0 and not self._buffer[before : self._begin].strip()

    def push_back(self, token: Token) -> None:
        """Put a token back; `next` returns it again."""
        self._back = token

    def next_token(self) -> Token:
        """Return the next token; `END` after the file has ended."""
        if self._back is not None:
            token, self._back = self._back, None
            return token
        while True:
            found = self._match(self._buffer, self._pos)
            if found is None:
                if self._eof:
                    self._begin = self._pos = len(self._buffer)
                    return END
                self._read_more()
                continue
            if found.end() + 2 >= len(self._buffer) and not self._eof:
                # The token may continue in the next block, and so may a mark of two characters.
                self._read_more()
                continue
            kind = found.lastgroup or ""
            self._begin = begin = found.start(kind)
            # MySQL dumps put DELIMITER around routines, whose statements contain semicolons.
            if self.delimiter != ";" and self._buffer.startswith(self.delimiter, begin):
                self._pos = begin + len(self.delimiter)
                return ("mark", ";")
            if self.delimiter != ";" and kind == "mark" and self._buffer[begin] == ";":
                self._pos = found.end()
                return ("mark", INNER)
            read = self._read_token(kind, begin, found.end())
            if read is not None:
                return read

    def _read_token(self, kind: str, begin: int, end: int) -> Token | None:
        """Return the token there; None for a comment, or if more text must be read first."""
        buffer = self._buffer
        if kind == "mark" and buffer[begin] in ("'\"`[" if self.dialect.brackets else "'\"`"):
            return self._read_unclosed("]" if buffer[begin] == "[" else buffer[begin])
        if kind in ("open", "dollar", "quoted_q"):
            return self._read_long(kind, begin, end)
        self._pos = end
        if kind == "mark" and self.dialect.mysql and buffer.startswith("*/", begin):
            # The end of /*!50705 … */, whose content was read as code.
            return None
        if kind == "word":
            value = buffer[begin:end]
            if self.dialect.postgres and value in ("E", "e") and buffer.startswith("'", end):
                self._pos = begin
                return self._read_unclosed("E")
            if value in _FIRST and buffer.startswith(_FORMS, begin - 1):
                self.met += 1
            return (kind, value)
        if kind in ("text", "double", "backtick", "bracket", "escaped", "comment"):
            self._count_inside(begin, end)
            return None if kind == "comment" else self._decode_token(kind, buffer[begin:end])
        return (kind, buffer[begin:end])

    def _decode_token(self, kind: str, raw: str) -> Token:
        if kind == "escaped":
            return ("text", decode_c_escapes(raw[2:-1].replace("''", "'") if "''" in raw else raw[2:-1]))
        if kind in ("backtick", "bracket"):
            return ("name", raw[1:-1].replace(raw[-1] * 2, raw[-1]))
        value, quote = raw[1:-1], raw[0]
        if self.dialect.backslash and "\\" in value and (quote == "'" or self.dialect.mysql):
            value = (
                decode_mysql_text(value, quote)
                if self.dialect.mysql
                else decode_c_escapes(value.replace("''", "'"))
            )
        elif quote in value:
            value = value.replace(quote * 2, quote)
        return (kind, value)

    def _read_long(self, kind: str, begin: int, end: int) -> Token | None:
        """Read a comment, a dollar quote or a `q'[…]'`: each ends at its own closing mark."""
        opener = self._buffer[begin:end]
        if kind == "open" and len(opener) > 2:
            # /*!40101 … */ is code for MySQL: only its marks are skipped.
            self._pos = end
            return None
        if kind == "open":
            close = "*/"
        elif kind == "dollar":
            close = opener
        else:
            close = _CLOSERS.get(self._buffer[end], self._buffer[end]) + "'"
            end += 1
        start, stop, depth = end, end, 1
        while depth:
            found = self._buffer.find(close, stop)
            if found < 0:
                if self._eof or len(self._buffer) - begin > MAX_TEXT:
                    self._skipped = not self._eof
                    self._count_inside(begin, len(self._buffer))
                    self._pos = len(self._buffer)
                    return ("broken", "open" if self._eof else "long")
                moved = self._read_more()
                begin, start, stop = begin - moved, start - moved, max(start, stop) - moved
                continue
            # Comments nest in these two dialects only.
            if kind == "open" and (self.dialect.postgres or self.dialect.name == "mssql"):
                depth += self._buffer.count("/*", stop, found)
            stop = found + len(close)
            depth -= 1
        self._pos = stop
        self._count_inside(begin, stop)
        return None if kind == "open" else ("text", self._buffer[start : stop - len(close)])

    def _read_unclosed(self, quote: str) -> Token | None:
        """Handle a quote whose end is not in the buffer."""
        if self._eof:
            self._count_inside(self._begin, len(self._buffer))
            self._pos = len(self._buffer)
            return ("broken", "open")
        if len(self._buffer) - self._begin <= MAX_TEXT:
            self._read_more()
            return None
        self._skipped = True
        backslash = self.dialect.backslash and (quote == "'" or (self.dialect.mysql and quote == '"'))
        place, quote = (self._begin + 2, "'") if quote == "E" else (self._begin + 1, quote)
        # Only the end of the text is wanted, so its parts are dropped as they are read.
        body = r"(?:[^Q\\]++|\\.|QQ)*+" if backslash or place > self._begin + 1 else r"(?:[^Q]++|QQ)*+"
        inner = re.compile(body.replace("Q", quote), re.S)
        while True:
            found = inner.match(self._buffer, place)
            place = found.end() if found else place
            if self._eof or (place < len(self._buffer) - 2 and self._buffer[place] == quote):
                self._pos = min(len(self._buffer), place + 1)
                return ("broken", "long")
            self._begin = self._pos = place
            place -= self._read_more()

    def _read_more(self) -> int:
        """Read another block; returns how far the text in the buffer has moved towards its start."""
        # One character before the position is kept, to know whether a token begins its line.
        cut = max(0, self._pos - 1)
        self._lines += self._buffer.count("\n", self._counted, cut)
        kept = self._buffer[cut:]
        # Reading twice as much each time keeps the copying linear for one very long text.
        block = self._text.read(max(BLOCK, len(kept)))
        self._eof = not block
        # The end of the last block is counted again with the new one, for the start of a line may be cut.
        self.raw += sum((self._tail + block).count(form) - self._tail.count(form) for form in _FORMS)
        self._tail = (self._tail + block)[-_BEFORE:]
        self._buffer = kept + block
        self._pos -= cut
        self._begin = max(0, self._begin - cut)
        self._counted = max(0, self._counted - cut)
        return cut

    def _count_inside(self, begin: int, end: int) -> None:
        """Count the lines in a text or a comment that look like the start of a statement."""
        if self._buffer.find("\n", begin, end) >= 0:
            self.inside += sum(self._buffer.count(form, begin, end) for form in _FORMS)

    def read_rest_of_line(self) -> str:
        """Consume and return the rest of this line."""
        return next(self.read_raw_lines(), "") or ""

    def read_raw_lines(self) -> Iterator[str | None]:
        """Yield raw lines without their end; None for a line that is too long."""
        while True:
            end = self._buffer.find("\n", self._pos)
            while end < 0 and not self._eof and len(self._buffer) - self._pos <= MAX_TEXT:
                self._read_more()
                end = self._buffer.find("\n", self._pos)
            self._begin = self._pos
            if end < 0 and not self._eof:
                self._skip_line()
                yield None
                continue
            if end < 0:
                end = len(self._buffer)
                if self._pos >= end:
                    return
            line = self._buffer[self._pos : end]
            self._count_inside(self._pos - 1, end)
            self._pos = min(len(self._buffer), end + 1)
            yield line.removesuffix("\r")

    def _skip_line(self) -> None:
        self._skipped = True
        while self._buffer.find("\n", self._pos) < 0 and not self._eof:
            self._pos = len(self._buffer)
            self._read_more()
        end = self._buffer.find("\n", self._pos)
        self._pos = len(self._buffer) if end < 0 else end + 1
