"""`tui-tuner data`: inspect data and the tokens a model will see, and write cleaned or converted files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tui_tuner.cli.options import Json, Sets
from tui_tuner.config.kinds.formats import RECORD_FORMATS
from tui_tuner.locales import N_, _

if TYPE_CHECKING:
    from tui_tuner.config.schema import RunConfig
    from tui_tuner.tasks.preview.better_tasks import BetterTask

app = typer.Typer(
    help=N_("Check data before training: formats, rows, tokens, cleaning."),
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
    """Read every row, and report its format, how many rows are kept or dropped, and why."""
    from tui_tuner.data.preview import inspect_data as inspected

    config = _build_data_config(file, format, set_)
    found, task = inspected(config.data), _find_other_task(config)
    if json:
        _print_json({**found.to_json(), **task.list_values()})
        return
    from tui_tuner.data.report import format_inspection

    _print_lines([*format_inspection(found), *task.format_lines()])


@app.command()
def preview(
    file: File,
    rows: Annotated[int, typer.Option("--rows", help=N_("How many rows."), min=1, max=10_000)] = 5,
    format: Format = "auto",
    set_: Sets = None,
    json: Json = False,
) -> None:
    """Show how the first rows are read."""
    from tui_tuner.data.preview import read_first_rows

    config = _build_data_config(file, format, set_)
    found, task = read_first_rows(config.data, rows), _find_other_task(config)
    if json:
        _print_json({**found.to_json(), **task.list_values()})
        return
    from tui_tuner.data.report import format_preview

    # A hint at a better task comes last, where it is still visible after a long preview
    _print_lines([*format_preview(found), *task.format_lines()])


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
    """Show the exact tokens of a row, which of them are trained, and the rows trained together with it."""
    from tui_tuner.data.new_words.growing_tokenizer import load_planned_tokenizer
    from tui_tuner.tasks.preview.mask import mask_row

    config = _build_data_config(file, format, set_, model)
    with _silence_libraries():
        tokenizer = load_planned_tokenizer(config.model)
        view = mask_row(config.model, config.data, row, tokenizer, config.task)
        # Within `_silence_libraries`, as tokenising more rows may print warnings, too
        around, laid = _describe_neighbours(config, row, tokenizer)
    if json:
        more = {"around": around and around.to_json(), "forward_pass": laid and laid.to_json()}
        _print_json({**view.to_json(), **more})
        return
    from tui_tuner.cli.mask_output import format_mask_layout, format_mask_lengths
    from tui_tuner.data.report import format_mask

    _print_lines(format_mask(view))
    if laid is not None:
        _print_lines([*format_mask_layout(laid, row)])
    if around is not None:
        _print_lines([*format_mask_lengths(around)])


@app.command()
def clean(
    file: File,
    out: Out,
    format: Format = "auto",
    set_: Sets = None,
    force: Force = False,
    preview_only: Annotated[
        bool, typer.Option("--dry-run", help=N_("Report what would happen without writing anything."))
    ] = False,
    json: Json = False,
) -> None:
    """Write cleaned rows, otherwise unchanged, and a ledger next to them (OUT.ledger.json).

    Choose steps with --set data.cleaning.STEP=…; without any, exact duplicates, refusals and control
    characters are cleaned.
    """
    from tui_tuner.data.writing import DEFAULT_CLEANING, write_cleaned_file

    chosen = set_ or []
    # Defaults apply only if the user chose no step at all, so that a single step can be run alone
    if not any(item.startswith("data.cleaning.") for item in chosen):
        chosen = [*chosen, *DEFAULT_CLEANING]
    ledger = write_cleaned_file(
        _build_data_config(file, format, chosen).data, None if preview_only else out, force
    )
    _print_written(ledger, None if preview_only else out, json)


@app.command()
def convert(
    file: File, out: Out, format: Format = "auto", set_: Sets = None, force: Force = False, json: Json = False
) -> None:
    """Write every row in one standard layout (chats as messages), and a ledger (OUT.ledger.json)."""
    from tui_tuner.data.writing import write_converted_file

    ledger = write_converted_file(_build_data_config(file, format, set_).data, out, force)
    _print_written(ledger, out, json)


@app.command()
def templates(json: Json = False) -> None:
    """List the chat templates that model.chat_template knows by name, with their other names."""
    from tui_tuner.config.chat_templates import CHAT_TEMPLATES, list_template_aliases

    rows = [(name, _(words), list_template_aliases(name)) for name, words in CHAT_TEMPLATES.items()]
    if json:
        _print_json([{"name": name, "for": words, "also": also} for name, words, also in rows])
        return
    for name, words, also in rows:
        _print_lines([f"{name:<16} {words}"])
        if also:
            _print_lines([f"{'':<16} " + _("also called {names}", names=", ".join(also))])
    _print_lines([_("Case, dots, hyphens and underscores are ignored. Any other template is a Jinja file.")])


@dataclass(frozen=True)
class _OtherTask:
    """The task that the rows fit, if it is not the one asked for."""

    better: BetterTask | None

    def format_lines(self) -> list[str]:
        return [f"{self.better.sentence} {self.better.hint}"] if self.better is not None else []

    def list_values(self) -> dict[str, Any]:
        if self.better is None:
            return {"other_task": None}
        return {"other_task": {"task": self.better.task, "fixes": list(self.better.hint.fixes)}}


def _find_other_task(config: RunConfig) -> _OtherTask:
    from tui_tuner.tasks.preview.better_tasks import find_other_task

    return _OtherTask(find_other_task(config))


def _describe_neighbours(config: RunConfig, row: int, tokenizer: Any) -> tuple[Any, Any]:
    """Tokenise the rows around a row, and lay out its forward pass; (None, None) if that is not possible."""
    from tui_tuner.errors import DataError
    from tui_tuner.tasks.preview.forward_rows import lay_forward_rows
    from tui_tuner.tasks.preview.row_window import tokenise_window

    try:
        around = tokenise_window(config.model, config.data, row, tokenizer, wanted=config.task)
    except DataError:
        # A neighbouring row is of another kind, which `inspect` and `run` report
        return None, None
    return around, lay_forward_rows(around, row, config)


def _print_written(ledger: Any, out: str | None, json: bool) -> None:
    if json:
        _print_json({"output": out, "ledger": ledger.to_json()})
        return
    from tui_tuner.data.report import format_ledger
    from tui_tuner.text import one_line

    _print_lines(
        [
            *format_ledger(ledger),
            _("Written: {path}", path=one_line(out)) if out else _("Nothing was written."),
        ]
    )


def _build_data_config(file: str, format: str, sets: list[str] | None, model: str = "demo") -> RunConfig:
    from tui_tuner.config.load import apply_config_sets, build_config

    values: dict[str, Any] = {"model": {"name": model}, "data": {"path": file, "format": format}}
    apply_config_sets(values, sets or [])
    return build_config(values, where=_("the command"))


@contextmanager
def _silence_libraries() -> Iterator[None]:
    """Silence the progress bars and warnings of libraries."""
    from tui_tuner.models.loading import silence_libraries

    silence_libraries()
    yield


def _print_json(value: Any) -> None:
    import sys

    import orjson

    from tui_tuner.runs.wire import convert_to_plain_json

    # As bytes: JSON is UTF-8, whatever the encoding of the terminal
    sys.stdout.buffer.write(orjson.dumps(convert_to_plain_json(value), default=str) + b"\n")
    sys.stdout.flush()


def _print_lines(lines: list[Any]) -> None:
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False, soft_wrap=True)
    for line in lines:
        console.print(line if isinstance(line, Text) else Text(str(line)))
