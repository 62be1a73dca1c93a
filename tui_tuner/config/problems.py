"""What is wrong with a config: a sentence for each field, and the nearest known name of a misspelt key."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from pydantic import ValidationError

from tui_tuner.config.options import options
from tui_tuner.locales import _
from tui_tuner.text import one_line


def nearest(name: str, known: Iterable[str]) -> str:
    """` Did you mean …?`, or an empty string."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return " " + _("Did you mean {name}?", name=close[0]) if close else ""


def problems_of(error: ValidationError) -> list[tuple[str, str]]:
    """One (path, sentence) for each field that is wrong."""
    found: dict[str, str] = {}
    for detail in error.errors(include_url=False):
        path = _path_of(detail["loc"])
        if detail["type"] == "extra_forbidden":
            what = _("unknown key {name!r}.", name=one_line(path))
            found[path] = f"{what}{_nearest_key(path)}"
        elif detail["type"] == "value_error" and not detail["loc"]:
            for problem in detail["msg"].removeprefix("Value error, ").splitlines():
                field, _unused, sentence = problem.partition(": ")
                found.setdefault(field, f"{field}: {sentence}.")
        elif path in options():
            option = options()[path]
            got = one_line(repr(detail["input"]), 80)
            if detail["type"] == "value_error":
                sentence = detail["msg"].removeprefix("Value error, ")
                found[path] = f"{path}: {one_line(sentence)}."
            else:
                sentence = _("expected {what}, got {got}.", what=option.expects(), got=got)
                found.setdefault(path, f"{path}: {sentence}")
        else:
            got = one_line(repr(detail["input"]), 80)
            sentence = _("{problem}, got {got}.", problem=one_line(detail["msg"]), got=got)
            found.setdefault(path, f"{one_line(path)}: {sentence}")
    return list(found.items())


def _path_of(location: tuple[int | str, ...]) -> str:
    """Dotted path of an error; the branches of a union, which pydantic appends, are cut off."""
    path = ""
    for part in location:
        longer = f"{path}.{part}" if path else str(part)
        if path in options():
            break
        path = longer
    return path


def _nearest_key(path: str) -> str:
    section, _unused, name = path.rpartition(".")
    inside = {known.rpartition(".")[2]: known for known in options() if known.rpartition(".")[0] == section}
    sections = {known.split(".")[0] for known in options() if not section}
    close = difflib.get_close_matches(name, [*inside, *sections], n=1, cutoff=0.6)
    if close:
        return " " + _("Did you mean {name}?", name=inside.get(close[0], close[0]))
    elsewhere = [known for known in options() if known.rpartition(".")[2] == name]
    if elsewhere:
        return " " + _("Did you mean {name}?", name=elsewhere[0])
    known = ", ".join(dict.fromkeys([*inside, *sorted(sections)]))
    return nearest(path, options()) or " " + _("Known are {names}.", names=known)
