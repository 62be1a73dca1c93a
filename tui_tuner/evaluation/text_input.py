"""Read a user's own text for a trained model, and reject files that are not text."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

from tui_tuner.errors import DataError, UsageError
from tui_tuner.locales import _
from tui_tuner.text import format_bytes, one_line

LARGEST = 2 << 20  # bytes: a few hundred thousand words, which take a small model minutes
STANDARD_INPUT = "-"


def read_text_input(path: str) -> str:
    """Return the text of a file, or of standard input for `-`; line ends become newlines.

    Raises:
        UsageError: there is no such file, or it is not readable.
        DataError: it is empty, too large, or not UTF-8 text.
    """
    where = _("standard input") if path == STANDARD_INPUT else one_line(path, 300)
    blob = sys.stdin.buffer.read(LARGEST + 1) if path == STANDARD_INPUT else _read_file(path, where)
    if len(blob) > LARGEST:
        raise DataError(
            _("is larger than {largest}, the largest text accepted.", largest=format_bytes(LARGEST)),
            where=where,
            hint=_("Copy the relevant part to a file of its own."),
        )
    return check_text(decode_text(blob, where), where)


def _read_file(path: str, where: str) -> bytes:
    place = Path(path).expanduser()
    try:
        # Without O_NONBLOCK, opening a pipe would wait for a writer.
        fd = os.open(place, os.O_RDONLY | os.O_NONBLOCK)
        with open(fd, "rb") as file:
            kind = os.fstat(fd).st_mode
            if not stat.S_ISREG(kind):
                raise UsageError(
                    _("is not a regular file."),
                    where=where,
                    hint=_("Give a text file."),
                )
            return file.read(LARGEST + 1)
    except IsADirectoryError:
        raise UsageError(_("is a folder."), where=where, hint=_("Give a text file.")) from None
    except OSError as error:
        raise UsageError(
            _("cannot be read: {problem}.", problem=error.strerror or type(error).__name__),
            where=where,
            hint=_("Give a text file."),
        ) from None
    # The name contains a null byte.
    except ValueError:
        raise UsageError(_("is not a valid file name."), where=where) from None


def decode_text(blob: bytes, where: str) -> str:
    """Decode a file's bytes as text.

    Raises:
        DataError: they are not UTF-8, or contain null bytes.
    """
    if b"\0" in blob:
        raise DataError(
            _("is not text: it has null bytes."), where=where, hint=_("Give a file of plain text, in UTF-8.")
        )
    try:
        text = blob.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            _("is not valid UTF-8, from byte {place:,} on.", place=error.start),
            where=where,
            hint=_("Convert it to UTF-8, for example with `iconv -t utf-8`."),
        ) from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def check_text(text: str, where: str) -> str:
    """Return the text if it is not empty.

    Raises:
        DataError: it is empty or blank.
    """
    if not text.strip():
        raise DataError(_("is empty."), where=where, hint=_("Give the text that the model should read."))
    return text
