"""What is wrong with a text that somebody has edited, line by line, and what of it is right."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tui_tuner.config import peers
from tui_tuner.config.load import MAX_CONFIG_BYTES, config_problems
from tui_tuner.config.options import known_field, options
from tui_tuner.config.paths import take_from_beside
from tui_tuner.config.writing.flat import flat, sections
from tui_tuner.config.yamltext import BadYaml, parse_yaml
from tui_tuner.locales import _
from tui_tuner.ui.form import applied, given, put, without

_TRIES = 5  # what is taken away because of one problem may show another


@dataclass(frozen=True)
class Wrong:
    """One mistake.

    Args:
        line: Where it stands, from 1; 0 where no line has it.
        shown: That line.
        path: The dotted name that it is about; empty where it is about the text.
    """

    line: int
    shown: str
    path: str
    sentence: str


@dataclass
class Reading:
    """A text, read.

    Args:
        values: What it says; of a text that is no YAML, what can be read of it.
        whole: Whether all of it could be read.
        peer: The program whose config it looks like.
        notes: What is to be known of its paths.
    """

    values: dict[str, Any]
    wrong: list[Wrong] = field(default_factory=list)
    whole: bool = True
    peer: str = ""
    notes: list[str] = field(default_factory=list)

    def right(self, before: Mapping[str, Any]) -> dict[str, Any]:
        """The values that are right; in the place of a wrong one, what was there before."""
        values = copy.deepcopy(self.values)
        for attempt in range(_TRIES):
            problems = [path for path in config_problems(applied(values)) if path]
            if not problems:
                return values
            for path in problems:
                name = known_field(path)
                old = given(before, name) if name and not attempt else None
                values = without(values, [name or path])
                if old is not None:
                    put(values, name, copy.deepcopy(old))
        return copy.deepcopy(dict(before))


def read_text(text: str, folder: Path | None = None) -> Reading:
    """Read a text; relative paths in it are seen from a folder, if one is given."""
    lines = text.splitlines()
    if not text.strip():
        return Reading(
            {}, [Wrong(0, "", "", _("The text is empty: every setting would be at its default."))], False
        )
    if len(text.encode("utf-8", "replace")) > MAX_CONFIG_BYTES:
        return Reading({}, [Wrong(0, "", "", _("It is larger than 1 MiB, so it is no config."))], False)
    try:
        values, places = parse_yaml(text)
    except BadYaml as bad:
        return _in_parts(text, bad)
    if values is None:
        values = {}
    if not isinstance(values, dict):
        sentence = _("It holds no `key: value` lines.")
        return Reading({}, [Wrong(1, lines[0], "", sentence)], False)
    return _judged(values, places, lines, folder)


def _judged(
    values: dict[str, Any], places: Mapping[str, int], lines: list[str], folder: Path | None
) -> Reading:
    values = _without_empty({str(key): value for key, value in values.items()})
    notes = take_from_beside(values, folder) if folder is not None else []
    problems = config_problems(applied(values))
    wrong = []
    for path, sentence in problems.items():
        line = _line_of(path, places)
        wrong.append(Wrong(line, _at(lines, line), path, sentence))
    wrong.sort(key=lambda one: one.line or len(lines) + 1)
    return Reading(
        values, wrong, True, peers.whose(path for path in problems if path not in options()), notes
    )


def _without_empty(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Values without the sections of which nothing but comments is left."""
    found = {}
    for key, value in values.items():
        if f"{prefix}{key}" in sections():
            value = _without_empty(value, f"{prefix}{key}.") if isinstance(value, dict) else value
            if not value and value in (None, {}):
                continue
        found[key] = value
    return found


def _line_of(path: str, places: Mapping[str, int]) -> int:
    """The line of a name, or of the nearest that it lies in."""
    while path:
        if path in places:
            return places[path]
        path = path.rpartition(".")[0]
    return 0


def _at(lines: list[str], line: int) -> str:
    return lines[line - 1].strip() if 0 < line <= len(lines) else ""


def _in_parts(text: str, bad: BadYaml) -> Reading:
    """Of a text that is no YAML, the parts that are: from one key at the left edge to the next."""
    lines = text.splitlines()
    values: dict[str, Any] = {}
    wrong = []
    starts = [number for number, line in enumerate(lines) if re.match(r"[^\s#\-\]}]", line)]
    for start, end in zip(starts, [*starts[1:], len(lines)], strict=True):
        try:
            found = parse_yaml("\n".join(lines[start:end]) + "\n")[0]
            if not isinstance(found, dict):
                raise BadYaml(_("it holds no `key: value` lines"), 1)
            values = {**found, **values}  # of a key that stands twice, the first: it is told below
        except BadYaml as problem:
            line = start + min(problem.line or 1, end - start)
            wrong.append(Wrong(line, _at(lines, line), problem.path, _told(problem)))
    if not wrong:  # each part alone is fine: it is their order, or a key that stands twice
        wrong = [Wrong(bad.line or 0, _at(lines, bad.line or 0), bad.path, _told(bad))]
    known = {key: value for key, value in values.items() if isinstance(key, str)}
    return Reading(known, wrong, False)


def _told(bad: BadYaml) -> str:
    said = f"{bad.problem[:1].upper()}{bad.problem[1:]}."
    if not bad.valid:
        said = _("Not valid YAML: {problem}.", problem=bad.problem)
    return f"{said} {bad.hint}" if bad.hint else said


def is_config(reading: Reading) -> bool:
    """Whether a text has anything of a config in it."""
    return any(path in options() or known_field(path) for path in flat(reading.values)) or bool(reading.peer)
