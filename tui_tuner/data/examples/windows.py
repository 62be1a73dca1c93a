"""A question and its text as windows that fit a model, and where each token of the text stands in it.

The tokenizer's own pair template joins them (`[CLS] question [SEP] text [SEP]`, where it has one); only the
text is cut, and two windows that follow one another share `stride` of its tokens. Places are characters, as
the tokenizers library gives them: a token that stands for a part of a character counts for all of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tui_tuner.data.examples.token_types import pack_types
from tui_tuner.data.problems import RowProblem
from tui_tuner.errors import ModelError
from tui_tuner.locales import N_, _

LONG_QUESTION = N_("the question leaves no room for its text within max_length")


@dataclass(frozen=True)
class Window:
    """A sequence of a question and a part of its text.

    Args:
        ids: int32 [tokens].
        types: Token types, packed (`token_types`).
        null: The position that stands for no answer: the tokenizer's CLS token, or its first one.
        context: int32 [tokens, 2]: the characters of the text that each token stands for; (-1, -1) for one
            that is none of the text's.
        base: How many tokens of the text stand before this window.
    """

    ids: np.ndarray
    types: int
    null: int
    context: np.ndarray
    base: int

    @property
    def first(self) -> int:
        """The first position that is the text's."""
        return int(np.argmax(self.context[:, 0] >= 0))


class PairWindows:
    """Cuts pairs into windows.

    Raises:
        ModelError: the tokenizer cannot say where its tokens stand.
    """

    def __init__(self, tokenizer: Any, max_length: int, stride: int) -> None:
        if not getattr(tokenizer, "is_fast", False):
            raise ModelError(
                _(
                    "this tokenizer ({name}) cannot say where its tokens stand in a text, so answers cannot "
                    "be found in it.",
                    name=type(tokenizer).__name__,
                ),
                hint=_(
                    "Take a model whose folder holds a tokenizer.json, or name such a folder in "
                    "model.tokenizer."
                ),
                field="model.tokenizer",
            )
        self.tokenizer, self.max_length, self.stride = tokenizer, max_length, stride
        self._special = int(tokenizer.num_special_tokens_to_add(pair=True))
        prefer_right(tokenizer)

    def cut(self, questions: Sequence[str], contexts: Sequence[str]) -> list[list[Window] | RowProblem]:
        """The windows of each pair, or why it has none."""
        asked = self.tokenizer(list(questions), add_special_tokens=False)["input_ids"] if questions else []
        room = [self.max_length - self._special - len(ids) for ids in asked]
        fits = [place for place, tokens in enumerate(room) if tokens > self.stride]
        found: list[list[Window] | RowProblem] = [self._too_long(len(ids)) for ids in asked]
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
        windows: list[list[Window]] = [[] for _place in fits]
        for number, pair in enumerate(batch["overflow_to_sample_mapping"]):
            before = windows[pair][-1] if windows[pair] else None
            windows[pair].append(self._window(batch, number, before))
        for place, own in zip(fits, windows, strict=True):
            empty = own[0].context[:, 0].max(initial=-1) < 0
            found[place] = RowProblem(N_("the context has no tokens")) if empty else own
        return found

    def _window(self, batch: Any, number: int, before: Window | None) -> Window:
        encoding = batch.encodings[number]
        ids = np.array(encoding.ids, dtype=np.int32)
        context = np.array(encoding.offsets, dtype=np.int32).reshape(-1, 2)
        context[np.array([one != 1 for one in encoding.sequence_ids], dtype=bool)] = -1
        types = batch["token_type_ids"][number] if "token_type_ids" in batch else ()
        base = 0
        if before is not None:
            base = before.base + int((before.context[:, 0] >= 0).sum()) - self.stride
        return Window(ids, pack_types(types), null_position(self.tokenizer, ids), context, base)

    def _too_long(self, tokens: int) -> RowProblem:
        return RowProblem(
            LONG_QUESTION,
            _(
                "{tokens} tokens, with data.max_length {most} and data.stride {stride}",
                tokens=tokens,
                most=self.max_length,
                stride=self.stride,
            ),
        )


def null_position(tokenizer: Any, ids: np.ndarray) -> int:
    """Where no answer is scored: at CLS; of a tokenizer without one at BOS, or else the first token."""
    for token in (tokenizer.cls_token_id, tokenizer.bos_token_id):
        if token is not None and (places := np.flatnonzero(ids == token)).size:
            return int(places[0])
    return 0


def prefer_right(tokenizer: Any) -> str:
    """Let a tokenizer cut and pad on the right; what the user should know where it did otherwise.

    The question stands before its text, for a model that reads from left to right must have read it. Who
    loads the result elsewhere puts it there by the side on which the tokenizer pads.
    """
    tokenizer.truncation_side = "right"
    if tokenizer.padding_side == "right":
        return ""
    tokenizer.padding_side = "right"
    return _("The tokenizer pads on the right now: questions stand before their texts, and are saved so.")


def tokens_of(windows: Sequence[Window], start: int, end: int) -> tuple[int, int] | None:
    """The tokens that characters [start, end) of the text went into: [first, last] among all of its tokens.

    An answer may begin or end inside a token: the whole token is taken. White space at its edges belongs to
    no answer.
    """
    found: set[int] = set()
    for window in windows:
        begins, ends = window.context[:, 0], window.context[:, 1]
        inside = np.flatnonzero((begins >= 0) & (begins < end) & (ends > start) & (ends > begins))
        found.update((inside - window.first + window.base).tolist())
    return (min(found), max(found)) if found else None


def span_in(window: Window, tokens: tuple[int, int] | None) -> tuple[int, int]:
    """The positions [first, last] of these tokens in a window; those of no answer where it lacks some."""
    if tokens is not None:
        first, last = (token - window.base + window.first for token in tokens)
        count = int((window.context[:, 0] >= 0).sum())
        if first >= window.first and last < window.first + count:
            return first, last
    return window.null, window.null
