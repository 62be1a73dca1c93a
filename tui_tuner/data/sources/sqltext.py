"""Decode quoted texts of SQL dumps: the escapes of each dialect, and bytes that are text."""

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


def decode_mysql_text(inner: str, quote: str) -> str:
    """Decode what is between the quotes of a MySQL text: backslash escapes and doubled quotes."""
    # Doubled backslashes are split off first; otherwise their second half would begin an escape.
    return "\\".join(_decode_mysql_part(part, quote) for part in inner.split("\\\\"))


def _decode_mysql_part(text: str, quote: str) -> str:
    """Decode a part without doubled backslashes, in which each backslash begins an escape."""
    text = text.replace(quote + quote, quote)
    if "\\" not in text:
        return text
    for escape, plain in _MYSQL.items():
        text = text.replace(escape, plain)
    return _OTHER_ESCAPE.sub(r"\1", text) if "\\" in text else text


def decode_c_escapes(inner: str) -> str:
    """Decode the backslash escapes of PostgreSQL's E'…'."""
    return _join_surrogates(_C_ESCAPE.sub(_decode_c_escape, inner))


def decode_copy_field(field: str) -> str:
    """Decode the backslash escapes in a field of PostgreSQL's COPY."""
    return _COPY_ESCAPE.sub(_decode_c_escape, field)


def _decode_c_escape(found: re.Match[str]) -> str:
    text = found.group()
    if text[1] in "uU":
        return chr(int(text[2:], 16)) if len(text) > 2 and int(text[2:], 16) < 0x110000 else text[1:]
    if text[1] in "01234567" or (text[1] == "x" and len(text) > 2):
        # Octal and hexadecimal escapes write the bytes of UTF-8 one by one, so a run of them is decoded
        # together.
        codes = re.findall(r"\\(?:([0-7]{1,3})|x([0-9a-fA-F]{1,2}))", text)
        data = bytes((int(octal, 8) if octal else int(digits, 16)) & 255 for octal, digits in codes)
        return data.decode("utf-8", "surrogateescape")
    return _C.get(text[1], text[1])


def decode_unistr(text: str) -> str:
    r"""Decode SQLite's and Oracle's unistr('…\000a…') and PostgreSQL's U&'…'."""

    def decode_one(found: re.Match[str]) -> str:
        digits = next((group for group in found.groups() if group), "")
        return chr(int(digits, 16)) if digits and int(digits, 16) < 0x110000 else "\\"

    return _join_surrogates(_UNICODE.sub(decode_one, text))


def _join_surrogates(text: str) -> str:
    """Join each pair of surrogates, as UTF-16 writes characters beyond 16 bits, into one character."""
    if not any("\ud800" <= char <= "\udbff" for char in text):
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")


def decode_sql_bytes(data: bytes) -> str | None:
    """Decode bytes that are text; None for pictures and other binary values."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return None
    return None if any(char < " " and char not in "\t\n\r" for char in text) else text


def parse_sql_hex(digits: str) -> bytes:
    """Decode the digits of X'…' and 0x….

    Raises:
        ValueError: the digits are not hexadecimal.
    """
    return bytes.fromhex("0" * (len(digits.replace(" ", "")) % 2) + digits)


def parse_sql_number(text: str) -> int | float | str:
    """Parse a number; one that no Python number holds exactly stays a text."""
    try:
        if text.isdigit():
            return int(text)
        value = float(text)
    # Python refuses to parse more than 4,300 digits.
    except ValueError:
        return text
    # A float holds 17 digits; a longer number, such as an id, would come back as another one.
    digits = text.lower().partition("e")[0].replace(".", "").strip("0")
    return text if len(digits) > 17 or value == float("inf") else value
