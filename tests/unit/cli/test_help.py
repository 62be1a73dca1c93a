"""The help of every command: in groups, whole at 80 columns, with examples that work."""

from __future__ import annotations

import itertools
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tui_tuner.cli.command_list import build_command
from tui_tuner.cli.shell.grouped import GROUPS
from tui_tuner.cli.shell.help_examples import EXAMPLES

ROOT = Path(__file__).parents[3]


def commands(made: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Every command by its name, those with commands below them too."""
    yield name, made
    for inner, one in getattr(made, "commands", {}).items():
        yield from commands(one, f"{name} {inner}".strip())


ALL = dict(commands(build_command()))


def shown(name: str) -> str:
    environment = {**os.environ, "COLUMNS": "80", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-P", "-m", "tui_tuner", *name.split(), "--help"],
        env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout


def test_the_top_has_its_commands_in_groups_with_whole_summaries() -> None:
    text = shown("")
    lines = text.splitlines()
    assert max(map(len, lines)) <= 80 and "..." not in text.partition("\n")[2] and "…" not in text
    titles = [f"{title}:" for title, _names in GROUPS]
    assert [line for line in lines if line in titles] == titles
    assert "Others:" not in lines, "put the new command into a group: cli/shell/grouped.py"
    words = " ".join(text.split())
    for name, made in ALL.items():
        if name and " " not in name:
            assert f"{name} {' '.join(made.short_help.split())}" in words, name


@pytest.mark.parametrize("name", ALL)
def test_every_command_shows_examples(name: str) -> None:
    epilog = ALL[name].epilog
    assert "Example" in epilog and f"tui-tuner {name}".strip() in epilog, name
    examples = [line.strip() for line in epilog.splitlines() if line.startswith("  tui-tuner")]
    assert examples
    for example in examples:
        check(shlex.split(example, comments=True)[1:])


def check(words: list[str]) -> None:
    """Parse an example as a shell would give it; its command is not carried out."""
    words = [*itertools.takewhile(lambda word: word not in ("|", "<", ">"), words)]
    made = ALL[""]
    context = made.make_context("tui-tuner", list(words), resilient_parsing=False)
    while getattr(made, "commands", None) and context._protected_args + context.args:
        rest = [*context._protected_args, *context.args]
        name, made, rest = made.resolve_command(context, rest)
        context = made.make_context(name, rest, parent=context)


def test_no_example_is_for_a_command_that_is_not_there_or_planned() -> None:
    planned = {name for _title, names in GROUPS for name in names}
    assert {name.split()[0] for name in EXAMPLES if name} <= planned


@pytest.mark.parametrize("name", ["", "run", "data mask", "completion"])
def test_help_fits_80_columns(name: str) -> None:
    lines = shown(name).splitlines()
    assert max(map(len, lines)) <= 80
    assert any(line.startswith("  Example") for line in lines)
