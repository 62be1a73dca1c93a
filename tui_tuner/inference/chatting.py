"""The operations `chat_open`, `chat_answer` and `chat_tokens` of a helper process, which keeps its models."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tui_tuner.config.advice import words_of
from tui_tuner.errors import TunerError
from tui_tuner.evaluation.generation import context_length
from tui_tuner.inference.answering import Answer, answer_each
from tui_tuner.inference.bringing import bring_missing
from tui_tuner.inference.loading import Loaded, Models
from tui_tuner.inference.origin import Origin, check_writes
from tui_tuner.inference.prompts import encode_chat, has_template, show_tokens
from tui_tuner.inference.sampling import Sampling
from tui_tuner.models.hub.kinds import Cancelled
from tui_tuner.models.hub.kinds import Progress as Fetched

Progress = Callable[[Any], None]
PIECE_SECONDS = 0.05  # between two messages of one answer: a screen draws no faster, and a slow line not more

_models: dict[str, Models] = {}  # of this process; of one device at a time


def open_chat(
    arguments: Mapping[str, Any], progress: Progress, cancelled: Callable[[], bool]
) -> list[dict[str, Any]]:
    """Load the models of a chat.

    Args:
        arguments: `models` (each an `Origin` in plain values) and, if wanted, `device`.
        progress: Told {"fetching": name, "done": bytes, "total": bytes} where a model has to be brought here
            first, then {"loading": name, "done": weights, "total": weights}.

    Returns:
        For each what a screen says of it: `context`, `template`, `device`, `dtype`, `parameters`.
    """
    return [describe(one) for one in _load(arguments, progress, cancelled)]


def answer_chat(
    arguments: Mapping[str, Any], progress: Progress, cancelled: Callable[[], bool]
) -> list[dict[str, Any]]:
    """Let the models answer.

    Args:
        arguments: As `open_chat`, with `sampling` and `turns`: for each model its list of turns, None for one
            that is only kept.
        progress: Told {"model": number, "piece": text, "tokens": so far}, and what `open_chat` tells.

    Returns:
        For each model that was asked an `Answer` in plain values, with what there was where it was cancelled;
        for one that could not answer {"error": why}, while the others do. Nothing where it was cancelled
        before the models were there.
    """
    loaded = _load(arguments, progress, cancelled)
    if not loaded:
        return []
    sampling = Sampling(**arguments.get("sampling", {})).check()
    found: dict[int, dict[str, Any]] = {}
    prompts: dict[int, list[int]] = {}
    for place, turns in enumerate(arguments["turns"]):
        if turns is not None:
            try:
                prompts[place] = encode_chat(loaded[place], turns)
            except TunerError as error:
                found[place] = {"error": words_of(error)}
    told = Telling(progress, list(prompts))
    asked = [loaded[place] for place in prompts]
    answers = answer_each(asked, list(prompts.values()), sampling, told.add, cancelled)
    told.rest()
    for place, answer in zip(prompts, answers, strict=True):
        if isinstance(answer, Answer):
            found[place] = answer.plain()
        elif isinstance(answer, TunerError):
            found[place] = {"error": words_of(answer)}
        else:
            raise answer
    return [found[place] for place in sorted(found)]


def chat_tokens(
    arguments: Mapping[str, Any], progress: Progress, cancelled: Callable[[], bool]
) -> list[list[tuple[int, str, bool]]]:
    """The exact tokens that `answer_chat` would give to each model: (id, text, special)."""
    loaded = _load(arguments, progress, cancelled)
    turns = zip(loaded, arguments["turns"] if loaded else [], strict=True)
    return [show_tokens(one, encode_chat(one, said)) for one, said in turns if said is not None]


def describe(loaded: Loaded) -> dict[str, Any]:
    """What a user may want to know of a loaded model."""
    weight = loaded.model.get_input_embeddings().weight
    return {
        "name": loaded.origin.label,
        "task": loaded.config.task,
        "context": context_length(loaded.model),
        "template": has_template(loaded.tokenizer),
        "device": str(weight.device),
        "dtype": str(weight.dtype).removeprefix("torch."),
    }


class Telling:
    """Puts pieces together, so that a fast model sends no message for each token.

    The first piece of an answer is told at once.

    Args:
        models: The number of each model that answers, as it is told.
    """

    def __init__(self, progress: Progress, models: Sequence[int]) -> None:
        self._progress = progress
        self._models, count = models, len(models)
        self._waiting = [""] * count
        self._tokens = [0] * count
        self._last = [0.0] * count

    def add(self, model: int, piece: str, tokens: int) -> None:
        """A piece of the answer of a model, and how many tokens it has by now."""
        self._waiting[model] += piece
        self._tokens[model] = tokens
        if time.monotonic() - self._last[model] >= PIECE_SECONDS:
            self._tell(model)

    def rest(self) -> None:
        """Tell what waits."""
        for model, text in enumerate(self._waiting):
            if text:
                self._tell(model)

    def _tell(self, model: int) -> None:
        if not self._waiting[model]:
            return
        piece, self._waiting[model] = self._waiting[model], ""
        self._last[model] = time.monotonic()
        self._progress({"model": self._models[model], "piece": piece, "tokens": self._tokens[model]})


def _load(arguments: Mapping[str, Any], progress: Progress, cancelled: Callable[[], bool]) -> list[Loaded]:
    """The models; none where it was cancelled while one was fetched."""
    device = str(arguments.get("device", "auto"))
    if device not in _models:
        _models.clear()
        _models[device] = Models(device)

    def say(name: str, done: int, total: int) -> None:
        progress({"loading": name, "done": done, "total": total})

    def fetched(name: str, at: Fetched) -> None:
        progress({"fetching": name, "done": at.done, "total": at.total})

    origins = [Origin.of(one) for one in arguments["models"]]
    check_writes(origins)
    try:
        bring_missing(origins, fetched, cancelled)
    except Cancelled:
        return []
    return _models[device].load(origins, say)
