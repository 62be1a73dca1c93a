"""A text of the user's own, for a trained model: read, and refused in words where it is none."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

from tui_tuner.errors import DataError, UsageError
from tui_tuner.locales import _
from tui_tuner.text import human_bytes, one_line

LARGEST = 2 << 20  # bytes: some hundred thousand words, which a small model reads in minutes
STANDARD_INPUT = "-"


def read_text(path: str) -> str:
    """The text of a file, or of standard input for `-`; its line ends become newlines.

    Raises:
        UsageError: there is no such file, or it may not be read.
        DataError: it holds no text: nothing, too much, bytes that are no UTF-8, or characters of no text.
    """
    where = _("standard input") if path == STANDARD_INPUT else one_line(path, 300)
    blob = sys.stdin.buffer.read(LARGEST + 1) if path == STANDARD_INPUT else _read_file(path, where)
    if len(blob) > LARGEST:
        raise DataError(
            _("is larger than {largest}, the most that is read at once.", largest=human_bytes(LARGEST)),
            where=where,
            hint=_("Cut the part out of it that is of interest."),
        )
    return check_text(decode_text(blob, where), where)


def _read_file(path: str, where: str) -> bytes:
    place = Path(path).expanduser()
    try:
        fd = os.open(place, os.O_RDONLY | os.O_NONBLOCK)  # a pipe that nobody writes to must not hold us
        with open(fd, "rb") as file:
            kind = os.fstat(fd).st_mode
            if not stat.S_ISREG(kind):
                raise UsageError(
                    _("is no file."),
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
    except ValueError:  # a name with a null byte in it
        raise UsageError(_("is no name of a file."), where=where) from None


def decode_text(blob: bytes, where: str) -> str:
    """The text of a file's bytes.

    Raises:
        DataError: they are no UTF-8, or those of another kind of file.
    """
    if b"\0" in blob:
        raise DataError(
            _("is no text: it has null bytes."), where=where, hint=_("Give a file of plain text, in UTF-8.")
        )
    try:
        text = blob.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            _("is no UTF-8 text, from byte {place:,} on.", place=error.start),
            where=where,
            hint=_("Save it as UTF-8, such as with `iconv -t utf-8`."),
        ) from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def check_text(text: str, where: str) -> str:
    """The text, if it holds anything.

    Raises:
        DataError: it is empty, or blank.
    """
    if not text.strip():
        raise DataError(
            _("is empty."), where=where, hint=_("Give it the text that the model is asked about.")
        )
    return text
