"""Registers all commands with their functions."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.main import get_command

from tui_tuner.cli import (
    data_commands,
    edit,
    estimate_command,
    guide,
    history_commands,
    model_commands,
    preset_commands,
    range_test_command,
    run_commands,
    start,
    verdict,
)
from tui_tuner.cli.exporting import export_command, serve_command
from tui_tuner.cli.machine import cache
from tui_tuner.cli.options import Runs
from tui_tuner.cli.reference import methods_command
from tui_tuner.cli.screen import open_workbench
from tui_tuner.cli.shell.completion import print_completion_script
from tui_tuner.cli.shell.grouped import GroupedCommands, complete_command_help
from tui_tuner.cli.using import ask_command, chat_command, merge_command, predict_command
from tui_tuner.errors import UsageError
from tui_tuner.locales import N_, _

app = typer.Typer(
    name="tui-tuner",
    cls=GroupedCommands,
    help=N_("A workbench for fine-tuning language models that lives in a terminal."),
    epilog=N_(
        "Without a command, the workbench opens. Add --debug anywhere to see the traceback of an error."
    ),
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode=None,
)


def _print_version(value: bool) -> None:
    if value:
        from tui_tuner import __version__

        typer.echo(_("tui-tuner {version}", version=__version__))
        raise typer.Exit


@app.callback(invoke_without_command=True)
def open_workbench_or_run(
    context: typer.Context,
    runs_folder: Runs = "runs",
    version: Annotated[
        bool, typer.Option("--version", help=N_("Show the version."), callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Open the workbench, or run one of the commands."""
    if context.invoked_subcommand is None:
        raise typer.Exit(open_workbench(runs_folder))
    source = context.get_parameter_source("runs_folder")
    # The option has a default, so only its source shows whether the user gave it
    if source is not None and source.name == "COMMANDLINE":
        raise UsageError(
            _("--runs before a command only applies to the workbench."),
            hint=_(
                "Put it after the command: tui-tuner {command} … --runs FOLDER.",
                command=context.invoked_subcommand,
            ),
        )


app.command("guide")(guide.run_guide)
app.command("demo")(start.run_demo)
app.command("run")(start.run_config)
app.command("edit")(edit.edit_config)
app.command("resume")(start.resume_run)
app.command("attach")(run_commands.attach_to_run)
for _command, _help in run_commands.COMMAND_HELP.items():
    app.command(_command, help=_help)(run_commands.make_control_command(_command))
app.command("verdict")(verdict.print_run_verdict)
app.command("ask")(ask_command.ask_named_model)
app.command("chat")(chat_command.chat_with_models)
app.command("predict")(predict_command.predict_named_file)
app.command("merge")(merge_command.merge_adapters)
app.command("export")(export_command.export_result)
app.command("serve")(serve_command.serve_results)
app.command("doctor")(run_commands.check_machine)
app.command("estimate")(estimate_command.estimate_run)
app.command("lr")(range_test_command.print_range_test)
app.add_typer(preset_commands.app, name="presets")
app.command("methods")(methods_command.explain_methods)
app.command("completion")(print_completion_script)
app.add_typer(history_commands.app, name="runs")
app.add_typer(data_commands.app, name="data")
app.add_typer(cache.app, name="cache")
app.add_typer(model_commands.app, name="models")


def build_command() -> Any:
    """Build the command group, with help in the user's language."""
    made = get_command(app)
    complete_command_help(made)
    return made
