"""Answers requests of a shell for completions; the script from `completion` sends them."""

from __future__ import annotations

import contextlib
import os

from tui_tuner.cli.command_list import build_command
from tui_tuner.cli.shell.completion import PROGRAM, VARIABLE
from tui_tuner.cli.shell.offers import offer_words


def answer_shell_completion() -> int:
    """Print possible words at the cursor, one per line. Imports nothing heavy, as every Tab calls it."""
    from typer.completion import completion_init

    completion_init()
    _keep_rich_out()
    _join_around_equals()
    made = build_command()
    # After `build_command()`, as parameters only exist once the commands are built
    offer_words(made)
    try:
        made(args=[], prog_name=PROGRAM, complete_var=VARIABLE)
    except SystemExit as done:
        return done.code if isinstance(done.code, int) else 0
    return 0


def _keep_rich_out() -> None:
    """Keep Typer from importing Rich to strip markup from help texts: ours have none, and it is slow."""
    with contextlib.suppress(ImportError, AttributeError):
        from typer import _completion_classes

        _completion_classes._sanitize_help_text = lambda text: text


def _join_around_equals() -> None:
    """Join the parts of words such as `method.kind=lora`, which Bash splits at the =."""
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
            # The cursor's word moves left by one for each part that is joined before it
            place -= index <= cursor
        else:
            joined.append(word)
    os.environ["COMP_WORDS"], os.environ["COMP_CWORD"] = "\n".join(joined), str(place)
