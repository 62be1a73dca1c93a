"""Cut a question and its text into windows that fit a model, with the place of each token in the text.

The tokenizer's own pair template joins them (`[CLS] question [SEP] text [SEP]`, if it has one); only the text
is cut, and consecutive windows share `stride` of its tokens. Places are in characters, as the tokenizers
library gives them: a token for a part of a character counts for all of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tui_tuner.data.examples.token_types import pack_types
from tui_tuner.data.row_problem import RowProblem
from tui_tuner.errors import ModelError
from tui_tuner.locales import N_, _

LONG_QUESTION = N_("the question leaves no room for its text within max_length")


@dataclass(frozen=True)
class PairWindow:
    """A sequence of a question and a part of its text.

    Args:
        ids: int32 [tokens].
        types: Token types, packed (`token_types`).
        null: The position that means "no answer": the tokenizer's CLS token, or the first one.
        context: int32 [tokens, 2]: the characters of the text in each token; (-1, -1) for a token outside
            of the text.
        base: How many tokens of the text come before this window.
    """

    ids: np.ndarray
    types: int
    null: int
    context: np.ndarray
    base: int

    @property
    def text_start(self) -> int:
        """Return the first position of the text."""
        return int(np.argmax(self.context[:, 0] >= 0))


class PairCutter:
    """Cuts pairs into windows.

    Raises:
        ModelError: the tokenizer cannot give the places of its tokens.
    """

    def __init__(self, tokenizer: Any, max_length: int, stride: int) -> None:
        if not getattr(tokenizer, "is_fast", False):
            raise ModelError(
                _(
                    "this tokenizer ({name}) cannot give the places of its tokens in a text, so answers "
                    "cannot be found in it.",
                    name=type(tokenizer).__name__,
                ),
                hint=_(
                    "Choose a model whose folder contains a tokenizer.json, or set such a folder in "
                    "model.tokenizer."
                ),
                field="model.tokenizer",
            )
        self.tokenizer, self.max_length, self.stride = tokenizer, max_length, stride
        self._special = int(tokenizer.num_special_tokens_to_add(pair=True))
        pad_on_right(tokenizer)

    def cut_pairs(
        self, questions: Sequence[str], contexts: Sequence[str]
    ) -> list[list[PairWindow] | RowProblem]:
        """Cut each pair into windows; one that cannot be cut is replaced by its problem."""
        asked = self.tokenizer(list(questions), add_special_tokens=False)["input_ids"] if questions else []
        room = [self.max_length - self._special - len(ids) for ids in asked]
        # With no more room than the stride the tokenizer would make windows for ever.
        fits = [place for place, tokens in enumerate(room) if tokens > self.stride]
        found: list[list[PairWindow] | RowProblem] = [self._too_long_problem(len(ids)) for ids in asked]
        if not fits:
            return found
        batch = self.tokenizer(
            [questions[place] for place in fits],
            [contexts[place] for place in fits],
            truncation="only_second",
            max_length=self.max_length,
            stride=self.stride,
            return_overflowing_tokens=True,
            return_offsets_mapping=True,
            padding=False,
        )
        windows: list[list[PairWindow]] = [[] for _place in fits]
        for number, pair in enumerate(batch["overflow_to_sample_mapping"]):
            before = windows[pair][-1] if windows[pair] else None
            windows[pair].append(self._make_window(batch, number, before))
        for place, own in zip(fits, windows, strict=True):
            empty = own[0].context[:, 0].max(initial=-1) < 0
            found[place] = RowProblem(N_("the context has no tokens")) if empty else own
        return found

    def _make_window(self, batch: Any, number: int, before: PairWindow | None) -> PairWindow:
        encoding = batch.encodings[number]
        ids = np.array(encoding.ids, dtype=np.int32)
        context = np.array(encoding.offsets, dtype=np.int32).reshape(-1, 2)
        # Special tokens and the question have offsets too, but not in the text.
        context[np.array([one != 1 for one in encoding.sequence_ids], dtype=bool)] = -1
        types = batch["token_type_ids"][number] if "token_type_ids" in batch else ()
        base = 0
        if before is not None:
            # Tokens of the text so far, less those that this window repeats.
            base = before.base + int((before.context[:, 0] >= 0).sum()) - self.stride
        return PairWindow(ids, pack_types(types), find_null_position(self.tokenizer, ids), context, base)

    def _too_long_problem(self, tokens: int) -> RowProblem:
        return RowProblem(
            LONG_QUESTION,
            _(
                "{tokens} tokens, with data.max_length {most} and data.stride {stride}",
                tokens=tokens,
                most=self.max_length,
                stride=self.stride,
            ),
        )


def find_null_position(tokenizer: Any, ids: np.ndarray) -> int:
    """Return the position that means "no answer": CLS, else BOS, else the first token."""
    # XLNet has CLS at the end, so the position is searched for.
    for token in (tokenizer.cls_token_id, tokenizer.bos_token_id):
        if token is not None and (places := np.flatnonzero(ids == token)).size:
            return int(places[0])
    return 0


def pad_on_right(tokenizer: Any) -> str:
    """Make a tokenizer cut and pad on the right; returns a note for the user if it did not before."""
    # A model that reads from left to right must know the question before its text. Other programs that load
    # the result place the question by the side on which the tokenizer pads.
    tokenizer.truncation_side = "right"
    if tokenizer.padding_side == "right":
        return ""
    tokenizer.padding_side = "right"
    return _(
        "The tokenizer now pads on the right, so that questions come before their texts, and is saved so."
    )


def find_span_tokens(windows: Sequence[PairWindow], start: int, end: int) -> tuple[int, int] | None:
    """Find the tokens of the text that contain characters [start, end): [first, last] among all of them.

    An answer may begin or end inside a token, which is then taken whole.
    """
    found: set[int] = set()
    for window in windows:
        begins, ends = window.context[:, 0], window.context[:, 1]
        inside = np.flatnonzero((begins >= 0) & (begins < end) & (ends > start) & (ends > begins))
        found.update((inside - window.text_start + window.base).tolist())
    return (min(found), max(found)) if found else None


def locate_answer_span(window: PairWindow, tokens: tuple[int, int] | None) -> tuple[int, int]:
    """Return the positions [first, last] of these tokens in a window; the null position if it lacks some."""
    if tokens is not None:
        first, last = (token - window.base + window.text_start for token in tokens)
        count = int((window.context[:, 0] >= 0).sum())
        if first >= window.text_start and last < window.text_start + count:
            return first, last
    return window.null, window.null
