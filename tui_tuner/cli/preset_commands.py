"""`tui-tuner presets`: lists the presets, or prints one."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from tui_tuner.cli.options import Json
from tui_tuner.errors import UsageError
from tui_tuner.locales import N_, _
from tui_tuner.text import one_line


class _PresetGroup(TyperGroup):
    """A group in which `presets NAME` means `presets show NAME`."""

    def resolve_command(self, context: Any, arguments: list[str]) -> Any:
        if arguments and not arguments[0].startswith("-") and arguments[0] not in self.commands:
            # Names of presets are not commands, so Typer would report an unknown command
            arguments = ["show", *arguments]
        return super().resolve_command(context, arguments)


app = typer.Typer(
    name="presets",
    cls=_PresetGroup,
    help=N_("List the presets that come with the package, or show one."),
    invoke_without_command=True,
    rich_markup_mode=None,
)


@app.callback()
def print_presets(context: typer.Context, json: Json = False) -> None:
    """List the presets that come with the package, or show one."""
    if context.invoked_subcommand is not None:
        return
    from tui_tuner.config.presets import list_presets

    found = list_presets()
    if json:
        import orjson

        rows = [
            {"name": item.name, "description": item.description, "path": str(item.path)} for item in found
        ]
        typer.echo(orjson.dumps(rows, option=orjson.OPT_INDENT_2).decode())
        return
    width = max((len(item.name) for item in found), default=0)
    for item in found:
        typer.echo(f"{item.name:{width}}  {one_line(_(item.description))}")


@app.command("show")
def print_preset(
    name: Annotated[str, typer.Argument(help=N_("The name of a preset."), metavar="NAME")],
) -> None:
    """Print the file of a preset, as a start for your own config."""
    from tui_tuner.config.presets import list_presets

    known = {preset.name: preset.path for preset in list_presets()}
    path = known.get(name.removesuffix(".yaml"))
    if path is None:
        from tui_tuner.config.problems import suggest_nearest

        raise UsageError(
            f"{_('no preset {name!r}.', name=one_line(name, 80))}{suggest_nearest(name, known)}",
            hint=_("`tui-tuner presets` lists them."),
        )
    # Exactly the file, without the changes that a terminal library would make to long lines
    sys.stdout.write(path.read_text(encoding="utf-8"))
