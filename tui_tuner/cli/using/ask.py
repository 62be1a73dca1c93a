"""`tui-tuner ask`: what a trained model finds in a text of the user's own."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from tui_tuner.cli.options import Json, Runs
from tui_tuner.cli.using.naming import (
    AnyBase,
    Base,
    Checkpoint,
    Device,
    ModelName,
    TrustCode,
    fetch_missing,
    the_origin,
)
from tui_tuner.config.kinds import TASKS
from tui_tuner.errors import UsageError
from tui_tuner.locales import N_, _
from tui_tuner.text import one_line

if TYPE_CHECKING:
    from rich.text import Text

    from tui_tuner.evaluation.samples import Shown
    from tui_tuner.inference.origin import Origin

_BAR = 20  # cells
_CHOICES = 8
_AROUND, _SHORT = 300, 2000  # characters around what was found, and of a text that is printed whole
_STYLES = {"mark": "dim", "found": "bold green"}
_LABELS = ("bold green", "bold yellow", "bold cyan", "bold magenta", "bold blue", "bold red")


def ask(
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
    """Show what a model finds in a text: an answer, its class, names and places."""
    from tui_tuner.evaluation.asked import read_text

    origin = the_origin(model, checkpoint or which, runs, base, any_base, trust_remote_code)
    _check(origin, question)
    words = read_text(text)
    shown = _ask(origin, device, words, question, quiet=json)
    if json:
        import orjson

        from tui_tuner.inference.asking import to_json
        from tui_tuner.runs.wire import plain

        typer.echo(orjson.dumps(plain(to_json(shown), spelt=True), option=orjson.OPT_INDENT_2).decode())
        return
    _print(shown)


def _check(origin: Origin, question: str) -> None:
    """Refuse what cannot be asked, before anything heavy is imported."""
    kind, name = TASKS[origin.task], one_line(origin.name)
    if kind.writes:
        raise UsageError(
            _("trains task {task}, whose model writes text; ask finds things in one.", task=origin.task)
            if origin.kind == "run"
            else _("is a model that writes text; ask finds things in one."),
            where=name,
            hint=_("Talk to it with `tui-tuner chat {name}`.", name=name),
        )
    if kind.question and not question.strip():
        raise UsageError(
            _("a question is missing."),
            where="--question",
            hint=_("Say what to look for: --question 'Who won the match?'"),
        )


def _ask(origin: Origin, device: str, text: str, question: str, quiet: bool) -> Shown:
    """Load the model and ask it; what libraries print goes nowhere."""
    from tui_tuner.launch.environment import prepare_environment
    from tui_tuner.launch.output import captured

    prepare_environment()
    fetch_missing([origin])
    with captured(None) as terminal:
        if not quiet and terminal.err.isatty():
            terminal.err.write(_("loading the model…") + "\r")
            terminal.err.flush()
        try:
            from tui_tuner.inference.asking import ask_run, load_asked  # seconds: torch, transformers

            return ask_run(load_asked(origin, device), text, question)
        finally:
            if not quiet and terminal.err.isatty():
                terminal.err.write("\x1b[2K")


def _print(shown: Shown) -> None:
    from rich.console import Console

    console = Console(highlight=False, markup=False, emoji=False)
    wraps = sys.stdout.isatty()
    for line in answer_lines(shown):
        console.print(line, soft_wrap=not wraps)


def answer_lines(shown: Shown) -> list[Text]:
    """The prediction, the text with what was found in it, and the choices with their probabilities."""
    from rich.text import Text

    from tui_tuner.evaluation.inside import inside_parts

    inside = bool(shown.passage or shown.found)
    said = shown.text.strip()
    lines: list[Text] = []
    if inside and not shown.found:
        words = _("no answer in this text") if shown.scores else _("nothing was found in this text")
        lines.append(Text(words, style="bold"))
    elif said and not any(span.label for span in shown.found):
        lines.append(Text(one_line(said), style="bold"))
    if inside:
        labels = sorted({span.label for span in shown.found if span.label})
        body = Text()
        for part in inside_parts(shown, judged=False, around=_AROUND, short=_SHORT):
            style = _STYLES.get(part.role, "")
            if part.label:
                style = _LABELS[labels.index(part.label) % len(_LABELS)]
            body.append(part.text, style)
        lines += [Text(), body] if lines else [body]
    return [*lines, *([Text()] if inside and shown.scores else []), *_choices(shown), *_entities(shown)]


def _choices(shown: Shown) -> list[Text]:
    """A line for each of the likeliest choices: number, bar, name."""
    from rich.text import Text

    from tui_tuner.evaluation.compared import choice_name, share

    lines = []
    for name, score in shown.scores[:_CHOICES]:
        filled = round(max(0.0, min(1.0, score)) * _BAR)
        bar = "█" * filled + "░" * (_BAR - filled)
        lines.append(Text.assemble(f"{share(score):>7} ", (bar, "cyan"), f" {choice_name(name)}"))
    return lines


def _entities(shown: Shown) -> list[Text]:
    """What was found of each label, in a line each."""
    from rich.text import Text

    text = shown.passage or shown.prompt
    names: dict[str, list[str]] = {}
    for span in shown.found:
        if span.label:
            names.setdefault(span.label, []).append(one_line(text[span.start : span.end], 60))
    lines = [Text(f"{one_line(label, 24)}: {', '.join(found)}") for label, found in sorted(names.items())]
    return [Text(), *lines] if lines else []
