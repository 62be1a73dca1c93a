"""What quoted texts of SQL dumps stand for: escapes of each dialect, and bytes that are text."""

from __future__ import annotations

import re

_MYSQL = {
    "\\n": "\n", "\\'": "'", '\\"': '"', "\\r": "\r", "\\t": "\t", "\\0": "\0", "\\b": "\b", "\\Z": "\x1a",
}  # fmt: skip
_OTHER_ESCAPE = re.compile(r"\\([^%_])", re.S)  # \% and \_ stay as they are, for LIKE
_C = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_BYTE = r"\\(?:[0-7]{1,3}|x[0-9a-fA-F]{1,2})"
_C_ESCAPE = re.compile(rf"(?:{_BYTE})+|\\u[0-9a-fA-F]{{4}}|\\U[0-9a-fA-F]{{8}}|\\.", re.S)
_COPY_ESCAPE = re.compile(rf"(?:{_BYTE})+|\\.", re.S)
_UNICODE = re.compile(r"\\(?:\\|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|\+([0-9a-fA-F]{6})|([0-9a-fA-F]{4}))")


def mysql_text(inner: str, quote: str) -> str:
    """What stands between the quotes of a MySQL text: backslash escapes and doubled quotes."""
    return "\\".join(_mysql_part(part, quote) for part in inner.split("\\\\"))


def _mysql_part(text: str, quote: str) -> str:
    """The same without doubled backslashes, so that each one left begins an escape."""
    text = text.replace(quote + quote, quote)
    if "\\" not in text:
        return text
    for escape, plain in _MYSQL.items():
        text = text.replace(escape, plain)
    return _OTHER_ESCAPE.sub(r"\1", text) if "\\" in text else text


def c_text(inner: str) -> str:
    """Backslash escapes of PostgreSQL's E'…'."""
    return _surrogates(_C_ESCAPE.sub(_c_escape, inner))


def copy_text(field: str) -> str:
    """Backslash escapes of a field of PostgreSQL's COPY."""
    return _COPY_ESCAPE.sub(_c_escape, field)


def _c_escape(found: re.Match[str]) -> str:
    text = found.group()
    if text[1] in "uU":
        return chr(int(text[2:], 16)) if len(text) > 2 and int(text[2:], 16) < 0x110000 else text[1:]
    if text[1] in "01234567" or (text[1] == "x" and len(text) > 2):
        codes = re.findall(r"\\(?:([0-7]{1,3})|x([0-9a-fA-F]{1,2}))", text)
        data = bytes((int(octal, 8) if octal else int(digits, 16)) & 255 for octal, digits in codes)
        return data.decode("utf-8", "surrogateescape")
    return _C.get(text[1], text[1])


def unistr(text: str) -> str:
    r"""What SQLite's and Oracle's unistr('…\000a…') and PostgreSQL's U&'…' stand for."""

    def one(found: re.Match[str]) -> str:
        digits = next((group for group in found.groups() if group), "")
        return chr(int(digits, 16)) if digits and int(digits, 16) < 0x110000 else "\\"

    return _surrogates(_UNICODE.sub(one, text))


def _surrogates(text: str) -> str:
    """Pairs of surrogates, as UTF-16 writes what is beyond 16 bits, as one character."""
    if not any("\ud800" <= char <= "\udbff" for char in text):
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")


def bytes_text(data: bytes) -> str | None:
    """Bytes as text, if that is what they are; None for pictures and other binary values."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return None
    return None if any(char < " " and char not in "\t\n\r" for char in text) else text


def hex_bytes(digits: str) -> bytes:
    """The bytes of X'…' and 0x….

    Raises:
        ValueError: no hexadecimal digits.
    """
    return bytes.fromhex("0" * (len(digits.replace(" ", "")) % 2) + digits)


def number(text: str) -> int | float | str:
    """A number as written; what no number here can hold exactly stays the text that it is."""
    try:
        if text.isdigit():
            return int(text)
        value = float(text)
    except ValueError:  # more digits than Python makes a number of
        return text
    digits = text.lower().partition("e")[0].replace(".", "").strip("0")
    return text if len(digits) > 17 or value == float("inf") else value
