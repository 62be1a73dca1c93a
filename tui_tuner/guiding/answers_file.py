"""Reads answers from a YAML file; every error names the file, line and key, and the known values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tui_tuner.config.load import read_config_text
from tui_tuner.config.problems import suggest_nearest
from tui_tuner.config.yamltext import BadYaml, parse_yaml
from tui_tuner.errors import ConfigError
from tui_tuner.guiding import answer_parsing
from tui_tuner.guiding.goals import find_goal
from tui_tuner.guiding.guide_answers import Answers
from tui_tuner.locales import _
from tui_tuner.text import one_line

KEYS = ("task", "data", "model", "machine", "budget", "judge")
_NUMBERS = ("machine", "budget")  # keys that may be written as a number


@dataclass(frozen=True)
class AnswersFile:
    """The answers of a file, with the line of each.

    Args:
        path: The path as the user wrote it.
        lines: The line of each key, counted from 1.
    """

    answers: Answers
    path: Path
    lines: Mapping[str, int] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        """Return the folder in which paths of the answers are looked up first."""
        return self.path.parent.absolute()

    def format_place(self, key: str) -> str:
        """Format the place of a key, such as `answers.yaml:3`."""
        line = self.lines.get(key)
        return f"{one_line(self.path)}:{line}" if line else one_line(self.path)

    def add_place(self, error: ConfigError) -> ConfigError:
        """Add the place in the file to an error about an answer."""
        # Errors of parsers name the answer in `where`, those of the config name a field
        key = error.where if error.where in KEYS else error.field
        if key not in KEYS:
            return error
        return ConfigError(f"{key}: {error.what}", where=self.format_place(key), hint=error.hint, field=key)


def read_guide_answers(path: str | Path) -> Answers:
    """Read the answers in a YAML file; missing and empty keys are None.

    Raises:
        ConfigError: the file is missing or not valid YAML, or holds unknown keys or values.
    """
    return read_answers_file(path).answers


def read_answers_file(path: str | Path) -> AnswersFile:
    """Read the answers of a file together with their lines.

    Raises:
        ConfigError: as `read_guide_answers`.
    """
    file = Path(path)
    # The lines are needed before the answers are checked, so that every error can name its own
    values, lines = _parse_answers(file)
    found = AnswersFile(Answers(), file, lines)
    for key in values:
        if key not in KEYS:
            told = _("unknown key {name!r}.", name=one_line(key, 80)) + suggest_nearest(str(key), KEYS)
            hint = _("Known are {names}.", names=", ".join(KEYS))
            raise ConfigError(told, where=found.format_place(str(key)), hint=hint, field=one_line(key, 80))
    try:
        answers = Answers(**{key: _check_value(key, value) for key, value in values.items()})
        _check_words(answers)
    except ConfigError as error:
        raise found.add_place(error) from None
    return replace(found, answers=answers)


def _parse_answers(file: Path) -> tuple[dict[str, Any], dict[str, int]]:
    """Parse a file of answers into (values, line of each key); both empty for an empty file."""
    try:
        values, lines = parse_yaml(read_config_text(file))
    except BadYaml as bad:
        where = f"{one_line(file)}:{bad.line}" if bad.line else one_line(file)
        raise ConfigError(
            bad.describe_problem(), where=where, hint=bad.hint, field=one_line(bad.path, 80)
        ) from None
    if values is None:
        return {}, {}
    if not isinstance(values, dict):
        hint = _("Write lines such as `data: rows.jsonl`. Known are {names}.", names=", ".join(KEYS))
        raise ConfigError(_("holds no `key: value` lines."), where=one_line(file), hint=hint)
    return values, lines


def _check_value(key: str, value: Any) -> Any:
    """Check the type of a value; None for an empty one.

    Raises:
        ConfigError: the value has another type.
    """
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    if key == "judge":
        if isinstance(value, str) or (isinstance(value, list) and all(isinstance(one, str) for one in value)):
            return tuple(value) if isinstance(value, list) else value
        raise _refuse_type(key, value, _("held-out, the name of a metric, or a list of prompts"))
    if isinstance(value, str):
        return value.strip()
    # YAML reads `yes` and `on` as booleans, which Python counts as integers
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if key in _NUMBERS and number:
        # `machine: 24` means 24 GB; the parser of machines reads text
        return value if key == "budget" else f"{value:g}"
    raise _refuse_type(key, value, _("a text or a number") if key in _NUMBERS else _("a text"))


def _refuse_type(key: str, value: Any, expected: str) -> ConfigError:
    said = _("expected {what}, got {got}.", what=expected, got=one_line(repr(value), 80))
    return ConfigError(said, where=key, field=key)


def _check_words(answers: Answers) -> None:
    """Check that the answers can be understood, as far as that needs no look at the data.

    Raises:
        ConfigError: an answer that is not understood.
    """
    goal = find_goal(answers.task) if answers.task else None
    answer_parsing.parse_machine_answer(answers.machine)
    answer_parsing.parse_limit_answer(answers.budget)
    task = goal.known_task if goal else None
    if task:
        answer_parsing.parse_judge_answer(answers.judge, task)
