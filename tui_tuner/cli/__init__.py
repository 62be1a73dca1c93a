"""The command line. Every heavy import is inside the command that needs it: `--help` imports none."""

from __future__ import annotations

import codecs
import errno
import gc
import io
import os
import sys

from tui_tuner.errors import EXIT_CONFIG, EXIT_FAILED, EXIT_INTERRUPTED, TunerError, UsageError
from tui_tuner.locales import _
from tui_tuner.text import one_line, sanitize


def main() -> None:
    """Entry point of `tui-tuner`: runs a command, turns errors into one message and an exit code."""
    # Services and cron may start a process with closed streams, which Python represents as None
    if None in (sys.stdin, sys.stdout, sys.stderr):
        from tui_tuner.launch.output_capture import open_missing_streams

        open_missing_streams()
    _allow_any_text()
    debug = "--debug" in sys.argv
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    try:
        _check_working_folder(arguments)
        code = _choose_entry(arguments)
        # Flushed here, so that a full disk is reported like any other error
        sys.stdout.flush()
    except TunerError as error:
        if debug:
            raise
        _print_error(error, "--json" in arguments)
        code = error.exit_code
    # Commands that train handle Ctrl+C themselves; here it is a user who stops waiting
    except KeyboardInterrupt:
        code = EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader of our output has exited; Python would report it again when it flushes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        code = 0
    except OSError as error:
        if debug or error.errno not in _OF_THE_SYSTEM:
            raise
        code = EXIT_CONFIG if error.errno in _OF_THE_NAME else EXIT_FAILED
        _print_unexpected(
            _describe_os_error(error), code, "--json" in arguments and error.filename is not None
        )
        # Text is still in stdout's buffer: flushing it at exit would fail again, with a traceback
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    except Exception as error:
        if debug:
            raise
        code = EXIT_FAILED
        _print_unexpected(f"{type(error).__name__}: {error}", code, "--json" in arguments)
        _write_to_stderr(
            _("This is a bug in tui-tuner. Run the same command with --debug to see where it happened.")
        )
    sys.exit(code)


def _choose_entry(arguments: list[str]) -> int:
    if "_TUI_TUNER_COMPLETE" in os.environ:
        # The process ends before there is anything to collect
        gc.disable()
        from tui_tuner.cli.shell.completion_answers import answer_shell_completion

        return answer_shell_completion()
    runs = _find_workbench_runs(arguments)
    if runs is not None:
        from tui_tuner.cli.screen import open_workbench

        return open_workbench(runs)
    return _run_typer(arguments)


def _run_typer(arguments: list[str]) -> int:
    from tui_tuner.cli.command_list import (
        build_command,
    )  # imports Typer, which `import tui_tuner.cli` alone should not cost

    try:
        build_command()(args=arguments, prog_name="tui-tuner")
    except SystemExit as done:
        # click turns a broken pipe into exit code 1; `main` ends quietly instead
        if isinstance(done.__context__, BrokenPipeError):
            raise done.__context__ from None
        return done.code if isinstance(done.code, int) else EXIT_FAILED if done.code else 0
    return 0


def _find_workbench_runs(arguments: list[str]) -> str | None:
    """Return the folder of runs if the arguments only open the workbench, which needs no Typer."""
    if not arguments:
        return "runs"
    if len(arguments) == 2 and arguments[0] == "--runs" and not arguments[1].startswith("-"):
        return arguments[1]
    return None


def _print_error(error: TunerError, as_json: bool) -> None:
    """Print an error with its config field and the source of its value; with --json, also as an object."""
    place = _find_value_source(error)
    # Many messages already name the field or the file
    parts = [part for part in (error.field, place) if part and part not in str(error)]
    told = _("error: {error}", error=error)
    _write_to_stderr(f"{told} ({', '.join(parts)})" if parts else told)
    if as_json:
        import json

        from tui_tuner.runs.secrets import get_current_scrubber

        parts_of = {"what": error.what, "where": error.where, "hint": error.hint, "field": error.field}
        try:
            line = json.dumps({"error": {**parts_of, "place": place, "code": error.exit_code}})
            sys.stdout.write(get_current_scrubber().mask_text(line) + "\n")
        except (OSError, ValueError):
            return


def _print_unexpected(what: str, code: int, as_json: bool) -> None:
    """Print an error that is not a `TunerError`."""
    error = TunerError(what)
    error.exit_code = code
    _print_error(error, as_json)


def _find_value_source(error: TunerError) -> str:
    """Return the source of a field's value, such as `job.yaml:3` or `--set data.path=x`; empty if unknown."""
    # If the module was never imported, no config was loaded and no field has a source
    load = sys.modules.get("tui_tuner.config.load")
    return str(load.find_field_source(error.field)) if load is not None and error.field else ""


# Errors of the system that are not bugs here: invalid file names, and others
_OF_THE_NAME = frozenset({errno.ENAMETOOLONG, errno.ELOOP, errno.ENOTDIR, errno.EISDIR, errno.EINVAL})
_OF_THE_SYSTEM = _OF_THE_NAME | {
    *(errno.ENOENT, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EIO),
    *(errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN, errno.EEXIST, errno.EBUSY, errno.ESTALE),
}


def _describe_os_error(error: OSError) -> str:
    problem = error.strerror or type(error).__name__
    if not error.filename:
        return _("standard output, or another stream, cannot be written: {problem}.", problem=problem)
    return f"{one_line(error.filename, 300)}: {problem}."


def _check_working_folder(arguments: list[str]) -> None:
    """Raise `UsageError` if the working folder was deleted, which makes several libraries end the process."""
    if {"--help", "-h", "--version"} & set(arguments):
        return
    try:
        os.getcwd()
    except OSError as error:
        raise UsageError(
            _("the working folder cannot be used: {problem}.", problem=error.strerror),
            hint=_("It may have been deleted. Change to another folder."),
        ) from None


def _allow_any_text() -> None:
    """Let streams with a limited encoding (C locale) write any text, with JSON escapes where needed."""
    codecs.register_error("as_in_json", _escape_as_json)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.encoding.lower() not in ("utf-8", "utf8"):
            stream.reconfigure(errors="as_in_json")


def _escape_as_json(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    # JSON escapes are UTF-16 units, so characters beyond U+FFFF become two
    units = error.object[error.start : error.end].encode("utf-16-be", "surrogatepass")
    pairs = zip(units[::2], units[1::2], strict=True)
    return "".join(f"\\u{high << 8 | low:04x}" for high, low in pairs), error.end


def _write_to_stderr(text: str) -> None:
    from tui_tuner.runs.secrets import get_current_scrubber

    try:
        sys.stderr.write(sanitize(get_current_scrubber().mask_text(text)) + "\n")
    except (OSError, ValueError):
        return
