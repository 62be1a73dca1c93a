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
    if None in (sys.stdin, sys.stdout, sys.stderr):
        from tui_tuner.launch.output import open_missing_streams

        open_missing_streams()
    _write_any_text()
    debug = "--debug" in sys.argv
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    try:
        _look_for_folder(arguments)
        code = _run(arguments)
        sys.stdout.flush()  # or the interpreter would complain of a full disk in its own words
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
    except OSError as error:
        if debug or error.errno not in _OF_THE_SYSTEM:
            raise
        code = EXIT_CONFIG if error.errno in _OF_THE_NAME else EXIT_FAILED
        _tell_of(_in_words(error), code, "--json" in arguments and error.filename is not None)
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    except Exception as error:
        if debug:
            raise
        code = EXIT_FAILED
        _tell_of(f"{type(error).__name__}: {error}", code, "--json" in arguments)
        _complain(_("This is a defect in tui-tuner. The same command with --debug shows where it happened."))
    sys.exit(code)


def _run(arguments: list[str]) -> int:
    if "_TUI_TUNER_COMPLETE" in os.environ:
        gc.disable()  # it ends before there is anything to collect
        from tui_tuner.cli.shell.answering import complete

        return complete()
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
        if isinstance(done.__context__, BrokenPipeError):
            raise done.__context__ from None
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

        from tui_tuner.runs.secrets import scrubber

        parts_of = {"what": error.what, "where": error.where, "hint": error.hint, "field": error.field}
        try:
            line = json.dumps({"error": {**parts_of, "place": place, "code": error.exit_code}})
            sys.stdout.write(scrubber().text(line) + "\n")
        except (OSError, ValueError):
            return


def _tell_of(what: str, code: int, as_json: bool) -> None:
    """The same of what no command had foreseen."""
    error = TunerError(what)
    error.exit_code = code
    _tell(error, as_json)


def _place(error: TunerError) -> str:
    """`job.yaml:3` or `--set data.path=x`: where the field has its value from; empty if that is not known."""
    load = sys.modules.get("tui_tuner.config.load")
    return str(load.place_of(error.field)) if load is not None and error.field else ""


# A name that cannot be one; and what else the system refuses, which is no defect of this program
_OF_THE_NAME = frozenset({errno.ENAMETOOLONG, errno.ELOOP, errno.ENOTDIR, errno.EISDIR, errno.EINVAL})
_OF_THE_SYSTEM = _OF_THE_NAME | {
    *(errno.ENOENT, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EIO),
    *(errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN, errno.EEXIST, errno.EBUSY, errno.ESTALE),
}


def _in_words(error: OSError) -> str:
    problem = error.strerror or type(error).__name__
    if not error.filename:
        return _("standard output, or another stream, cannot be written: {problem}.", problem=problem)
    return f"{one_line(error.filename, 300)}: {problem}."


def _look_for_folder(arguments: list[str]) -> None:
    """Raise `UsageError` where the working folder is gone: many a library ends the process over that."""
    if {"--help", "-h", "--version"} & set(arguments):
        return
    try:
        os.getcwd()
    except OSError as error:
        raise UsageError(
            _("the working folder cannot be used: {problem}.", problem=error.strerror),
            hint=_("It may have been deleted. Change to another folder."),
        ) from None


def _write_any_text() -> None:
    """Let streams of a narrow encoding (a C locale) take all text, what they cannot hold as JSON escapes."""
    codecs.register_error("as_in_json", _as_in_json)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.encoding.lower() not in ("utf-8", "utf8"):
            stream.reconfigure(errors="as_in_json")


def _as_in_json(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    units = error.object[error.start : error.end].encode("utf-16-be", "surrogatepass")
    pairs = zip(units[::2], units[1::2], strict=True)
    return "".join(f"\\u{high << 8 | low:04x}" for high, low in pairs), error.end


def _complain(text: str) -> None:
    from tui_tuner.runs.secrets import scrubber

    try:
        sys.stderr.write(sanitize(scrubber().text(text)) + "\n")
    except (OSError, ValueError):
        return
