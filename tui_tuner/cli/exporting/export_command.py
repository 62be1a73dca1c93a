"""`tui-tuner export`: writes a result in a form that other programs load, and proves it."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer

from tui_tuner.cli.options import Json, Runs
from tui_tuner.cli.using.model_options import AnyBase, Base, Checkpoint, Device, TrustCode, find_named_origin
from tui_tuner.errors import EXIT_INTERRUPTED, EXIT_TERMINATED, UsageError
from tui_tuner.exporting.kinds import TARGETS
from tui_tuner.locales import N_, _
from tui_tuner.text import format_bytes, format_seconds, one_line, sanitize

if TYPE_CHECKING:
    from tui_tuner.exporting.exporting import ExportOutcome
    from tui_tuner.inference.origin import Origin

_EVERY = 5.0  # seconds between two lines without a terminal
_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12, "KIB": 1 << 10, "MIB": 1 << 20,
          "GIB": 1 << 30}  # fmt: skip


def export_result(
    model: Annotated[
        str,
        typer.Argument(
            help=N_("Name or folder of a run, a PEFT adapter, a model folder or a hub id."), metavar="[RUN]"
        ),
    ] = "",
    to: Annotated[
        str,
        typer.Option("--to", help=N_("merged, gguf, ollama, onnx, adapter, delta or hub."), metavar="TARGET"),
    ] = "",
    output: Annotated[str, typer.Option("--output", "-o", help=N_("The new folder."), metavar="FOLDER")] = "",
    quantize: Annotated[
        str,
        typer.Option(
            "--quantize", help=N_("Type of a GGUF file's weights: f16, q8_0, q4_k_m, ..."), metavar="TYPE"
        ),
    ] = "",
    checkpoint: Checkpoint = "",
    shard_size: Annotated[
        str, typer.Option("--shard-size", help=N_("The largest file of weights."), metavar="SIZE")
    ] = "5GB",
    repo: Annotated[
        str, typer.Option("--repo", help=N_("A hub's repository: NAME or OWNER/NAME."), metavar="NAME")
    ] = "",
    private: Annotated[
        bool, typer.Option("--private/--public", help=N_("Who sees a new repository."))
    ] = True,
    merge: Annotated[
        bool, typer.Option("--merge", help=N_("Send the merged model to the hub, not the adapter."))
    ] = False,
    apply_delta: Annotated[
        tuple[str, str],
        typer.Option(
            "--apply-delta", help=N_("Add delta weights to their base model."), metavar="BASE DELTA"
        ),
    ] = ("", ""),
    parity: Annotated[
        bool, typer.Option("--parity/--no-parity", help=N_("Load the export and compare its answers."))
    ] = True,
    device: Device = "auto",
    base: Base = "",
    any_base: AnyBase = False,
    trust_remote_code: TrustCode = False,
    runs: Runs = "runs",
    json: Json = False,
) -> None:
    """Write a result in a form that other programs load, and prove that it answers alike.

    The export is loaded by the program it is for, where that is installed, and compared with the result on
    the same prompts. parity.json beside it says how. A failed comparison is an error.
    """
    if any(apply_delta):
        if model or to:
            raise UsageError(
                _("--apply-delta takes no RUN and no --to."), hint=_("Name the base, the delta and --output.")
            )
        raise typer.Exit(_apply_delta(*apply_delta, output, json))
    if not model:
        raise UsageError(_("the run, adapter or model to export is missing."), hint=_("Name it first."))
    if not to:
        raise UsageError(
            _("is missing."), where="--to", hint=_("Choose one: {names}.", names=", ".join(TARGETS))
        )
    from tui_tuner.exporting.target import ExportOptions
    from tui_tuner.exporting.targets import find_target

    find_target(to)
    options = ExportOptions(
        to=to,
        output=output,
        quantize=quantize,
        shard_bytes=read_size(shard_size, "--shard-size"),
        repo=repo,
        private=private,
        device=device,
        parity=parity,
        merge=merge,
        base=base,
    )
    origin = _find_origin(model, checkpoint, runs, base, any_base, trust_remote_code, to)
    raise typer.Exit(_run_export(origin, options, json))


def _find_origin(
    model: str, checkpoint: str, runs: str, base: str, any_base: bool, trusts: bool, to: str
) -> Origin:
    """Find what is exported; for the delta of a whole model `--base` is what that is taken from."""
    try:
        return find_named_origin(model, checkpoint, runs, base, any_base, trusts)
    except UsageError as error:
        if to != "delta" or error.where != "--base":
            raise
        return find_named_origin(model, checkpoint, runs, agreed=trusts)


def read_size(text: str, option: str) -> int:
    """Return the bytes of a size such as 5GB or 500MiB.

    Raises:
        UsageError: it is none.
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-zA-Z]*)\s*", text)
    unit = _UNITS.get(found[2].upper()) if found else None
    if found is None or unit is None or not float(found[1]) * unit >= 1:
        raise UsageError(
            _("{text!r} is not a size.", text=one_line(text, 40)),
            where=option,
            hint=_("Write it as 5GB or 500MB."),
        )
    return int(float(found[1]) * unit)


def _run_export(origin: Any, options: Any, as_json: bool) -> int:
    from tui_tuner.launch.environment import prepare_environment
    from tui_tuner.launch.output_capture import capture_output

    prepare_environment()
    with capture_output(None) as terminal, _note_signals() as asked:
        from tui_tuner.exporting.exporting import export_model  # takes seconds: torch, transformers
        from tui_tuner.exporting.target import ExportCancelled

        said = ExportPrinter(terminal.err, as_json)
        try:
            found = export_model(origin, options, said.print_message, lambda: bool(asked))
        except ExportCancelled:
            return EXIT_TERMINATED if asked and asked[-1] == signal.SIGTERM else EXIT_INTERRUPTED
        finally:
            said.clear_line()
    print_export_outcome(found, as_json)
    return 0


def _apply_delta(base: str, delta: str, output: str, as_json: bool) -> int:
    from tui_tuner.exporting.deltas.applying import apply_delta

    if not output:
        raise UsageError(
            _("is missing."), where="--output", hint=_("Name the folder to write: --output FOLDER.")
        )
    with _note_signals() as asked:
        from tui_tuner.exporting.target import ExportCancelled

        said = ExportPrinter(typer.get_text_stream("stderr"), as_json)
        try:
            found = apply_delta(base, delta, Path(output).expanduser().absolute(), said.print_message,
                                lambda: bool(asked))  # fmt: skip
        except ExportCancelled:
            return EXIT_TERMINATED if asked and asked[-1] == signal.SIGTERM else EXIT_INTERRUPTED
        finally:
            said.clear_line()
    if as_json:
        _print_json(found)
    else:
        typer.echo(_("written to {folder}; its hash is that of the result: {hash}",
                     folder=one_line(output, 200), hash=found["sha256"]))  # fmt: skip
    return 0


def print_export_outcome(found: ExportOutcome, as_json: bool) -> None:
    """Print what came of an export: one JSON object, or lines."""
    if as_json:
        _print_json(found.list_outcome_values())
        return
    if found.folder:
        typer.echo(
            _("written to {folder}: {size} in {time}", folder=one_line(found.folder, 200),
              size=format_bytes(found.bytes), time=format_seconds(found.seconds))
        )  # fmt: skip
    if found.address:
        typer.echo(_("sent to {address}", address=one_line(found.address, 200)))
    typer.echo(sanitize(_("parity: {outcome}", outcome=found.parity.describe())))


def _print_json(values: dict[str, Any]) -> None:
    import orjson

    from tui_tuner.runs.wire import convert_to_plain_json

    typer.echo(orjson.dumps(convert_to_plain_json(values), default=str, option=orjson.OPT_INDENT_2).decode())


@contextmanager
def _note_signals() -> Iterator[list[int]]:
    """Within it the first signal asks the export to stop; a second one ends the process."""
    asked: list[int] = []

    def note(number: int, _frame: object) -> None:
        if asked:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        asked.append(number)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class ExportPrinter:
    """Prints progress: one updating line on a terminal, or a line now and then; with JSON only notes."""

    def __init__(self, out: TextIO, as_json: bool) -> None:
        self._out, self._json = out, as_json
        self._live = not as_json and out.isatty()
        self._last, self._doing, self._shown = -_EVERY, "", ""

    def print_message(self, message: dict[str, Any]) -> None:
        """Print a progress message of the export."""
        if "note" in message:
            self.clear_line()
            self._write(sanitize(_("note: {note}", note=message["note"])) + "\n")
            return
        if self._json:
            return
        line = format_export_progress(message)
        if self._live:
            import shutil

            line = line[: max(20, shutil.get_terminal_size().columns - 1)]
            if line != self._shown:
                self._shown = line
                self._write(f"\r{line}\x1b[K")
        elif message["doing"] != self._doing or time.monotonic() - self._last >= _EVERY:
            self._last, self._doing = time.monotonic(), message["doing"]
            self._write(line + "\n")

    def clear_line(self) -> None:
        """Erase the progress line."""
        if self._live and self._shown:
            self._write("\r\x1b[K")
            self._shown = ""

    def _write(self, text: str) -> None:
        self._out.write(text)
        self._out.flush()


def format_export_progress(message: dict[str, Any]) -> str:
    """Format a progress message as a line."""
    doing, done, total = one_line(message["doing"], 100), message["done"], message["total"]
    if not total:
        return f"{doing}…"
    if message["unit"] == "bytes":
        return _(
            "{doing}: {done} of {total}", doing=doing, done=format_bytes(done), total=format_bytes(total)
        )
    return _("{doing}: {done} of {total}", doing=doing, done=f"{done:,}", total=f"{total:,}")
