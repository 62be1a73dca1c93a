"""Answers a shell that completes a command line; `completion` prints the script that asks."""

from __future__ import annotations

import contextlib
import os

from tui_tuner.cli.commands import command
from tui_tuner.cli.shell.completion import PROGRAM, VARIABLE
from tui_tuner.cli.shell.words import offer_words


def complete() -> int:
    """Print what could stand at the cursor, a line each. Nothing heavy is imported."""
    from typer.completion import completion_init

    completion_init()
    _keep_rich_out()
    _join_around_equals()
    made = command()
    offer_words(made)
    try:
        made(args=[], prog_name=PROGRAM, complete_var=VARIABLE)
    except SystemExit as done:
        return done.code if isinstance(done.code, int) else 0
    return 0


def _keep_rich_out() -> None:
    """Zsh and fish show help beside words. Typer loads Rich to take markup out of it, and ours has none."""
    with contextlib.suppress(ImportError, AttributeError):
        from typer import _completion_classes

        _completion_classes._sanitize_help_text = lambda text: text


def _join_around_equals() -> None:
    """Bash takes `method.kind=lora` apart at the =, and what is completed is the word behind it alone."""
    if os.environ.get(VARIABLE) != "complete_bash":
        return
    words = os.environ.get("COMP_WORDS", "").split("\n")
    cursor = int(os.environ.get("COMP_CWORD", "0") or 0)
    joined: list[str] = []
    place = cursor
    for index, word in enumerate(words):
        glued = bool(joined) and (word == "=" or (index > 1 and words[index - 1] == "="))
        if glued:
            joined[-1] += word
            place -= index <= cursor
        else:
            joined.append(word)
    os.environ["COMP_WORDS"], os.environ["COMP_CWORD"] = "\n".join(joined), str(place)
