"""`tui-tuner chat`: chats with one or several models (runs, adapters, model folders, hub ids)."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer

from tui_tuner.cli.options import Json, NoTui, Runs
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
from tui_tuner.errors import EXIT_INTERRUPTED
from tui_tuner.locales import N_, _
from tui_tuner.text import one_line, sanitize

if TYPE_CHECKING:
    from tui_tuner.inference.answering import Answer
    from tui_tuner.inference.loading import LoadedModel
    from tui_tuner.inference.origin import Origin
    from tui_tuner.inference.sampling import Sampling

With = Annotated[
    list[str] | None,
    typer.Option(
        "--with", help=N_("Another model that also answers; `base` is the base model of RUN."), metavar="RUN"
    ),
]


def chat_with_models(
    model: ModelName,
    others: With = None,
    checkpoint: Checkpoint = "",
    system: Annotated[str, typer.Option("--system", help=N_("The system prompt."), metavar="TEXT")] = "",
    temperature: Annotated[
        float, typer.Option("--temperature", help=N_("0 always takes the most likely token."))
    ] = 0.0,
    top_p: Annotated[
        float,
        typer.Option("--top-p", help=N_("Draw from the most likely tokens with this total probability.")),
    ] = 1.0,
    top_k: Annotated[
        int, typer.Option("--top-k", help=N_("Draw from this many most likely tokens; 0 is all."))
    ] = 0,
    penalty: Annotated[
        float, typer.Option("--repetition-penalty", help=N_("Above 1, repetitions become less likely."))
    ] = 1.0,
    max_new_tokens: Annotated[
        int, typer.Option("--max-new-tokens", help=N_("Maximum length of an answer in tokens."))
    ] = 512,
    seed: Annotated[int | None, typer.Option("--seed", help=N_("Seed of the random numbers."))] = None,
    device: Device = "auto",
    base: Base = "",
    any_base: AnyBase = False,
    trust_remote_code: TrustCode = False,
    runs: Runs = "runs",
    no_tui: NoTui = False,
    json: Json = False,
) -> None:
    """Chat with a trained model: on a screen in a terminal, otherwise line by line."""
    first = find_named_origin(model, checkpoint, runs, base, any_base, trust_remote_code)
    origins = [first, *find_other_chat_models(first, others or [], runs, trust_remote_code)]
    values = {
        "temperature": temperature,
        "top_p": top_p,
        "top_k": top_k,
        "repetition_penalty": penalty,
        "max_new_tokens": max_new_tokens,
        "seed": seed,
    }
    from tui_tuner.cli.screen import can_show_screen

    if can_show_screen() and not no_tui and not json:
        raise typer.Exit(_on_screen(origins, system, values, device, runs))
    raise typer.Exit(_chat_in_lines(origins, system, values, device, json))


def _on_screen(origins: list[Origin], system: str, values: dict[str, Any], device: str, runs: str) -> int:
    from tui_tuner.cli.screen import show_screen
    from tui_tuner.inference.origin import check_models_write
    from tui_tuner.inference.sampling import Sampling
    from tui_tuner.inference.talk import Talk
    from tui_tuner.runs.store import RunStore
    from tui_tuner.ui.screens.first_screen import OpenedChat

    check_models_write(origins)
    talk = Talk(list(dict.fromkeys(origins)), system, Sampling(**values).check_ranges())
    return show_screen(RunStore(runs), opened=OpenedChat(talk, device))


def find_other_chat_models(first: Origin, names: list[str], runs: str, agreed: bool = False) -> list[Origin]:
    """Find the models that answer in addition to the first one; `base` is its base model."""
    from tui_tuner.inference.origin import BASE, find_base_origin

    return [
        find_base_origin(first) if one == BASE else find_named_origin(one, "", runs, agreed=agreed)
        for one in names
    ]


def _chat_in_lines(
    origins: list[Origin], system: str, values: dict[str, Any], device: str, as_json: bool
) -> int:
    from tui_tuner.launch.environment import prepare_environment
    from tui_tuner.launch.output_capture import capture_output

    prepare_environment()
    # Before the output is captured, so that the progress of a download is visible
    fetch_bases_with_progress(origins)
    with capture_output(None) as terminal, _catch_interrupts() as asked:
        talk = LineChat(origins, system, values, device, terminal.out, as_json, asked)
        if terminal.err.isatty():
            terminal.err.write(_("loading the model…") + "\r")
            terminal.err.flush()
        talk.load_models()
        if terminal.err.isatty():
            terminal.err.write("\x1b[2K")
            terminal.err.flush()
        while True:
            # Ctrl+C during the last answer has stopped that answer, not the chat
            asked.clear()
            line = _read_line(terminal.err, sys.stdin.isatty())
            if line is None:
                return EXIT_INTERRUPTED if asked.is_set() else 0
            if line.strip():
                talk.ask_all(line)


def _read_line(where: TextIO, typed: bool) -> str | None:
    """Read the next line of standard input; None at its end or after Ctrl+C."""
    if typed:
        where.write("> ")
        where.flush()
    try:
        line = sys.stdin.readline()
    except KeyboardInterrupt:
        return None
    return _replace_invalid_bytes(line.rstrip("\n")) if line else None


def _replace_invalid_bytes(text: str) -> str:
    """Replace bytes that are not valid UTF-8, which tokenizers refuse."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


@contextmanager
def _catch_interrupts() -> Iterator[threading.Event]:
    """Yield an event that Ctrl+C sets: it stops the current answer, or the chat while a line is read."""
    asked = threading.Event()

    def stop_answer(_number: int, _frame: object) -> None:
        asked.set()
        # While an answer is generated, an exception could arise anywhere in torch; the event is checked per
        # token
        if not _answering.is_set():
            raise KeyboardInterrupt

    # Python's own handler would interrupt the generation with an exception
    before = signal.signal(signal.SIGINT, stop_answer)
    try:
        yield asked
    finally:
        signal.signal(signal.SIGINT, before)


_answering = threading.Event()


class LineChat:
    """A chat with one or several models, written to a stream.

    Args:
        asked: Set when the answer should stop.
    """

    def __init__(
        self,
        origins: list[Origin],
        system: str,
        values: dict[str, Any],
        device: str,
        out: TextIO,
        as_json: bool,
        asked: threading.Event,
    ) -> None:
        self._origins, self._device, self._values = origins, device, values
        self._out, self._json, self._asked = out, as_json, asked
        first = [{"role": "system", "content": system}] if system else []
        self._turns: list[list[dict[str, Any]]] = [list(first) for _origin in origins]
        self._loaded: list[LoadedModel] = []
        self._sampling: Sampling | None = None

    def load_models(self) -> None:
        """Check the options and load the models."""
        from tui_tuner.inference.loading import ModelKeeper
        from tui_tuner.inference.origin import check_models_write
        from tui_tuner.inference.sampling import Sampling

        self._sampling = Sampling(**self._values).check_ranges()
        check_models_write(self._origins)
        self._loaded = ModelKeeper(self._device).load_all(self._origins)

    def ask_all(self, text: str) -> None:
        """Write the models' answers, and keep them for the following turns."""
        from tui_tuner.inference.answering import answer_with_all_models
        from tui_tuner.inference.prompts import encode_chat_prompt

        assert self._sampling is not None
        for turns in self._turns:
            turns.append({"role": "user", "content": text})
        # Each model has its own turns, as each answers its own earlier answers
        prompts = [
            encode_chat_prompt(one, turns) for one, turns in zip(self._loaded, self._turns, strict=True)
        ]
        heard = (
            self._print_json_piece
            if self._json
            else _OrderedPrinter(self._write_text, self._model_labels).add_piece
        )
        _answering.set()
        try:
            answers = answer_with_all_models(self._loaded, prompts, self._sampling, heard, self._asked.is_set)
        finally:
            _answering.clear()
        for place, answer in enumerate(answers):
            self._turns[place].append({"role": "assistant", "content": answer.text})
        self._finish_answers(answers, heard)

    @property
    def _model_labels(self) -> list[str]:
        return [one_line(origin.display_label) for origin in self._origins] if len(self._origins) > 1 else []

    def _print_json_piece(self, place: int, piece: str, tokens: int) -> None:
        if piece:
            self._write_json_line({"model": self._origins[place].display_label, "piece": piece})

    def _finish_answers(self, answers: list[Answer], heard: Callable[[int, str, int], None]) -> None:
        if self._json:
            for origin, answer in zip(self._origins, answers, strict=True):
                self._write_json_line({"model": origin.display_label, "answer": answer.list_answer_values()})
            return
        in_order = getattr(heard, "__self__", None)
        if isinstance(in_order, _OrderedPrinter):
            in_order.print_waiting()
        for origin, answer in zip(self._origins, answers, strict=True):
            if answer.note:
                note = (
                    f"{one_line(origin.display_label)}: {answer.note}" if self._model_labels else answer.note
                )
                typer.echo(f"({note})", err=True)

    def _write_text(self, text: str) -> None:
        self._out.write(text)
        self._out.flush()

    def _write_json_line(self, values: dict[str, Any]) -> None:
        import json

        self._write_text(json.dumps(values, ensure_ascii=False) + "\n")


class _OrderedPrinter:
    """Prints answers that are generated at the same time one after the other."""

    def __init__(self, write: Callable[[str], None], labels: list[str]) -> None:
        self._write, self._labels = write, labels
        self._waiting: dict[int, str] = {}
        self._at = -1 if labels else 0

    def add_piece(self, place: int, piece: str, tokens: int) -> None:
        """Print a piece of the current answer; pieces of later ones wait."""
        # A model can write control sequences, which would change the terminal
        text = sanitize(piece)
        if self._at < 0:
            self._begin_answer(0)
        if place == self._at:
            self._write(text)
        else:
            self._waiting[place] = self._waiting.get(place, "") + text

    def print_waiting(self) -> None:
        """Print the answers that are still waiting."""
        if self._labels and self._at < 0:
            self._begin_answer(0)
        for place in range(self._at + 1, len(self._labels)):
            self._write("\n")
            self._begin_answer(place)
            self._write(self._waiting.get(place, ""))
        self._write("\n")

    def _begin_answer(self, place: int) -> None:
        self._at = place
        self._write(f"── {self._labels[place]}\n")
