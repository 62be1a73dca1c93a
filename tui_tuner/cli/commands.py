"""All commands in one place: what exists, and which module does it."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.main import get_command

from tui_tuner.cli import (
    data,
    edit,
    guide,
    history,
    models,
    plan,
    presets,
    range_test,
    runs,
    start,
    verdict,
)
from tui_tuner.cli.machine import cache
from tui_tuner.cli.options import Runs
from tui_tuner.cli.screen import open_workbench
from tui_tuner.cli.shell.completion import completion
from tui_tuner.cli.shell.grouped import GroupedCommands, complete_help
from tui_tuner.cli.using import ask, chat, predict
from tui_tuner.errors import UsageError
from tui_tuner.locales import N_, _

app = typer.Typer(
    name="tui-tuner",
    cls=GroupedCommands,
    help=N_("A workbench for fine-tuning language models that lives in a terminal."),
    epilog=N_(
        "Without a command it opens the workbench. --debug, anywhere, shows the traceback of an error."
    ),
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode=None,
)


def _version(value: bool) -> None:
    if value:
        from tui_tuner import __version__

        typer.echo(_("tui-tuner {version}", version=__version__))
        raise typer.Exit


@app.callback(invoke_without_command=True)
def workbench(
    context: typer.Context,
    runs_folder: Runs = "runs",
    version: Annotated[
        bool, typer.Option("--version", help=N_("Show the version."), callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Open the workbench, or do one of the commands."""
    if context.invoked_subcommand is None:
        raise typer.Exit(open_workbench(runs_folder))
    source = context.get_parameter_source("runs_folder")
    if source is not None and source.name == "COMMANDLINE":
        raise UsageError(
            _("--runs before a command is for the workbench alone."),
            hint=_("Put it behind: tui-tuner {command} … --runs FOLDER.", command=context.invoked_subcommand),
        )


app.command("guide")(guide.guide)
app.command("demo")(start.demo)
app.command("run")(start.run)
app.command("edit")(edit.edit)
app.command("resume")(start.resume)
app.command("attach")(runs.attach)
for _command, _help in runs.COMMAND_HELP.items():
    app.command(_command, help=_help)(runs.sender(_command))
app.command("verdict")(verdict.verdict)
app.command("ask")(ask.ask)
app.command("chat")(chat.chat)
app.command("predict")(predict.predict)
app.command("doctor")(runs.doctor)
app.command("estimate")(plan.estimate)
app.command("lr")(range_test.lr)
app.add_typer(presets.app, name="presets")
app.command("completion")(completion)
app.add_typer(history.app, name="runs")
app.add_typer(data.app, name="data")
app.add_typer(cache.app, name="cache")
app.add_typer(models.app, name="models")


def command() -> Any:
    """All commands, their help in the user's language."""
    made = get_command(app)
    complete_help(made)
    return made
