"""`tui-tuner completion`: a script that lets a shell complete commands, options, names and fields at a press of Tab.

The shell then calls `tui-tuner` with `_TUI_TUNER_COMPLETE` in its environment, and prints what it says.
"""

from __future__ import annotations

import os
from typing import Annotated

import typer

from tui_tuner.errors import UsageError
from tui_tuner.locales import N_, _
from tui_tuner.text import one_line

VARIABLE = "_TUI_TUNER_COMPLETE"
SHELLS = ("bash", "zsh", "fish")
_PROGRAM = "tui-tuner"
# A field goes on with its value: no space behind the =
_RETURN = "    return 0\n}"
_NO_SPACE = '    [[ "${COMPREPLY[0]-}" == *= ]] && compopt -o nospace\n    return 0\n}'


def completion(
    shell: Annotated[str, typer.Argument(help=N_("bash, zsh or fish."), metavar="SHELL")],
) -> None:
    """Print a script that lets a shell complete commands, names and fields.

    \b
    To have it in every new shell (zsh: below the line of compinit):
    bash  echo 'eval "$(tui-tuner completion bash)"' >> ~/.bashrc
    zsh   echo 'eval "$(tui-tuner completion zsh)"' >> ~/.zshrc
    fish  echo 'tui-tuner completion fish | source' >> ~/.config/fish/config.fish
    """
    if shell not in SHELLS:
        raise UsageError(
            _("no completion for the shell {shell!r}.", shell=one_line(shell, 40)),
            hint=_("Known are {names}.", names=", ".join(SHELLS)),
        )
    from typer.completion import get_completion_script

    script = get_completion_script(prog_name=_PROGRAM, complete_var=VARIABLE, shell=shell)
    typer.echo(script.replace(_RETURN, _NO_SPACE) if shell == "bash" else script)


def complete() -> int:
    """Answer a shell that completes: what could stand at the cursor, a line each. Nothing heavy is imported."""
    from typer.completion import completion_init

    from tui_tuner.cli.commands import command
    from tui_tuner.cli.shell.words import offer_words

    completion_init()
    _join_around_equals()
    made = command()
    offer_words(made)
    try:
        made(args=[], prog_name=_PROGRAM, complete_var=VARIABLE)
    except SystemExit as done:
        return done.code if isinstance(done.code, int) else 0
    return 0


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
