"""The command line. Every heavy import is inside the command that needs it: `--help` imports none."""

from __future__ import annotations

import os
import sys

from tui_tuner.errors import EXIT_FAILED, EXIT_INTERRUPTED, TunerError
from tui_tuner.locales import _
from tui_tuner.text import sanitize


def main() -> None:
    """Entry point of `tui-tuner`: runs a command, turns errors into one message and an exit code."""
    if None in (sys.stdin, sys.stdout, sys.stderr):
        from tui_tuner.launch.output import open_missing_streams

        open_missing_streams()
    debug = "--debug" in sys.argv
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    try:
        code = _run(arguments)
    except TunerError as error:
        if debug:
            raise
        _tell(error, "--json" in arguments)
        code = error.exit_code
    except KeyboardInterrupt:
        code = EXIT_INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has left; Python would complain once more while it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        code = 0
    except Exception as error:
        if debug:
            raise
        _complain(_("error: {kind}: {error}", kind=type(error).__name__, error=error))
        _complain(_("This is a defect in tui-tuner. The same command with --debug shows where it happened."))
        code = EXIT_FAILED
    sys.exit(code)


def _run(arguments: list[str]) -> int:
    runs = _runs_of_workbench(arguments)
    if runs is not None:
        from tui_tuner.cli.screen import open_workbench

        return open_workbench(runs)
    return _with_typer(arguments)


def _with_typer(arguments: list[str]) -> int:
    from tui_tuner.cli.commands import command  # Typer, which even `import tui_tuner.cli` should not pay for

    try:
        command()(args=arguments, prog_name="tui-tuner")
    except SystemExit as done:
        return done.code if isinstance(done.code, int) else EXIT_FAILED if done.code else 0
    return 0


def _runs_of_workbench(arguments: list[str]) -> str | None:
    """The folder of the runs if all that is asked for is the workbench, which is up sooner without Typer."""
    if not arguments:
        return "runs"
    if len(arguments) == 2 and arguments[0] == "--runs" and not arguments[1].startswith("-"):
        return arguments[1]
    return None


def _tell(error: TunerError, as_json: bool) -> None:
    """One message, with the field of the config and where that has its value from; an object for --json."""
    place = _place(error)
    parts = [part for part in (error.field, place) if part and part not in str(error)]
    told = _("error: {error}", error=error)
    _complain(f"{told} ({', '.join(parts)})" if parts else told)
    if as_json:
        import json

        parts_of = {"what": error.what, "where": error.where, "hint": error.hint, "field": error.field}
        try:
            sys.stdout.write(
                json.dumps({"error": {**parts_of, "place": place, "code": error.exit_code}}) + "\n"
            )
        except (OSError, ValueError):
            return


def _place(error: TunerError) -> str:
    """`job.yaml:3` or `--set data.path=x`: where the field has its value from; empty if that is not known."""
    load = sys.modules.get("tui_tuner.config.load")
    return str(load.place_of(error.field)) if load is not None and error.field else ""


def _complain(text: str) -> None:
    try:
        sys.stderr.write(sanitize(text) + "\n")
    except (OSError, ValueError):
        return
