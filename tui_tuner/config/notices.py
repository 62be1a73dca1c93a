"""Addresses for messages about a run (`output.notify`): their syntax, and which part of them may be shown.

An entry is `bell`, `desktop`, `ntfy:TOPIC`, `ntfy:https://server/topic` or the URL of a webhook. Anyone who
knows such an address can write to it, so it counts as a secret: journals and messages show only its host.
`${NAME}` in an entry stands for an environment variable, so that the config need not contain the secret.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

from tui_tuner.locales import _
from tui_tuner.text import one_line

WORDS = ("bell", "desktop")
FIELD = "output.notify"
MASK = "hidden"  # replaces the secret part; the result is still a valid entry

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_TOPIC = re.compile(r"[-_A-Za-z0-9]{1,64}")  # as ntfy accepts them
_BETWEEN = re.compile(r"\s+|,\s+|,(?=(?:bell|desktop|ntfy:|https?:|\$\{))")
_CONTROL = re.compile(r"[\x00-\x20\x7f-\x9f]")


def split_notify_entries(text: str) -> list[str]:
    """Split a line that a user typed into entries, at commas or spaces."""
    return [part.strip().rstrip(",") for part in _BETWEEN.split(text.strip()) if part.strip(", ")]


def find_notify_problem(entry: str) -> str:
    """Return the reason why an entry is invalid, without a full stop; empty if it is valid."""
    bare = _VARIABLE.sub("X", entry)
    if "${" in bare:
        return _("{entry} has a ${{ without a name; write ${{NAME}}", entry=_cut_entry(entry))
    if entry in WORDS or (bare == "X" and bare != entry):
        return ""
    if _CONTROL.search(bare):
        return _("{entry} contains a space or a control character", entry=_cut_entry(entry))
    kind, colon, rest = bare.partition(":")
    if kind == "ntfy" and colon:
        if "://" not in rest:
            return "" if _TOPIC.fullmatch(rest) else _no_topic(entry)
        return _address_problem(rest, entry) or ("" if _topic_in(rest) else _no_topic(entry))
    if kind in ("http", "https") and rest.startswith("//"):
        return _address_problem(bare, entry)
    return _(
        "{entry} is not bell, desktop, ntfy:TOPIC, ntfy:https://server/topic or the https:// URL of a "
        "webhook",
        entry=_cut_entry(entry),
    )


def mask_notify_entry(entry: str) -> str:
    """Mask an entry for a journal: only the host of an address stays, and the topic is hidden."""
    if entry in WORDS or _VARIABLE.fullmatch(entry):
        return entry
    kind, _unused, rest = entry.partition(":")
    if kind == "ntfy":
        return f"ntfy:{_shown_address(rest)}" if "://" in rest else f"ntfy:{MASK}"
    return _shown_address(entry)


def mask_notify_entries(entries: Iterable[Any]) -> list[str]:
    """Mask several entries for a journal."""
    return [mask_notify_entry(str(entry)) for entry in entries]


def mask_notify_addresses(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return plain values of a config for a journal, with the secret parts of `output.notify` masked."""
    output = values.get("output")
    if not isinstance(output, Mapping) or not output.get("notify"):
        return dict(values)
    return {**values, "output": {**output, "notify": mask_notify_entries(output["notify"])}}


def fill_notify_entry(entry: str, environment: Mapping[str, str]) -> tuple[str, list[str]]:
    """Fill in an entry's environment variables; also return the names of those that are not set."""
    missing = [name for name in _VARIABLE.findall(entry) if not environment.get(name)]
    return _VARIABLE.sub(lambda found: environment.get(found[1], "").strip(), entry), missing


def _shown_address(address: str) -> str:
    try:
        parts = urlsplit(address)
        host, port = one_line(parts.hostname or MASK, 200), parts.port
    except ValueError:
        return f"https://{MASK}/{MASK}"
    if "$" in host or "{" in host:  # a variable, whose value is filled in only when a message is sent
        host = MASK
    host = f"[{host}]" if ":" in host else host
    place = f"{host}:{port}" if port else host
    return f"{parts.scheme or 'https'}://{place}/{MASK}"


def _address_problem(address: str, entry: str) -> str:
    try:
        parts = urlsplit(address)
        host, _port = parts.hostname, parts.port
    except ValueError:
        host, parts = None, None
    if parts is None or not host or parts.scheme not in ("http", "https"):
        return _("{entry} is not a valid URL", entry=_cut_entry(entry))
    return ""


def _topic_in(address: str) -> str:
    return urlsplit(address).path.strip("/")


def _no_topic(entry: str) -> str:
    return _(
        "{entry} has no valid ntfy topic: up to 64 letters, digits, - and _, as in ntfy:my-runs",
        entry=_cut_entry(entry),
    )


def _cut_entry(entry: str) -> str:
    """Return the beginning of an entry, too short to reveal a secret."""
    return repr(entry if len(entry) <= 20 else f"{entry[:12]}...") if entry else "''"
