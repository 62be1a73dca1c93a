"""`tui-tuner predict`: predicts the rows of a file with a model; an interrupted job is resumed."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer

from tui_tuner.cli.options import Json, Runs
from tui_tuner.cli.using.model_options import (
    AnyBase,
    Base,
    Checkpoint,
    Device,
    ModelName,
    TrustCode,
    find_named_origin,
)
from tui_tuner.config.deciding import label_metric
from tui_tuner.errors import EXIT_DATA, EXIT_INTERRUPTED, EXIT_TERMINATED, UsageError
from tui_tuner.locales import N_, _, _n
from tui_tuner.runs.pace import format_metric_figure
from tui_tuner.text import format_bytes, format_seconds, one_line, sanitize

if TYPE_CHECKING:
    from tui_tuner.inference.predicting.engine import PredictionOutcome
    from tui_tuner.inference.predicting.job import Job
    from tui_tuner.inference.predicting.scoring import PredictionScores

_EVERY = 5.0  # seconds between two lines without a terminal
_IMPATIENT = 3  # the number of signals after which the process ends at once
_SHOWN = 8  # reasons


def predict_named_file(
    model: ModelName,
    file: Annotated[
        str,
        typer.Argument(
            help=N_("File, folder or glob of rows, in any format; no answers needed."), metavar="FILE"
        ),
    ],
    output: Annotated[
        str,
        typer.Option("--output", "-o", help=N_("JSONL file to write, with one line per row."), metavar="OUT"),
    ],
    prompt: Annotated[
        str,
        typer.Option(
            "--prompt",
            help=N_("A text file with {column} placeholders for each row; or carp: clues, reasoning, label."),
            metavar="carp|FILE",
        ),
    ] = "",
    labels: Annotated[
        str,
        typer.Option("--labels", help=N_("The labels to choose from, separated by commas."), metavar="A,B"),
    ] = "",
    json_keys: Annotated[
        str,
        typer.Option("--json-keys", help=N_("Answers must be JSON objects with these keys."), metavar="A,B"),
    ] = "",
    retries: Annotated[
        int, typer.Option("--retries", help=N_("How often to ask again if the label or JSON is not valid."))
    ] = 0,
    checkpoint: Checkpoint = "",
    column: Annotated[
        list[str] | None,
        typer.Option(
            "--column",
            help=N_("The column of a role, such as text=body. Repeatable."),
            metavar="ROLE=COLUMN",
        ),
    ] = None,
    field: Annotated[str, typer.Option("--field", help=N_("The name of the new column."))] = "prediction",
    format: Annotated[
        str, typer.Option("--format", help=N_("Record format of FILE."), metavar="FORMAT")
    ] = "auto",
    part: Annotated[
        str,
        typer.Option("--part", help=N_("Key (JSON), table (SQL) or member (zip) that holds the rows.")),
    ] = "",
    system: Annotated[str, typer.Option("--system", help=N_("System prompt for rows without one."))] = "",
    max_new_tokens: Annotated[
        int, typer.Option("--max-new-tokens", help=N_("Maximum length of an answer in tokens."))
    ] = 256,
    temperature: Annotated[
        float, typer.Option("--temperature", help=N_("0 always takes the most likely token."))
    ] = 0.0,
    seed: Annotated[int, typer.Option("--seed", help=N_("Seed of the random numbers."))] = 0,
    batch_size: Annotated[
        int, typer.Option("--batch-size", help=N_("Rows computed at once; 0 is automatic."))
    ] = 0,
    device: Device = "auto",
    base: Base = "",
    any_base: AnyBase = False,
    trust_remote_code: TrustCode = False,
    force: Annotated[bool, typer.Option("--force", help=N_("Overwrite OUT if it exists."))] = False,
    runs: Runs = "runs",
    json: Json = False,
) -> None:
    """Predict every row of a file; if interrupted, the same command continues.

    OUT has the rows of FILE in the same order, with one more column. The file OUT.state.json records what it
    was made from.
    """
    from tui_tuner.inference.predicting.job import Job

    job = Job(
        find_named_origin(model, checkpoint, runs, base, any_base, trust_remote_code),
        file,
        output,
        format=format,
        part=part,
        columns=_parse_columns(column or []),
        field=field,
        prompt=read_prompt_option(prompt),
        labels=_split_list(labels, "--labels"),
        json_keys=_split_list(json_keys, "--json-keys"),
        retries=retries,
        system=system,
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        seed=seed,
        batch_size=batch_size,
        device=device,
        force=force,
    )
    raise typer.Exit(_run_job(job.check_options(), json))


def read_prompt_option(name: str) -> str:
    """Read the file of a prompt; return `carp` and an empty name unchanged.

    Raises:
        UsageError, DataError: there is no such file, or it contains no text.
    """
    from tui_tuner.evaluation.text_input import read_text_input
    from tui_tuner.inference.predicting.wording import CARP

    return name if name in ("", CARP) else read_text_input(name).rstrip("\n")


def _parse_columns(told: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for one in told:
        role, equals, name = one.partition("=")
        if not equals or not role.strip() or not name:
            raise UsageError(
                _("{text!r} is not ROLE=COLUMN.", text=one_line(one, 80)),
                where="--column",
                hint=_("Write it as --column text=body."),
            )
        if role.strip() in found:
            raise UsageError(
                _("{role} is named twice.", role=one_line(role.strip(), 40)),
                where="--column",
                hint=_("Give one column for each role."),
            )
        found[role.strip()] = name
    return found


def _split_list(text: str, option: str) -> tuple[str, ...]:
    """Split a list at its commas, except inside quotes, as in CSV."""
    import csv

    if not text.strip():
        return ()
    try:
        (row,) = csv.reader([text.replace("\n", " ")], skipinitialspace=True, strict=True)
    except (csv.Error, ValueError):
        raise UsageError(
            _("a quote is not closed."), where=option, hint=_('Write it as a,b or "a, with a comma",b.')
        ) from None
    return tuple(part.strip() for part in row)


def _run_job(job: Job, as_json: bool) -> int:
    from tui_tuner.launch.environment import prepare_environment
    from tui_tuner.launch.output_capture import capture_output

    prepare_environment()
    with capture_output(None) as terminal, _count_signals() as asked:
        from tui_tuner.inference.predicting.engine import (
            predict_file as work,
        )  # takes seconds: torch, transformers

        # Standard output is for JSON alone, so that it can be piped
        said = JobPrinter(terminal.out if as_json else terminal.err, as_json)
        try:
            found = work(job, said.print_message, asked.choose_stop)
        finally:
            said.clear_line()
        said.print_outcome(found)
    if as_json:
        return _choose_exit_code(found, asked.number)
    for line in format_prediction_outcome(found):
        typer.echo(sanitize(line))
    return _choose_exit_code(found, asked.number)


def _choose_exit_code(found: PredictionOutcome, number: int) -> int:
    if found.stopped:
        return EXIT_TERMINATED if number == signal.SIGTERM else EXIT_INTERRUPTED
    return EXIT_DATA if found.counts.unused == found.counts.rows else 0


class _SignalCounter:
    """Counts the signals that ask the job to stop."""

    def __init__(self) -> None:
        self.times = self.number = 0

    def choose_stop(self) -> int:
        """Return GO, AFTER_BATCH or AT_ONCE, as `engine.predict_file` expects."""
        return min(self.times, 2)

    def handle_signal(self, number: int, _frame: object) -> None:
        """Handle a signal; the third one ends the process."""
        self.times += 1
        self.number = number
        if self.times >= _IMPATIENT:
            # The default action ends the process even while torch holds the interpreter
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)


@contextmanager
def _count_signals() -> Iterator[_SignalCounter]:
    asked = _SignalCounter()
    before = {
        number: signal.signal(number, asked.handle_signal) for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class JobPrinter:
    """Prints progress: one updating line on a terminal, a line now and then, or JSON lines."""

    def __init__(self, out: TextIO, as_json: bool) -> None:
        self._out, self._json = out, as_json
        self._live = not as_json and out.isatty()
        self._last, self._shown = -_EVERY, ""

    def print_message(self, message: dict[str, Any]) -> None:
        """Print a progress message of the job."""
        if self._json:
            self._write_json_line(message)
        elif "note" in message:
            self.clear_line()
            self._write_text(sanitize(_("note: {note}", note=message["note"])) + "\n")
        elif self._live:
            self._write_in_place(format_prediction_progress(message))
        elif time.monotonic() - self._last >= _EVERY or message.get("rows") == message.get("total"):
            self._last = time.monotonic()
            line = format_prediction_progress(message)
            if line != self._shown:
                self._shown = line
                self._write_text(line + "\n")

    def print_outcome(self, found: PredictionOutcome) -> None:
        """Print the outcome as a JSON line, with --json."""
        if self._json:
            self._write_json_line(found.list_outcome_values())

    def clear_line(self) -> None:
        """Erase the progress line."""
        if self._live and self._shown:
            self._write_text("\r\x1b[K")
            self._shown = ""

    def _write_in_place(self, line: str) -> None:
        import shutil

        line = line[: max(20, shutil.get_terminal_size().columns - 1)]
        if line != self._shown:
            self._shown = line
            self._write_text(f"\r{line}\x1b[K")

    def _write_json_line(self, values: dict[str, Any]) -> None:
        import orjson

        from tui_tuner.runs.wire import convert_to_plain_json

        self._write_text(orjson.dumps(convert_to_plain_json(values), default=str).decode() + "\n")

    def _write_text(self, text: str) -> None:
        self._out.write(text)
        self._out.flush()


def format_prediction_progress(message: dict[str, Any]) -> str:
    """Format a progress message as a line."""
    doing = message.get("doing")
    if doing == "counting":
        return _n("reading the file: {count:,} row", "reading the file: {count:,} rows", message["rows"],
                  count=message["rows"])  # fmt: skip
    if doing == "fetching":
        return _("fetching {name}: {done} of {total}", name=one_line(message["name"], 40),
                 done=format_bytes(message["done"]), total=format_bytes(message["total"]))  # fmt: skip
    if doing == "loading":
        name = one_line(message["name"], 40)
        if not message["total"]:
            return _("loading {name}…", name=name)
        return _("loading {name}: {done}/{total}", name=name, done=message["done"], total=message["total"])
    done, total = message["rows"], message["total"]
    now = done - message["before"]
    parts = [_("row {done:,} of {total:,}", done=done, total=total)]
    # The rate is that of this attempt alone
    if now > 0 and message["seconds"] > 0:
        rate = now / message["seconds"]
        parts.append(_("{rate:.3g} rows/s", rate=rate))
        if message["tokens"]:
            parts.append(_("{rate:.3g} tokens/s", rate=message["tokens"] / message["seconds"]))
        if done < total:
            parts.append(_("{time} left", time=format_seconds((total - done) / rate)))
    if message["unused"]:
        parts.append(_("{count:,} not usable", count=message["unused"]))
    if message["unlabelled"]:
        parts.append(_("{count:,} without a label", count=message["unlabelled"]))
    return " · ".join(parts)


def format_prediction_scores(scores: PredictionScores) -> list[str]:
    """Describe how the answers compare with the targets of their rows."""
    if not scores.rows:
        return []
    lines = [_n("compared with {count:,} target:", "compared with {count:,} targets:", scores.rows,
                count=scores.rows)]  # fmt: skip
    for name, value in scores.metrics.items():
        signature = scores.signatures.get(name, "")
        figure = f"{label_metric(name)} {format_metric_figure(name, value)}"
        lines.append(f"  {figure}  ({signature})" if signature else f"  {figure}")
    return lines


def format_prediction_outcome(found: PredictionOutcome) -> list[str]:
    """Describe the outcome in lines."""
    counts, path = found.counts, one_line(found.path, 300)
    now = counts.rows - found.before
    lines = []
    if found.stopped:
        lines.append(
            _("{path}: {rows:,} of {total:,} rows; the same command continues.", path=path, rows=counts.rows,
              total=found.total)
            if found.total
            else _("{path}: stopped before the rows were counted; the same command starts again.", path=path)
        )  # fmt: skip
    elif not now:
        lines.append(_("{path} is complete: {rows:,} rows.", path=path, rows=counts.rows))
    else:
        lines.append(_n("{path}: {count:,} row", "{path}: {count:,} rows", counts.rows, path=path,
                        count=counts.rows))  # fmt: skip
    if found.before and now:
        lines.append(_("{count:,} of them from earlier attempts", count=found.before))
    if now and found.seconds:
        rate = _("{rate:.3g} rows/s in {time}", rate=now / found.seconds, time=format_seconds(found.seconds))
        if found.tokens:
            tokens = _("{rate:.3g} tokens/s", rate=found.tokens / found.seconds)
            rate = f"{rate}, {tokens}"
        lines.append(rate)
    if counts.unused:
        lines.append(_("{count:,} rows could not be used (prediction null):", count=counts.unused))
    if counts.unlabelled:
        lines.append(_("{count:,} answers have no valid label (label null):", count=counts.unlabelled))
    reasons = sorted(counts.problems.items(), key=lambda one: -one[1])
    lines += [f"  {count:,}  {one_line(reason, 200)}" for reason, count in reasons[:_SHOWN]]
    lines += format_prediction_scores(found.scores)
    if found.cut:
        lines.append(_("{count:,} answers reached the maximum length (--max-new-tokens).", count=found.cut))
    return lines
