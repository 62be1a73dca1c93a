"""Grow the tokenizer of a run by what `model.new_tokens` asks for, and measure what that saves."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tui_tuner.config.schema import ModelSection, RunConfig
from tui_tuner.config.sections.new_tokens import LEARN
from tui_tuner.data.examples.prepare import PreparedRows, RowTask, prepare_examples
from tui_tuner.data.new_words.training_words import (
    MEASURED_CHARACTERS,
    MOST_CHARACTERS,
    count_words,
    find_row_contents,
    measure_texts,
    read_row_texts,
)
from tui_tuner.errors import RowsError
from tui_tuner.locales import _
from tui_tuner.models.growing.growth import Growth, read_growth, write_grown_tokenizer
from tui_tuner.models.growing.learning import LEAST_SEEN, learn_pieces
from tui_tuner.models.growing.listed import add_listed, read_listing
from tui_tuner.models.growing.tokenizer_kinds import FIELD, GrowingTokenizer, open_growing
from tui_tuner.models.loading import load_tokenizer
from tui_tuner.runs.events import EventBody, EventSink, Phase

_TRIES = 4  # rows that are held out are known only once they are tokenised, which the new tokens change


@dataclass
class GrownTokenizer:
    """A tokenizer with its new tokens, as loaded from a folder, and what there is to say about it."""

    tokenizer: Any
    growth: Growth
    notes: list[str] = field(default_factory=list)


class _OnlyPhases:
    """Passes on how far the rows are, and nothing that the run itself will say of them again."""

    def __init__(self, sink: EventSink | None) -> None:
        self._sink = sink

    def emit(self, body: EventBody) -> None:
        if self._sink is not None and isinstance(body, Phase):
            self._sink.emit(body)


def grow_tokenizer(
    config: RunConfig,
    tokenizer: Any,
    task: RowTask,
    folder: Path,
    sink: EventSink | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> GrownTokenizer:
    """Write the tokenizer of a run with its new tokens into a folder, whole or not at all.

    Learned ones are those of the training rows alone: rows that are held out are read by no one.

    Args:
        tokenizer: The model's own, which stays as it is but for what the task needs (a chat template).

    Raises:
        ConfigError: the list or the file cannot be used.
        ModelError: this tokenizer cannot grow.
        RowsError: the rows hold nothing to learn.
        DataError, PreparingCancelled: as `prepare_examples`.
    """
    open_growing(tokenizer)  # before rows are read, for it may be unable to
    beside = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(beside, ignore_errors=True)
    try:
        if is_learning(config.model):
            notes = _grow_by_rows(config, tokenizer, task, beside, sink, cancelled)
        else:
            notes = _grow_by_list(config.model.new_tokens, tokenizer, beside)
        shutil.rmtree(folder, ignore_errors=True)
        beside.rename(folder)
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise
    return load_grown(folder, notes)


def load_grown(folder: Path, notes: list[str] | None = None) -> GrownTokenizer:
    """Load a tokenizer that has grown from its folder."""
    from transformers import AutoTokenizer

    growth = read_growth(folder)
    assert growth is not None
    return GrownTokenizer(AutoTokenizer.from_pretrained(str(folder)), growth, notes or [])


def load_planned_tokenizer(model: ModelSection) -> Any:
    """Load the tokenizer of a model with its listed words; learned ones are not known without the rows.

    Raises:
        ConfigError, ModelError, HubError: as `load_tokenizer` and `grow_tokenizer`.
    """
    tokenizer = load_tokenizer(model)
    if model.new_tokens is None or is_learning(model):
        return tokenizer
    with tempfile.TemporaryDirectory(prefix="tui-tuner-words-") as folder:
        _grow_by_list(model.new_tokens, tokenizer, Path(folder))
        return load_grown(Path(folder)).tokenizer


def prepare_planned(
    config: RunConfig,
    task: RowTask,
    sink: EventSink | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> tuple[PreparedRows, dict[str, Any] | None]:
    """Prepare rows as a run will do, with its new tokens; return them with what those save, if there are any.

    Raises:
        ConfigError, ModelError, HubError, DataError: as `grow_tokenizer` and `prepare_examples`.
    """
    tokenizer = load_tokenizer(config.model)
    if config.model.new_tokens is None:
        return prepare_examples(config, tokenizer, task, sink=sink, cancelled=cancelled), None
    with tempfile.TemporaryDirectory(prefix="tui-tuner-words-") as folder:
        grown = grow_tokenizer(config, tokenizer, task, Path(folder) / "grown", sink, cancelled)
        prepared = prepare_examples(config, grown.tokenizer, task, sink=sink, cancelled=cancelled)
        found = measure_growth(tokenizer, grown.tokenizer, prepared)
        return prepared, {"tokens": len(grown.growth.tokens), **found}


def is_learning(model: ModelSection) -> bool:
    """Return whether new tokens are learned from the rows."""
    return isinstance(model.new_tokens, dict) and LEARN in model.new_tokens


def _grow_by_list(asked: Any, tokenizer: Any, folder: Path) -> list[str]:
    growing, listing = open_growing(tokenizer), read_listing(asked)
    add_listed(growing, listing)
    write_grown_tokenizer(tokenizer, growing, listing.phrases, folder)
    return listing.describe_leavings()


def _grow_by_rows(
    config: RunConfig,
    tokenizer: Any,
    task: RowTask,
    folder: Path,
    sink: EventSink | None,
    cancelled: Callable[[], bool] | None,
) -> list[str]:
    assert isinstance(config.model.new_tokens, dict)
    wanted, quiet = int(config.model.new_tokens[LEARN]), _OnlyPhases(sink)
    # What is wrong with the rows is said once, by the run itself, with the tokens that it trains on
    data = config.data.model_copy(update={"preflight": "off", "max_dropped": 1.0})
    trial = config.model_copy(update={"data": data})
    prepared = prepare_examples(trial, tokenizer, task, sink=quiet, cancelled=cancelled)
    held = find_row_contents(prepared.validation)
    for _attempt in range(_TRIES):
        growing = _learn_from(prepared, tokenizer, held, wanted)
        write_grown_tokenizer(tokenizer, growing, (), folder)
        if not isinstance(config.data.validation, float) or not held:
            break
        # Fewer tokens may keep a row that was too long, and then other rows are drawn as held-out ones
        grown = load_grown(folder).tokenizer
        again = prepare_examples(trial, grown, task, sink=quiet, cancelled=cancelled)
        now = find_row_contents(again.validation)
        if now <= held:
            break
        held |= now
    found = len(growing.added)
    if found >= wanted:
        return []
    return [
        _(
            "The training rows yield {found:,} new tokens, not {wanted:,}: no other part of a word would "
            "save "
            "tokens in {least} places.",
            found=found,
            wanted=wanted,
            least=LEAST_SEEN,
        )
    ]


def _learn_from(
    prepared: PreparedRows, tokenizer: Any, held: frozenset[int], wanted: int
) -> GrowingTokenizer:
    growing = open_growing(tokenizer)
    learn_pieces(growing, count_words(growing, read_row_texts(prepared.train, MOST_CHARACTERS, held)), wanted)
    if not growing.added:
        raise RowsError(
            _(
                "the training rows hold no part of a word that would save tokens in {least} places.",
                least=LEAST_SEEN,
            ),
            where=FIELD,
            field=FIELD,
            hint=_("Leave model.new_tokens empty, or bring more text."),
        )
    return growing


def measure_growth(old: Any, new: Any, prepared: PreparedRows) -> dict[str, Any]:
    """Measure characters per token before and after, of training rows and of held-out ones.

    Returns:
        `before`, `after`, `held_before` and `held_after`; None for the last two where nothing is held out.
    """
    before, after = measure_texts([old, new], read_row_texts(prepared.train, MEASURED_CHARACTERS))
    found: dict[str, Any] = {
        "before": before.ratio,
        "after": after.ratio,
        "held_before": None,
        "held_after": None,
    }
    if prepared.validation is not None:
        before, after = measure_texts([old, new], read_row_texts(prepared.validation, MEASURED_CHARACTERS))
        found |= {"held_before": before.ratio, "held_after": after.ratio}
    return found
