"""Where messages about a run go (`output.notify`): how an entry is written, and what of it may be shown.

An entry is `bell`, `desktop`, `ntfy:TOPIC`, `ntfy:https://server/topic` or the address of a webhook. Whoever
knows such an address can write to it, so it counts as a secret: journals and messages name its host alone.
`${NAME}` in an entry stands for a variable of the environment, so that the config does not hold it at all.
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
MASK = "hidden"  # in the place of what is not shown; what is left is an entry, too

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_TOPIC = re.compile(r"[-_A-Za-z0-9]{1,64}")  # as ntfy takes them
_BETWEEN = re.compile(r"\s+|,\s+|,(?=(?:bell|desktop|ntfy:|https?:|\$\{))")
_CONTROL = re.compile(r"[\x00-\x20\x7f-\x9f]")


def entries_in(text: str) -> list[str]:
    """The entries of a line that somebody typed, divided by commas or spaces."""
    return [part.strip().rstrip(",") for part in _BETWEEN.split(text.strip()) if part.strip(", ")]


def problem_of(entry: str) -> str:
    """Why this is no place to send a message to, as a sentence without its stop; empty if it is one."""
    bare = _VARIABLE.sub("X", entry)
    if "${" in bare:
        return _("{entry} has a ${{ that no name follows; write ${{NAME}}", entry=_cut(entry))
    if entry in WORDS or (bare == "X" and bare != entry):
        return ""
    if _CONTROL.search(bare):
        return _("{entry} holds a space or a character that no address has", entry=_cut(entry))
    kind, colon, rest = bare.partition(":")
    if kind == "ntfy" and colon:
        if "://" not in rest:
            return "" if _TOPIC.fullmatch(rest) else _no_topic(entry)
        return _address_problem(rest, entry) or ("" if _topic_in(rest) else _no_topic(entry))
    if kind in ("http", "https") and rest.startswith("//"):
        return _address_problem(bare, entry)
    return _(
        "{entry} is none of bell, desktop, ntfy:TOPIC, ntfy:https://server/topic and the https:// address "
        "of a webhook",
        entry=_cut(entry),
    )


def shown_entry(entry: str) -> str:
    """An entry as it may stand in a journal: the host of an address, and that there is a topic."""
    if entry in WORDS or _VARIABLE.fullmatch(entry):
        return entry
    kind, _unused, rest = entry.partition(":")
    if kind == "ntfy":
        return f"ntfy:{_shown_address(rest)}" if "://" in rest else f"ntfy:{MASK}"
    return _shown_address(entry)


def shown_entries(entries: Iterable[Any]) -> list[str]:
    """The same of several."""
    return [shown_entry(str(entry)) for entry in entries]


def without_addresses(values: Mapping[str, Any]) -> dict[str, Any]:
    """Plain values of a config, for a journal: they tell where messages go, but no address to write to."""
    output = values.get("output")
    if not isinstance(output, Mapping) or not output.get("notify"):
        return dict(values)
    return {**values, "output": {**output, "notify": shown_entries(output["notify"])}}


def filled(entry: str, environment: Mapping[str, str]) -> tuple[str, list[str]]:
    """An entry with the values of its variables, and the names of those that are not set."""
    missing = [name for name in _VARIABLE.findall(entry) if not environment.get(name)]
    return _VARIABLE.sub(lambda found: environment.get(found[1], "").strip(), entry), missing


def _shown_address(address: str) -> str:
    try:
        parts = urlsplit(address)
        host, port = one_line(parts.hostname or MASK, 200), parts.port
    except ValueError:
        return f"https://{MASK}/{MASK}"
    if "$" in host or "{" in host:  # a variable, whose value nobody knows here
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
        return _("{entry} is no address", entry=_cut(entry))
    return ""


def _topic_in(address: str) -> str:
    return urlsplit(address).path.strip("/")


def _no_topic(entry: str) -> str:
    return _(
        "{entry} names no topic of ntfy: up to 64 letters, digits, - and _, as in ntfy:my-runs",
        entry=_cut(entry),
    )


def _cut(entry: str) -> str:
    """The beginning of an entry, too short to hold a secret."""
    return repr(entry if len(entry) <= 20 else f"{entry[:12]}...") if entry else "''"
