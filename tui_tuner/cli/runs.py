"""Commands about runs that exist: attach, stop and the other controls; and doctor."""

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
from tui_tuner.text import human_seconds, one_line

COMMAND_HELP = {
    "stop": N_("Save a checkpoint and end a run; it can be resumed."),
    "pause": N_("Pause a run at its next step."),
    "continue": N_("Continue a paused run."),
    "save": N_("Save a checkpoint now."),
    "evaluate": N_("Evaluate now."),
}
_STOP_LIMIT = 600.0


def attach(run: RunName = "last", runs: Runs = "runs", no_tui: NoTui = False, json: Json = False) -> None:
    """Watch a run, live or ended, from any terminal."""
    store = RunStore(runs)
    folder = store.find(run)
    from tui_tuner.cli.screen import can_show, show

    if not no_tui and not json and can_show():
        raise typer.Exit(show(store, folder))
    raise typer.Exit(_follow(folder, json))


def _follow(folder: RunFolder, json: bool) -> int:
    from tui_tuner.cli.telling import TellingPrinter
    from tui_tuner.headless import LinePrinter, RawPrinter, print_new, writer
    from tui_tuner.runs.journal import JournalReader
    from tui_tuner.runs.phases.step_lines import step_seconds

    write = writer(sys.stdout)
    printer = RawPrinter(write) if json else TellingPrinter(write, sys.stdout, folder)
    reader = JournalReader(folder.events)
    if isinstance(printer, LinePrinter):
        usual, printer.step_seconds = printer.step_seconds, step_seconds(folder.events)
        if printer.step_seconds > usual:
            between = human_seconds(printer.step_seconds)
            write(
                _("a long journal: of its steps, one every {time} is printed; --json has all", time=between)
            )
    while True:
        alive = folder.alive()
        print_new(reader, printer)
        if write.problem is not None:
            raise write.problem
        if printer.view.ended or not alive:
            break
        if write.gone:
            return EXIT_DONE  # whoever read this has left
        if isinstance(printer, LinePrinter):
            printer.step_seconds = usual
            printer.tick(time.time())
        time.sleep(0.25)
    if not printer.view.ended:
        if not json:
            from tui_tuner.runs.history import lost

            what = lost(folder)
            why = one_line(what.death.message)
            write(_("run {name} is lost. {why}", name=one_line(folder.name), why=why))
            for line in what.lines:
                write(f"| {line}")
            write(_("resume it with: {command}", command=what.resume))
        return EXIT_FAILED
    return printer.view.exit_code or 0


def sender(command: str) -> Callable[[str, str], None]:
    """The command-line function that sends one control command to a run."""

    def send_command(run: RunName = "last", runs: Runs = "runs") -> None:
        from tui_tuner.runs.control import send

        folder = RunStore(runs).find(run)
        if not folder.alive():
            raise UsageError(
                _("is not running (it is {state}).", state=_(folder.state())),
                where=one_line(folder.name),
                hint=_("`tui-tuner resume` continues a run."),
            )
        send(folder.control, command)
        if command != "stop":
            typer.echo(_("{command}: sent to {name}", command=command, name=one_line(folder.name)))
            return
        raise typer.Exit(_wait_until_stopped(folder))

    return send_command


def _wait_until_stopped(folder: RunFolder) -> int:
    deadline = time.monotonic() + _STOP_LIMIT
    while folder.alive() and time.monotonic() < deadline:
        if folder.state() in ("completed", "stopped", "failed"):
            break
        time.sleep(0.2)
    state = folder.state()
    typer.echo(f"{one_line(folder.name)}: {_(state)}")
    return 0 if state in ("stopped", "completed") else EXIT_FAILED


def doctor(
    json: Json = False,
    resume: Annotated[
        str | None,
        typer.Option(
            "--resume", help=N_("Prove on this config that a killed run resumes exactly."), metavar="CONFIG"
        ),
    ] = None,
) -> None:
    """Check this machine: versions, devices, disk; with --resume, prove exact resume."""
    if resume is not None:
        from tui_tuner.cli.machine.prove import prove_resume

        raise typer.Exit(prove_resume(resume, json))
    from tui_tuner.cli.machine.checkup import checkup

    raise typer.Exit(checkup(json))
