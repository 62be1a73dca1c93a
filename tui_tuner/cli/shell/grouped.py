"""`tui-tuner --help`: commands in groups, with summaries that are whole, and examples in the help of each."""

from __future__ import annotations

from typing import Any

from typer.core import TyperGroup

from tui_tuner.cli.shell.examples import EXAMPLES
from tui_tuner.locales import N_, _

# Which command stands under which heading; one that is named nowhere comes last
GROUPS: tuple[tuple[str, tuple[str, ...]], ...] = (
    (N_("Train"), ("guide", "demo", "run", "edit", "presets")),
    (N_("Before a run"), ("estimate", "lr", "data", "models")),
    (N_("Watch and steer a run"), ("attach", "pause", "continue", "save", "evaluate", "stop", "resume")),
    (N_("After a run"), ("verdict", "runs", "chat", "predict", "ask", "export")),
    (N_("This machine"), ("doctor", "cache", "completion")),
)


class GroupedCommands(TyperGroup):
    """The top of the command line."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        named = {name for _title, names in GROUPS for name in names}
        others = (N_("Others"), tuple(name for name in self.commands if name not in named))
        width = max(map(len, self.commands))
        for title, names in (*GROUPS, others):
            rows = [
                (name.ljust(width), self.commands[name].get_short_help_str())
                for name in names
                if name in self.commands and not self.commands[name].hidden
            ]
            if rows:
                with formatter.section(_(title)):
                    formatter.write_dl(rows)


def complete_help(made: Any, name: str = "") -> None:
    """Give every command its help in the user's language, a whole summary, and its examples.

    Help is declared in English (docstrings, `N_`), long before anybody knows who will read it.
    """
    made.help, made.epilog = _(made.help or ""), _(made.epilog or "")
    made.short_help = made.help.partition("\n\n")[0].replace("\n", " ").strip()
    lines = EXAMPLES.get(name, ())
    if lines and "tui-tuner " not in made.epilog:
        title = _("Example:") if len(lines) == 1 else _("Examples:")
        shown = "\n".join(["\b", title, *(f"  tui-tuner {line}" for line in lines)])
        made.epilog = f"{shown}\n\n{made.epilog}" if made.epilog else shown
    for parameter in made.params:
        if getattr(parameter, "help", None):
            parameter.help = _(parameter.help)
    for inner_name, inner in getattr(made, "commands", {}).items():
        complete_help(inner, f"{name} {inner_name}".strip())
