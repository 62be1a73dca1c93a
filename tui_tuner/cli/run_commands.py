"""Commands for existing runs (attach, stop and other controls), and doctor."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Annotated

import typer

from tui_tuner.cli.options import Json, NoTui, Runs
from tui_tuner.cli.start import RunName
from tui_tuner.errors import EXIT_DONE, EXIT_FAILED, UsageError
from tui_tuner.locales import N_, _
from tui_tuner.runs.store import RunFolder, RunStore
from tui_tuner.text import format_seconds, one_line

COMMAND_HELP = {
    "stop": N_("Save a checkpoint and stop a run; it can be resumed."),
    "pause": N_("Pause a run at its next step."),
    "continue": N_("Continue a paused run."),
    "save": N_("Save a checkpoint now."),
    "evaluate": N_("Evaluate now."),
}
_STOP_LIMIT = 600.0


def attach_to_run(
    run: RunName = "last", runs: Runs = "runs", no_tui: NoTui = False, json: Json = False
) -> None:
    """Watch a run from any terminal, while it is running or afterwards."""
    store = RunStore(runs)
    folder = store.find_run(run)
    from tui_tuner.cli.screen import can_show_screen, show_screen

    if not no_tui and not json and can_show_screen():
        raise typer.Exit(show_screen(store, folder))
    raise typer.Exit(_follow_journal(folder, json))


def _follow_journal(folder: RunFolder, json: bool) -> int:
    from tui_tuner.cli.ringing_printer import RingingPrinter
    from tui_tuner.headless import LinePrinter, RawPrinter, make_printer_writer, print_journal_lines
    from tui_tuner.runs.journal import JournalReader
    from tui_tuner.runs.phases.step_lines import choose_step_interval

    write = make_printer_writer(sys.stdout)
    printer = RawPrinter(write) if json else RingingPrinter(write, sys.stdout, folder)
    reader = JournalReader(folder.events_path)
    if isinstance(printer, LinePrinter):
        usual, printer.step_seconds = printer.step_seconds, choose_step_interval(folder.events_path)
        if printer.step_seconds > usual:
            between = format_seconds(printer.step_seconds)
            write(_("a long journal: one step every {time} is printed; --json prints all", time=between))
    while True:
        # Asked before reading: events written between the two calls would otherwise be missed at the end
        alive = folder.is_alive()
        print_journal_lines(reader, printer)
        if write.problem is not None:
            # A full disk is an error; a reader that has exited is not
            raise write.problem
        if printer.view.has_ended or not alive:
            break
        if write.gone:
            # The reader of the pipe has exited
            return EXIT_DONE
        if isinstance(printer, LinePrinter):
            # The old part of the journal is printed; new steps come at the usual interval
            printer.step_seconds = usual
            printer.print_still_going(time.time())
        time.sleep(0.25)
    if not printer.view.has_ended:
        if not json:
            from tui_tuner.runs.history import describe_lost_run

            what = describe_lost_run(folder)
            why = one_line(what.death.message)
            write(_("run {name} is lost. {why}", name=one_line(folder.name), why=why))
            for line in what.lines:
                write(f"| {line}")
            write(_("resume it with: {command}", command=what.resume))
        return EXIT_FAILED
    return printer.view.exit_code or 0


def make_control_command(command: str) -> Callable[[str, str], None]:
    """Make the command-line function that sends a control command to a run."""

    def send_command(run: RunName = "last", runs: Runs = "runs") -> None:
        from tui_tuner.runs.control import send_control_command

        folder = RunStore(runs).find_run(run)
        if not folder.is_alive():
            raise UsageError(
                _("is not running (it is {state}).", state=_(folder.find_state())),
                where=one_line(folder.name),
                hint=_("`tui-tuner resume` continues a run."),
            )
        send_control_command(folder.control_path, command)
        if command != "stop":
            typer.echo(_("{command}: sent to {name}", command=command, name=one_line(folder.name)))
            return
        raise typer.Exit(_wait_until_stopped(folder))

    return send_command


def _wait_until_stopped(folder: RunFolder) -> int:
    deadline = time.monotonic() + _STOP_LIMIT
    # A run may save for minutes, and the user wants to know when it is safe to continue
    while folder.is_alive() and time.monotonic() < deadline:
        # A process may stay for some seconds after the run has ended, to write its last files
        if folder.find_state() in ("completed", "stopped", "failed"):
            break
        time.sleep(0.2)
    state = folder.find_state()
    typer.echo(f"{one_line(folder.name)}: {_(state)}")
    return 0 if state in ("stopped", "completed") else EXIT_FAILED


def check_machine(
    json: Json = False,
    resume: Annotated[
        str | None,
        typer.Option(
            "--resume", help=N_("Test with this config that a killed run resumes exactly."), metavar="CONFIG"
        ),
    ] = None,
) -> None:
    """Check this machine: versions, devices, disk; with --resume, test exact resuming."""
    if resume is not None:
        from tui_tuner.cli.machine.prove import print_resume_proof

        raise typer.Exit(print_resume_proof(resume, json))
    from tui_tuner.cli.machine.checkup import print_checkup

    raise typer.Exit(print_checkup(json))
