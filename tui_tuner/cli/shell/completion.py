"""`tui-tuner completion`: prints a script that lets a shell complete commands, options and names.

The shell then calls `tui-tuner` with `_TUI_TUNER_COMPLETE` in its environment:
`completion_answers.answer_shell_completion` answers.
"""

from __future__ import annotations

from typing import Annotated

import typer

from tui_tuner.errors import UsageError
from tui_tuner.locales import N_, _
from tui_tuner.text import one_line

VARIABLE = "_TUI_TUNER_COMPLETE"
SHELLS = ("bash", "zsh", "fish")
PROGRAM = "tui-tuner"
# After `field=` follows its value, so Bash must not add a space
_RETURN = "    return 0\n}"
_NO_SPACE = '    [[ "${COMPREPLY[0]-}" == *= ]] && compopt -o nospace\n    return 0\n}'


def print_completion_script(
    shell: Annotated[str, typer.Argument(help=N_("bash, zsh or fish."), metavar="SHELL")],
) -> None:
    """Print a script that lets a shell complete commands, names and fields.

    \b
    To use it in every new shell (zsh: after the line with compinit):
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

    script = get_completion_script(prog_name=PROGRAM, complete_var=VARIABLE, shell=shell)
    typer.echo(script.replace(_RETURN, _NO_SPACE) if shell == "bash" else script)
