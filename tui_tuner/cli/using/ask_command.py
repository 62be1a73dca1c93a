"""`tui-tuner ask`: asks a trained model about the user's own text."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from tui_tuner.cli.options import Json, Runs
from tui_tuner.cli.using.model_options import (
    AnyBase,
    Base,
    Checkpoint,
    Device,
    ModelName,
    TrustCode,
    fetch_bases_with_progress,
    find_named_origin,
)
from tui_tuner.config.kinds.tasks import TASKS
from tui_tuner.errors import UsageError
from tui_tuner.locales import N_, _
from tui_tuner.text import one_line, sanitize

if TYPE_CHECKING:
    from rich.text import Text

    from tui_tuner.evaluation.samples import ShownSample
    from tui_tuner.inference.origin import Origin

_BAR = 20  # cells
_CHOICES = 8
_AROUND, _SHORT = 300, 2000  # characters shown around a finding; longest text that is printed in full
_STYLES = {"mark": "dim", "found": "bold green"}
_LABELS = ("bold green", "bold yellow", "bold cyan", "bold magenta", "bold blue", "bold red")


def ask_named_model(
    model: ModelName,
    text: Annotated[
        str, typer.Option("--text", help=N_("A file of text; - reads standard input."), metavar="FILE")
    ],
    question: Annotated[
        str, typer.Option("--question", help=N_("What to ask about the text."), metavar="WORDS")
    ] = "",
    checkpoint: Checkpoint = "",
    which: Annotated[str, typer.Option("--which", hidden=True)] = "",
    device: Device = "auto",
    base: Base = "",
    any_base: AnyBase = False,
    trust_remote_code: TrustCode = False,
    runs: Runs = "runs",
    json: Json = False,
) -> None:
    """Show what a model makes of a text: an answer, a class, names and places, or a text of its own."""
    from tui_tuner.evaluation.text_input import read_text_input

    origin = find_named_origin(model, checkpoint or which, runs, base, any_base, trust_remote_code)
    check_askable(origin, question)
    words = read_text_input(text)
    shown = _load_and_ask(origin, device, words, question, quiet=json)
    if json:
        import orjson

        from tui_tuner.inference.asking import convert_shown_answer
        from tui_tuner.runs.wire import convert_to_plain_json

        typer.echo(
            orjson.dumps(
                convert_to_plain_json(convert_shown_answer(shown), spelt=True), option=orjson.OPT_INDENT_2
            ).decode()
        )
        return
    _print_answer(shown)


def check_askable(origin: Origin, question: str) -> None:
    """Raise `UsageError` if the model cannot be asked, before anything heavy is imported."""
    kind, name = TASKS[origin.task], one_line(origin.name)
    if kind.talks:
        raise UsageError(
            _(
                "is for task {task}, whose models chat; ask is for models that read one text at a time.",
                task=origin.task,
            )
            if origin.kind == "run"
            else _("is a model that writes text; ask is for models that read one text at a time."),
            where=name,
            hint=_("Chat with it: `tui-tuner chat {name}`.", name=name),
        )
    if kind.question and not question.strip():
        raise UsageError(
            _("a question is missing."),
            where="--question",
            hint=_("Add one, such as --question 'Who won the match?'"),
        )


def _load_and_ask(origin: Origin, device: str, text: str, question: str, quiet: bool) -> ShownSample:
    """Load the model and ask it, with the output of libraries suppressed."""
    from tui_tuner.launch.environment import prepare_environment
    from tui_tuner.launch.output_capture import capture_output

    prepare_environment()
    # Before the output is captured, so that the progress of a download is visible
    fetch_bases_with_progress([origin])
    with capture_output(None) as terminal:
        if not quiet and terminal.err.isatty():
            terminal.err.write(_("loading the model…") + "\r")
            terminal.err.flush()
        try:
            # Takes seconds: torch, transformers
            from tui_tuner.inference.asking import ask_loaded_model, load_asked_model

            return ask_loaded_model(load_asked_model(origin, device), text, question)
        finally:
            if not quiet and terminal.err.isatty():
                terminal.err.write("\x1b[2K")


def _print_answer(shown: ShownSample) -> None:
    from rich.console import Console

    console = Console(highlight=False, markup=False, emoji=False)
    # In a pipe or file, lines stay as they are in the text
    wraps = sys.stdout.isatty()
    for line in format_ask_output(shown):
        console.print(line, soft_wrap=not wraps)


def format_ask_output(shown: ShownSample) -> list[Text]:
    """Format the prediction, the text with its findings marked, and the choices with their probabilities."""
    from rich.text import Text

    from tui_tuner.evaluation.inside_text import is_output_inside_text, split_marked_parts

    inside = bool(shown.passage or shown.found)
    said = shown.text.strip()
    lines: list[Text] = []
    if inside and not shown.found:
        words = _("no answer in this text") if shown.scores else _("nothing was found in this text")
        lines.append(Text(words, style="bold"))
    elif not is_output_inside_text(shown):
        # A text that the model wrote, with its own line breaks
        lines.append(Text(sanitize(said) or _("(nothing)")))
        if not shown.stopped:
            lines.append(Text(_("[did not stop]"), style="dim"))
    elif said and not any(span.label for span in shown.found):
        lines.append(Text(one_line(said), style="bold"))
    if inside:
        labels = sorted({span.label for span in shown.found if span.label})
        body = Text()
        for part in split_marked_parts(shown, judged=False, around=_AROUND, short=_SHORT):
            style = _STYLES.get(part.role, "")
            if part.label:
                style = _LABELS[labels.index(part.label) % len(_LABELS)]
            body.append(part.text, style)
        lines += [Text(), body] if lines else [body]
    return [
        *lines,
        *([Text()] if inside and shown.scores else []),
        *_format_choices(shown.scores),
        *(line for choices in shown.further for line in (Text(), *_format_choices(choices))),
        *_format_findings(shown),
    ]


def _format_choices(scores: Sequence[tuple[str, float]]) -> list[Text]:
    """Format the most likely choices, one per line: probability, bar, name."""
    from rich.text import Text

    from tui_tuner.evaluation.before_after import format_probability, name_choice

    lines = []
    for name, score in scores[:_CHOICES]:
        filled = round(max(0.0, min(1.0, score)) * _BAR)
        bar = "█" * filled + "░" * (_BAR - filled)
        lines.append(
            Text.assemble(f"{format_probability(score):>7} ", (bar, "cyan"), f" {name_choice(name)}")
        )
    return lines


def _format_findings(shown: ShownSample) -> list[Text]:
    """Format the findings of each label, one label per line."""
    from rich.text import Text

    text = shown.passage or shown.prompt
    names: dict[str, list[str]] = {}
    for span in shown.found:
        if span.label:
            names.setdefault(span.label, []).append(one_line(text[span.start : span.end], 60))
    lines = [Text(f"{one_line(label, 24)}: {', '.join(found)}") for label, found in sorted(names.items())]
    return [Text(), *lines] if lines else []
