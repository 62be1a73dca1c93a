"""Who may use a server: its address, its key, and the check of a request."""

from __future__ import annotations

import hmac
import ipaddress
from pathlib import Path

from tui_tuner.errors import UsageError
from tui_tuner.locales import _
from tui_tuner.text import one_line

LEAST_LETTERS = 16  # of a key: shorter ones can be tried out
_MOST_BYTES = 4096
_NAMES = ("localhost", "127.0.0.1", "::1")


def read_key(key: str, key_file: str) -> str:
    """Return the key that was given, from a file or in the command; empty if there is none.

    Raises:
        UsageError: the file cannot be read, or the key is short or not plain.
    """
    if key and key_file:
        raise UsageError(_("and --key are given: use one of them."), where="--key-file")
    where = "--key"
    if key_file:
        where = one_line(key_file, 200)
        try:
            with Path(key_file).expanduser().open("rb") as file:
                key = file.read(_MOST_BYTES).decode("ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(
                _("the key cannot be read: {problem}.", problem=one_line(error, 120)), where=where
            ) from None
        if not key:
            raise UsageError(_("holds no key."), where=where)
    if key and (len(key) < LEAST_LETTERS or not key.isascii() or not key.isprintable() or " " in key):
        raise UsageError(
            _("a key has at least {least} letters and digits, and no spaces.", least=LEAST_LETTERS),
            where=where,
            hint=_("`openssl rand -hex 24` makes one."),
        )
    return key


def check_host(host: str, key: str) -> None:
    """Raise `UsageError` where a server would be open to others without a key."""
    if is_loopback(host) or key:
        return
    raise UsageError(
        _("{host} can be reached by others, so it needs a key.", host=one_line(host, 80)),
        where="--host",
        hint=_("Add --key-file FILE; without --host only programs of this machine reach the server."),
    )


def is_loopback(host: str) -> bool:
    """Return whether only programs of this machine reach an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def is_key_right(key: str, header: str) -> bool:
    """Return whether an Authorization header holds the key; the time it takes tells nothing about it."""
    kind, _space, given = header.partition(" ")
    return kind.lower() == "bearer" and hmac.compare_digest(given.strip().encode(), key.encode())


def is_own_name(header: str) -> bool:
    """Return whether a Host header names this machine, as programs of it write it.

    A page in a browser can lead a name of its own to 127.0.0.1, and would read what the server answers.
    """
    name = header.rsplit(":", 1)[0] if not header.endswith("]") else header
    return name.strip("[]").lower() in _NAMES
