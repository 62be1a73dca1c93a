"""`tui-tuner data`: look at data, at the tokens a model will see, and write it cleaned or converted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tui_tuner.cli.options import Json, Sets
from tui_tuner.config.kinds import RECORD_FORMATS
from tui_tuner.locales import N_, _

if TYPE_CHECKING:
    from tui_tuner.config.schema import RunConfig
    from tui_tuner.tasks.preview.suiting import Better

app = typer.Typer(
    help=N_("Look at data before it is trained on: formats, rows, tokens, cleaning."),
    no_args_is_help=True,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
File = Annotated[str, typer.Argument(help=N_("File, folder, glob or hub data set."), metavar="FILE")]
Format = Annotated[
    str,
    typer.Option(
        "--format",
        help=_("Record format: {formats}.", formats=", ".join(RECORD_FORMATS)),
        metavar="FORMAT",
    ),
]
Out = Annotated[str, typer.Option("--output", "-o", help=N_("JSONL file to write."), metavar="OUT")]
Force = Annotated[bool, typer.Option("--force", help=N_("Overwrite an existing file."))]


@app.command()
def inspect(file: File, format: Format = "auto", set_: Sets = None, json: Json = False) -> None:
    """Read every row: what format it is, how many rows become what, and why."""
    from tui_tuner.data.preview import inspect as inspected

    config = _config(file, format, set_)
    found, task = inspected(config.data), _other_task(config)
    if json:
        _print_json({**found.to_json(), **task.to_json()})
        return
    from tui_tuner.data.report import inspection_lines

    _print_lines([*inspection_lines(found), *task.lines()])


@app.command()
def preview(
    file: File,
    rows: Annotated[int, typer.Option("--rows", help=N_("How many rows."), min=1, max=10_000)] = 5,
    format: Format = "auto",
    set_: Sets = None,
    json: Json = False,
) -> None:
    """Show the first rows as they will be understood."""
    from tui_tuner.data.preview import first_rows

    config = _config(file, format, set_)
    found, task = first_rows(config.data, rows), _other_task(config)
    if json:
        _print_json({**found.to_json(), **task.to_json()})
        return
    from tui_tuner.data.report import preview_lines

    _print_lines([*preview_lines(found), *task.lines()])


@app.command()
def mask(
    file: File,
    model: Annotated[
        str, typer.Option("--model", help=N_("Hub id or folder of the model."), metavar="M")
    ] = "demo",
    row: Annotated[int, typer.Option("--row", help=N_("Which row, from 1."), metavar="N")] = 1,
    format: Format = "auto",
    set_: Sets = None,
    json: Json = False,
) -> None:
    """Show the exact tokens of a row, which of them are trained, and the rows it is trained beside."""
    from tui_tuner.models.loading import load_tokenizer
    from tui_tuner.tasks.preview.mask import mask_row

    config = _config(file, format, set_, model)
    with _quiet():
        tokenizer = load_tokenizer(config.model)
        view = mask_row(config.model, config.data, row, tokenizer, config.task)
        around, laid = _around(config, row, tokenizer)
    if json:
        more = {"around": around and around.to_json(), "forward_pass": laid and laid.to_json()}
        _print_json({**view.to_json(), **more})
        return
    from tui_tuner.cli.around import around_lines, forward_lines
    from tui_tuner.data.report import mask_lines

    _print_lines(mask_lines(view))
    if laid is not None:
        _print_lines([*forward_lines(laid, row)])
    if around is not None:
        _print_lines([*around_lines(around)])


@app.command()
def clean(
    file: File,
    out: Out,
    format: Format = "auto",
    set_: Sets = None,
    force: Force = False,
    preview_only: Annotated[
        bool, typer.Option("--dry-run", help=N_("Say what would happen, and write nothing."))
    ] = False,
    json: Json = False,
) -> None:
    """Write the rows cleaned, as they are otherwise, and a ledger beside them (OUT.ledger.json).

    Choose steps with --set data.cleaning.STEP=…; without any, exact duplicates, refusals and control
    characters are cleaned.
    """
    from tui_tuner.data.writing import DEFAULT_CLEANING, clean_file

    chosen = set_ or []
    if not any(item.startswith("data.cleaning.") for item in chosen):
        chosen = [*chosen, *DEFAULT_CLEANING]
    ledger = clean_file(_config(file, format, chosen).data, None if preview_only else out, force)
    _print_written(ledger, None if preview_only else out, json)


@app.command()
def convert(
    file: File, out: Out, format: Format = "auto", set_: Sets = None, force: Force = False, json: Json = False
) -> None:
    """Write every row in one plain layout (chats as messages), and a ledger beside it (OUT.ledger.json)."""
    from tui_tuner.data.writing import convert_file

    ledger = convert_file(_config(file, format, set_).data, out, force)
    _print_written(ledger, out, json)


@app.command()
def templates(json: Json = False) -> None:
    """List the chat templates that model.chat_template knows by name, and what else they are called."""
    from tui_tuner.config.chat_templates import CHAT_TEMPLATES, other_names

    rows = [(name, _(words), other_names(name)) for name, words in CHAT_TEMPLATES.items()]
    if json:
        _print_json([{"name": name, "for": words, "also": also} for name, words, also in rows])
        return
    for name, words, also in rows:
        _print_lines([f"{name:<16} {words}"])
        if also:
            _print_lines([f"{'':<16} " + _("also called {names}", names=", ".join(also))])
    _print_lines(
        [_("Case, points, hyphens and underscores do not count. Any other template is a Jinja file.")]
    )


@dataclass(frozen=True)
class _OtherTask:
    """The task that rows are for, where it is not the one asked for."""

    better: Better | None

    def lines(self) -> list[str]:
        return [f"{self.better.sentence} {self.better.hint}"] if self.better is not None else []

    def to_json(self) -> dict[str, Any]:
        if self.better is None:
            return {"other_task": None}
        return {"other_task": {"task": self.better.task, "fixes": list(self.better.hint.fixes)}}


def _other_task(config: RunConfig) -> _OtherTask:
    from tui_tuner.tasks.preview.suiting import other_task

    return _OtherTask(other_task(config))


def _around(config: RunConfig, row: int, tokenizer: Any) -> tuple[Any, Any]:
    """The rows around a row as tokens and the forward pass it would be in; None where they cannot be made."""
    from tui_tuner.errors import DataError
    from tui_tuner.tasks.preview.around import look_around
    from tui_tuner.tasks.preview.forward_rows import forward_rows

    try:
        around = look_around(config.model, config.data, row, tokenizer, wanted=config.task)
    except DataError:  # a row of another kind among them, which inspect and run explain
        return None, None
    return around, forward_rows(around, row, config)


def _print_written(ledger: Any, out: str | None, json: bool) -> None:
    if json:
        _print_json({"output": out, "ledger": ledger.to_json()})
        return
    from tui_tuner.data.report import ledger_lines
    from tui_tuner.text import one_line

    _print_lines(
        [
            *ledger_lines(ledger),
            _("Written: {path}", path=one_line(out)) if out else _("Nothing was written."),
        ]
    )


def _config(file: str, format: str, sets: list[str] | None, model: str = "demo") -> RunConfig:
    from tui_tuner.config.load import apply_sets, build_config

    values: dict[str, Any] = {"model": {"name": model}, "data": {"path": file, "format": format}}
    apply_sets(values, sets or [])
    return build_config(values, where=_("the command"))


@contextmanager
def _quiet() -> Iterator[None]:
    """Libraries say nothing on the way."""
    from tui_tuner.models.loading import quiet_libraries

    quiet_libraries()
    yield


def _print_json(value: Any) -> None:
    import sys

    import orjson

    from tui_tuner.runs.wire import plain

    sys.stdout.buffer.write(orjson.dumps(plain(value), default=str) + b"\n")
    sys.stdout.flush()


def _print_lines(lines: list[Any]) -> None:
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False, soft_wrap=True)
    for line in lines:
        console.print(line if isinstance(line, Text) else Text(str(line)))
