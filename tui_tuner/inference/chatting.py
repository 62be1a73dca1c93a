"""Operations `chat_open`, `chat_answer` and `chat_tokens` of a helper process, which keeps its models."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tui_tuner.config.advice import format_error_words
from tui_tuner.errors import TunerError
from tui_tuner.evaluation.writing.stop_tokens import find_context_length
from tui_tuner.inference.answering import Answer, answer_with_each_model
from tui_tuner.inference.base_download import fetch_missing_bases
from tui_tuner.inference.loading import LoadedModel, ModelKeeper
from tui_tuner.inference.origin import Origin, check_models_write
from tui_tuner.inference.prompts import encode_chat_prompt, has_prompt_template, list_prompt_tokens
from tui_tuner.inference.sampling import Sampling
from tui_tuner.models.hub.kinds import FetchCancelled
from tui_tuner.models.hub.kinds import Progress as Fetched

Progress = Callable[[Any], None]
PIECE_SECONDS = (
    0.05  # between two messages of one answer: a screen draws no faster, and slow connections are not flooded
)

_models: dict[str, ModelKeeper] = {}  # loaded in this process, for one device at a time


def load_chat_models(
    arguments: Mapping[str, Any], progress: Progress, cancelled: Callable[[], bool]
) -> list[dict[str, Any]]:
    """Load the models of a chat.

    Args:
        arguments: `models` (each an `Origin` in plain values), optionally `device`.
        progress: Called with {"fetching": name, "done": bytes, "total": bytes} while a model is downloaded,
            then with {"loading": name, "done": weights, "total": weights}.

    Returns:
        For each model the facts of `describe_loaded_model`.
    """
    return [describe_loaded_model(one) for one in _load_chat_models(arguments, progress, cancelled)]


def answer_chat(
    arguments: Mapping[str, Any], progress: Progress, cancelled: Callable[[], bool]
) -> list[dict[str, Any]]:
    """Let the models of a chat answer.

    Args:
        arguments: As `load_chat_models`, with `sampling` and `turns`: for each model its list of turns, None
            for one that only stays loaded.
        progress: Called with {"model": number, "piece": text, "tokens": so far}, and as by
        `load_chat_models`.

    Returns:
        For each model with turns an `Answer` in plain values, incomplete if it was cancelled, or
        {"error": why} if it could not answer. Nothing if it was cancelled before the models were loaded.
    """
    loaded = _load_chat_models(arguments, progress, cancelled)
    if not loaded:
        return []
    sampling = Sampling(**arguments.get("sampling", {})).check_ranges()
    found: dict[int, dict[str, Any]] = {}
    prompts: dict[int, list[int]] = {}
    for place, turns in enumerate(arguments["turns"]):
        if turns is not None:
            try:
                prompts[place] = encode_chat_prompt(loaded[place], turns)
            except TunerError as error:
                # A template that refuses the turns is one model's problem; the others still answer
                found[place] = {"error": format_error_words(error)}
    told = PieceSender(progress, list(prompts))
    asked = [loaded[place] for place in prompts]
    answers = answer_with_each_model(asked, list(prompts.values()), sampling, told.add_piece, cancelled)
    told.send_rest()
    for place, answer in zip(prompts, answers, strict=True):
        if isinstance(answer, Answer):
            found[place] = answer.list_answer_values()
        elif isinstance(answer, TunerError):
            found[place] = {"error": format_error_words(answer)}
        else:
            # Anything but our own errors is a bug, and must not look like a model's refusal
            raise answer
    return [found[place] for place in sorted(found)]


def list_chat_tokens(
    arguments: Mapping[str, Any], progress: Progress, cancelled: Callable[[], bool]
) -> list[list[tuple[int, str, bool]]]:
    """Return the exact tokens that `answer_chat` would pass to each model: (id, text, special)."""
    loaded = _load_chat_models(arguments, progress, cancelled)
    turns = zip(loaded, arguments["turns"] if loaded else [], strict=True)
    return [list_prompt_tokens(one, encode_chat_prompt(one, said)) for one, said in turns if said is not None]


def describe_loaded_model(loaded: LoadedModel) -> dict[str, Any]:
    """Return facts about a loaded model for a chat's heading."""
    weight = loaded.model.get_input_embeddings().weight
    return {
        "name": loaded.origin.display_label,
        "task": loaded.config.task,
        "context": find_context_length(loaded.model),
        "template": has_prompt_template(loaded.tokenizer),
        "device": str(weight.device),
        "dtype": str(weight.dtype).removeprefix("torch."),
    }


class PieceSender:
    """Joins pieces of answers, so that a fast model does not send a message for each token.

    The first piece of an answer is sent at once.

    Args:
        models: The numbers of the answering models, as sent in messages.
    """

    def __init__(self, progress: Progress, models: Sequence[int]) -> None:
        self._progress = progress
        self._models, count = models, len(models)
        self._waiting = [""] * count
        self._tokens = [0] * count
        self._last = [0.0] * count

    def add_piece(self, model: int, piece: str, tokens: int) -> None:
        """Add a piece to a model's answer; `tokens` is the length of the answer so far."""
        self._waiting[model] += piece
        self._tokens[model] = tokens
        if time.monotonic() - self._last[model] >= PIECE_SECONDS:
            self._send_piece(model)

    def send_rest(self) -> None:
        """Send the pieces that are still waiting."""
        for model, text in enumerate(self._waiting):
            if text:
                self._send_piece(model)

    def _send_piece(self, model: int) -> None:
        if not self._waiting[model]:
            return
        piece, self._waiting[model] = self._waiting[model], ""
        self._last[model] = time.monotonic()
        self._progress({"model": self._models[model], "piece": piece, "tokens": self._tokens[model]})


def _load_chat_models(
    arguments: Mapping[str, Any], progress: Progress, cancelled: Callable[[], bool]
) -> list[LoadedModel]:
    """Load the models of a chat; return none if it was cancelled during a download."""
    device = str(arguments.get("device", "auto"))
    if device not in _models:
        _models.clear()
        _models[device] = ModelKeeper(device)

    def report_loading(name: str, done: int, total: int) -> None:
        progress({"loading": name, "done": done, "total": total})

    def report_fetching(name: str, at: Fetched) -> None:
        progress({"fetching": name, "done": at.done, "total": at.total})

    origins = [Origin.from_values(one) for one in arguments["models"]]
    # Checked before anything is downloaded: a model that cannot write would be fetched for nothing
    check_models_write(origins)
    try:
        fetch_missing_bases(origins, report_fetching, cancelled)
    except FetchCancelled:
        return []
    return _models[device].load_all(origins, report_loading)
