"""Checks an edited YAML text: mistakes by line, and the values that are valid."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tui_tuner.config import peers
from tui_tuner.config.load import MAX_CONFIG_BYTES, find_config_problems
from tui_tuner.config.options import find_known_field, list_options
from tui_tuner.config.paths import resolve_config_paths
from tui_tuner.config.writing.flat import flatten_config, list_config_sections
from tui_tuner.config.yamltext import BadYaml, parse_yaml
from tui_tuner.locales import _
from tui_tuner.ui.form_values import drop_draft_keys, drop_ineffective_fields, find_given, set_draft_value

_TRIES = 5  # removing one wrong value may reveal another problem


@dataclass(frozen=True)
class Mistake:
    """One mistake.

    Args:
        line: Its number, from 1; 0 if it belongs to no line.
        shown: The text of that line.
        path: The dotted name that it is about; empty if it is about the whole text.
    """

    line: int
    shown: str
    path: str
    sentence: str


@dataclass
class CheckedText:
    """A text after parsing and checking.

    Args:
        values: Its values; of invalid YAML, those that could be read.
        whole: True if all of it could be parsed.
        peer: Another program whose config it looks like.
        notes: Notes about its paths.
    """

    values: dict[str, Any]
    wrong: list[Mistake] = field(default_factory=list)
    whole: bool = True
    peer: str = ""
    notes: list[str] = field(default_factory=list)

    def keep_valid_values(self, before: Mapping[str, Any]) -> dict[str, Any]:
        """Return the valid values, with those from before in place of invalid ones."""
        values = copy.deepcopy(self.values)
        for attempt in range(_TRIES):
            problems = [path for path in find_config_problems(drop_ineffective_fields(values)) if path]
            if not problems:
                return values
            for path in problems:
                name = find_known_field(path)
                # Only on the first try: the old value may itself be what does not fit the new values.
                old = find_given(before, name) if name and not attempt else None
                values = drop_draft_keys(values, [name or path])
                if old is not None:
                    set_draft_value(values, name, copy.deepcopy(old))
        return copy.deepcopy(dict(before))


def check_edited_text(text: str, folder: Path | None = None) -> CheckedText:
    """Parse and check a text; its relative paths are relative to `folder`, if given."""
    lines = text.splitlines()
    if not text.strip():
        return CheckedText(
            {}, [Mistake(0, "", "", _("The text is empty: every setting would be at its default."))], False
        )
    if len(text.encode("utf-8", "replace")) > MAX_CONFIG_BYTES:
        return CheckedText(
            {}, [Mistake(0, "", "", _("It is larger than 1 MiB, so it is not a config."))], False
        )
    try:
        values, places = parse_yaml(text)
    except BadYaml as bad:
        return _read_parts(text, bad)
    if values is None:
        values = {}
    if not isinstance(values, dict):
        sentence = _("It has no `key: value` lines.")
        return CheckedText({}, [Mistake(1, lines[0], "", sentence)], False)
    return _judge_values(values, places, lines, folder)


def _judge_values(
    values: dict[str, Any], places: Mapping[str, int], lines: list[str], folder: Path | None
) -> CheckedText:
    values = _without_empty({str(key): value for key, value in values.items()})
    notes = resolve_config_paths(values, folder) if folder is not None else []
    problems = find_config_problems(drop_ineffective_fields(values))
    wrong = []
    for path, sentence in problems.items():
        line = _line_of(path, places)
        wrong.append(Mistake(line, _get_line(lines, line), path, sentence))
    # Problems without a line come last.
    wrong.sort(key=lambda one: one.line or len(lines) + 1)
    return CheckedText(
        values,
        wrong,
        True,
        peers.name_peer_trainer(path for path in problems if path not in list_options()),
        notes,
    )


def _without_empty(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return the values without sections that contain nothing but comments."""
    found = {}
    for key, value in values.items():
        if f"{prefix}{key}" in list_config_sections():
            value = _without_empty(value, f"{prefix}{key}.") if isinstance(value, dict) else value
            if not value and value in (None, {}):
                continue
        found[key] = value
    return found


def _line_of(path: str, places: Mapping[str, int]) -> int:
    """Return the line of a name, or of the nearest section around it."""
    while path:
        if path in places:
            return places[path]
        path = path.rpartition(".")[0]
    return 0


def _get_line(lines: list[str], line: int) -> str:
    return lines[line - 1].strip() if 0 < line <= len(lines) else ""


def _read_parts(text: str, bad: BadYaml) -> CheckedText:
    """Read the valid parts of invalid YAML; a part reaches from one unindented key to the next."""
    lines = text.splitlines()
    values: dict[str, Any] = {}
    wrong = []
    # Unindented comments, list items and closing brackets do not start a part of their own.
    starts = [number for number, line in enumerate(lines) if re.match(r"[^\s#\-\]}]", line)]
    for start, end in zip(starts, [*starts[1:], len(lines)], strict=True):
        try:
            found = parse_yaml("\n".join(lines[start:end]) + "\n")[0]
            if not isinstance(found, dict):
                raise BadYaml(_("it has no `key: value` lines"), 1)
            values = {**found, **values}  # of a duplicate key the first counts; it is reported below
        except BadYaml as problem:
            line = start + min(problem.line or 1, end - start)
            wrong.append(Mistake(line, _get_line(lines, line), problem.path, _describe_bad_yaml(problem)))
    if not wrong:  # each part alone is valid: the problem is their order, or a duplicate key
        wrong = [Mistake(bad.line or 0, _get_line(lines, bad.line or 0), bad.path, _describe_bad_yaml(bad))]
    known = {key: value for key, value in values.items() if isinstance(key, str)}
    return CheckedText(known, wrong, False)


def _describe_bad_yaml(bad: BadYaml) -> str:
    said = f"{bad.problem[:1].upper()}{bad.problem[1:]}."
    if not bad.valid:
        said = _("Not valid YAML: {problem}.", problem=bad.problem)
    return f"{said} {bad.hint}" if bad.hint else said


def is_config_text(reading: CheckedText) -> bool:
    """Return whether a text contains any field of a config."""
    return any(
        path in list_options() or find_known_field(path) for path in flatten_config(reading.values)
    ) or bool(reading.peer)
