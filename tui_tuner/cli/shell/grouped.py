"""`tui-tuner --help`: lists commands in groups with full summaries, and adds examples to each help text."""

from __future__ import annotations

from typing import Any

from typer.core import TyperGroup

from tui_tuner.cli.shell.help_examples import EXAMPLES
from tui_tuner.locales import N_, _

# Headings and their commands; commands that are not listed come last
GROUPS: tuple[tuple[str, tuple[str, ...]], ...] = (
    (N_("Train"), ("guide", "demo", "run", "edit", "presets", "methods")),
    (N_("Before a run"), ("estimate", "lr", "data", "models")),
    (N_("Watch and steer a run"), ("attach", "pause", "continue", "save", "evaluate", "stop", "resume")),
    (N_("After a run"), ("verdict", "runs", "chat", "predict", "ask", "merge", "export", "serve")),
    (N_("This machine"), ("doctor", "cache", "completion")),
)


class GroupedCommands(TyperGroup):
    """The top-level command, whose help lists the other commands in groups."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        named = {name for _title, names in GROUPS for name in names}
        # A new command that nobody has put into a group must not be missing from the help
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


def complete_command_help(made: Any, name: str = "") -> None:
    """Give every command its help in the user's language, a full summary, and examples.

    Help is declared in English (docstrings, `N_`) when modules are imported, before the language is known.
    """
    made.help, made.epilog = _(made.help or ""), _(made.epilog or "")
    # Click would cut the summary at 45 characters
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
        complete_command_help(inner, f"{name} {inner_name}".strip())
