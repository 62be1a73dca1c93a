"""Answers from a YAML file: every mistake is told with its file, line and key, and what is known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tui_tuner.config.load import read_text
from tui_tuner.config.problems import nearest
from tui_tuner.config.yamltext import BadYaml, parse_yaml
from tui_tuner.errors import ConfigError
from tui_tuner.guiding import asked
from tui_tuner.guiding.answers import Answers
from tui_tuner.guiding.goals import find_goal
from tui_tuner.locales import _
from tui_tuner.text import one_line

KEYS = ("task", "data", "model", "machine", "budget", "judge")
_NUMBERS = ("machine", "budget")  # which may be written as one


@dataclass(frozen=True)
class AnswersFile:
    """The answers of a file, and where each stands.

    Args:
        path: As it was named.
        lines: The line of each key, from 1.
    """

    answers: Answers
    path: Path
    lines: Mapping[str, int] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        """Where paths of the answers are looked for first."""
        return self.path.parent.absolute()

    def place(self, key: str) -> str:
        """`answers.yaml:3`."""
        line = self.lines.get(key)
        return f"{one_line(self.path)}:{line}" if line else one_line(self.path)

    def placed(self, error: ConfigError) -> ConfigError:
        """An error about an answer, with its place."""
        key = error.where if error.where in KEYS else error.field
        if key not in KEYS:
            return error
        return ConfigError(f"{key}: {error.what}", where=self.place(key), hint=error.hint, field=key)


def read_answers(path: str | Path) -> Answers:
    """The answers in a YAML file. Keys that are missing or empty are left out.

    Raises:
        ConfigError: the file is missing or no YAML, or holds unknown keys or values.
    """
    return read_answers_file(path).answers


def read_answers_file(path: str | Path) -> AnswersFile:
    """The same with the place of each answer.

    Raises:
        ConfigError: as `read_answers`.
    """
    file = Path(path)
    values, lines = _read(file)
    found = AnswersFile(Answers(), file, lines)
    for key in values:
        if key not in KEYS:
            told = _("unknown key {name!r}.", name=one_line(key, 80)) + nearest(str(key), KEYS)
            hint = _("Known are {names}.", names=", ".join(KEYS))
            raise ConfigError(told, where=found.place(str(key)), hint=hint, field=one_line(key, 80))
    try:
        answers = Answers(**{key: _checked(key, value) for key, value in values.items()})
        _check_words(answers)
    except ConfigError as error:
        raise found.placed(error) from None
    return replace(found, answers=answers)


def _read(file: Path) -> tuple[dict[str, Any], dict[str, int]]:
    """What stands in a file of answers; nothing where it is empty."""
    try:
        values, lines = parse_yaml(read_text(file))
    except BadYaml as bad:
        where = f"{one_line(file)}:{bad.line}" if bad.line else one_line(file)
        raise ConfigError(bad.sentence(), where=where, hint=bad.hint, field=one_line(bad.path, 80)) from None
    if values is None:
        return {}, {}
    if not isinstance(values, dict):
        hint = _("Write lines such as `data: rows.jsonl`. Known are {names}.", names=", ".join(KEYS))
        raise ConfigError(_("holds no `key: value` lines."), where=one_line(file), hint=hint)
    return values, lines


def _checked(key: str, value: Any) -> Any:
    """A value of the right kind; None where it is left out.

    Raises:
        ConfigError: of another kind.
    """
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    if key == "judge":
        if isinstance(value, str) or (isinstance(value, list) and all(isinstance(one, str) for one in value)):
            return tuple(value) if isinstance(value, list) else value
        raise _wrong_kind(key, value, _("held-out, the name of a metric, or a list of prompts"))
    if isinstance(value, str):
        return value.strip()
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if key in _NUMBERS and number:
        return value if key == "budget" else f"{value:g}"
    raise _wrong_kind(key, value, _("a text or a number") if key in _NUMBERS else _("a text"))


def _wrong_kind(key: str, value: Any, expected: str) -> ConfigError:
    said = _("expected {what}, got {got}.", what=expected, got=one_line(repr(value), 80))
    return ConfigError(said, where=key, field=key)


def _check_words(answers: Answers) -> None:
    """Words that mean something, as far as it can be told without looking at data.

    Raises:
        ConfigError: one that means nothing.
    """
    goal = find_goal(answers.task) if answers.task else None
    asked.read_machine(answers.machine)
    asked.read_limit(answers.budget)
    task = goal.task if goal else None
    if task:
        asked.read_judge(answers.judge, task)
