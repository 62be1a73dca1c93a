"""`tui-tuner chat`: talk to a run, an adapter, a model folder or a hub id; several answer side by side."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer

from tui_tuner.cli.options import Json, NoTui, Runs
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
from tui_tuner.errors import EXIT_INTERRUPTED
from tui_tuner.locales import N_, _
from tui_tuner.text import one_line, sanitize

if TYPE_CHECKING:
    from tui_tuner.inference.answering import Answer
    from tui_tuner.inference.loading import Loaded
    from tui_tuner.inference.origin import Origin
    from tui_tuner.inference.sampling import Sampling

With = Annotated[
    list[str] | None,
    typer.Option(
        "--with", help=N_("Another that answers too; `base` is what RUN began with."), metavar="RUN"
    ),
]


def chat(
    model: ModelName,
    others: With = None,
    checkpoint: Checkpoint = "",
    system: Annotated[str, typer.Option("--system", help=N_("The system prompt."), metavar="TEXT")] = "",
    temperature: Annotated[
        float, typer.Option("--temperature", help=N_("0 takes the likeliest token each time."))
    ] = 0.0,
    top_p: Annotated[float, typer.Option("--top-p", help=N_("Share of the probability to draw from."))] = 1.0,
    top_k: Annotated[int, typer.Option("--top-k", help=N_("So many likeliest tokens; 0 is all."))] = 0,
    penalty: Annotated[
        float, typer.Option("--repetition-penalty", help=N_("Above 1, repeats become less likely."))
    ] = 1.0,
    max_new_tokens: Annotated[
        int, typer.Option("--max-new-tokens", help=N_("The longest answer, in tokens."))
    ] = 512,
    seed: Annotated[int | None, typer.Option("--seed", help=N_("Of the random numbers."))] = None,
    device: Device = "auto",
    base: Base = "",
    any_base: AnyBase = False,
    trust_remote_code: TrustCode = False,
    runs: Runs = "runs",
    no_tui: NoTui = False,
    json: Json = False,
) -> None:
    """Talk to a trained model: a screen in a terminal, else a line in and an answer out."""
    first = the_origin(model, checkpoint, runs, base, any_base, trust_remote_code)
    origins = [first, *find_others(first, others or [], runs, trust_remote_code)]
    values = {
        "temperature": temperature,
        "top_p": top_p,
        "top_k": top_k,
        "repetition_penalty": penalty,
        "max_new_tokens": max_new_tokens,
        "seed": seed,
    }
    from tui_tuner.cli.screen import can_show

    if can_show() and not no_tui and not json:
        raise typer.Exit(_on_screen(origins, system, values, device, runs))
    raise typer.Exit(_plain(origins, system, values, device, json))


def _on_screen(origins: list[Origin], system: str, values: dict[str, Any], device: str, runs: str) -> int:
    from tui_tuner.cli.screen import show
    from tui_tuner.inference.origin import check_writes
    from tui_tuner.inference.sampling import Sampling
    from tui_tuner.inference.talk import Talk
    from tui_tuner.runs.store import RunStore
    from tui_tuner.ui.screens.at_once import Talking

    check_writes(origins)
    talk = Talk(list(dict.fromkeys(origins)), system, Sampling(**values).check())
    return show(RunStore(runs), opened=Talking(talk, device))


def find_others(first: Origin, names: list[str], runs: str, agreed: bool = False) -> list[Origin]:
    """The models that answer beside the first one; `base` is what that began with."""
    from tui_tuner.inference.origin import BASE, base_of

    return [base_of(first) if one == BASE else the_origin(one, "", runs, agreed=agreed) for one in names]


def _plain(origins: list[Origin], system: str, values: dict[str, Any], device: str, as_json: bool) -> int:
    from tui_tuner.launch.environment import prepare_environment
    from tui_tuner.launch.output import captured

    prepare_environment()
    fetch_missing(origins)
    with captured(None) as terminal, _stopping() as asked:
        talk = Talk(origins, system, values, device, terminal.out, as_json, asked)
        if terminal.err.isatty():
            terminal.err.write(_("loading the model…") + "\r")
            terminal.err.flush()
        talk.load()
        if terminal.err.isatty():
            terminal.err.write("\x1b[2K")
            terminal.err.flush()
        while True:
            asked.clear()
            line = _read_line(terminal.err, sys.stdin.isatty())
            if line is None:
                return EXIT_INTERRUPTED if asked.is_set() else 0
            if line.strip():
                talk.ask(line)


def _read_line(where: TextIO, typed: bool) -> str | None:
    """The next line of standard input; None at its end, or at Ctrl+C."""
    if typed:
        where.write("> ")
        where.flush()
    try:
        line = sys.stdin.readline()
    except KeyboardInterrupt:
        return None
    return _readable(line.rstrip("\n")) if line else None


def _readable(text: str) -> str:
    """A text with a sign in the place of each byte that is no text: no tokenizer takes those."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


@contextmanager
def _stopping() -> Iterator[threading.Event]:
    """Set by Ctrl+C: it ends the answer that is being written; while a line is read, the chat."""
    asked = threading.Event()

    def stop(_number: int, _frame: object) -> None:
        asked.set()
        if not _answering.is_set():
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, stop)
    try:
        yield asked
    finally:
        signal.signal(signal.SIGINT, before)


_answering = threading.Event()


class Talk:
    """Turns of a chat with one model or several, written to a stream.

    Args:
        asked: Set where the answer is to end.
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
        self._loaded: list[Loaded] = []
        self._sampling: Sampling | None = None

    def load(self) -> None:
        """Load the models."""
        from tui_tuner.inference.loading import Models
        from tui_tuner.inference.origin import check_writes
        from tui_tuner.inference.sampling import Sampling

        self._sampling = Sampling(**self._values).check()
        check_writes(self._origins)
        self._loaded = Models(self._device).load(self._origins)

    def ask(self, text: str) -> None:
        """Write what the models answer, and keep it for the turns that follow."""
        from tui_tuner.inference.answering import answer_all
        from tui_tuner.inference.prompts import encode_chat

        assert self._sampling is not None
        for turns in self._turns:
            turns.append({"role": "user", "content": text})
        prompts = [encode_chat(one, turns) for one, turns in zip(self._loaded, self._turns, strict=True)]
        heard = self._hear_json if self._json else _InOrder(self._write, self._labels).add
        _answering.set()
        try:
            answers = answer_all(self._loaded, prompts, self._sampling, heard, self._asked.is_set)
        finally:
            _answering.clear()
        for place, answer in enumerate(answers):
            self._turns[place].append({"role": "assistant", "content": answer.text})
        self._end(answers, heard)

    @property
    def _labels(self) -> list[str]:
        return [one_line(origin.label) for origin in self._origins] if len(self._origins) > 1 else []

    def _hear_json(self, place: int, piece: str, tokens: int) -> None:
        if piece:
            self._line({"model": self._origins[place].label, "piece": piece})

    def _end(self, answers: list[Answer], heard: Callable[[int, str, int], None]) -> None:
        if self._json:
            for origin, answer in zip(self._origins, answers, strict=True):
                self._line({"model": origin.label, "answer": answer.plain()})
            return
        in_order = getattr(heard, "__self__", None)
        if isinstance(in_order, _InOrder):
            in_order.end()
        for origin, answer in zip(self._origins, answers, strict=True):
            if answer.note:
                note = f"{one_line(origin.label)}: {answer.note}" if self._labels else answer.note
                typer.echo(f"({note})", err=True)

    def _write(self, text: str) -> None:
        self._out.write(text)
        self._out.flush()

    def _line(self, values: dict[str, Any]) -> None:
        import json

        self._write(json.dumps(values, ensure_ascii=False) + "\n")


class _InOrder:
    """Several answers one after the other, though they are written at once: what comes early waits."""

    def __init__(self, write: Callable[[str], None], labels: list[str]) -> None:
        self._write, self._labels = write, labels
        self._waiting: dict[int, str] = {}
        self._at = -1 if labels else 0

    def add(self, place: int, piece: str, tokens: int) -> None:
        """A piece of an answer."""
        text = sanitize(piece)
        if self._at < 0:
            self._begin(0)
        if place == self._at:
            self._write(text)
        else:
            self._waiting[place] = self._waiting.get(place, "") + text

    def end(self) -> None:
        """All answers are whole."""
        if self._labels and self._at < 0:
            self._begin(0)
        for place in range(self._at + 1, len(self._labels)):
            self._write("\n")
            self._begin(place)
            self._write(self._waiting.get(place, ""))
        self._write("\n")

    def _begin(self, place: int) -> None:
        self._at = place
        self._write(f"── {self._labels[place]}\n")
