"""Tags of many rows at once, as spans of characters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tui_tuner.compute.check_rows import CheckRows
from tui_tuner.config.schema import RunConfig
from tui_tuner.data.examples.token_types import COLUMN, pack_types
from tui_tuner.data.problems import RowProblem
from tui_tuner.data.records import IGNORE, Example, Record, Tagged, Text
from tui_tuner.data.tagging.tags import OUTSIDE
from tui_tuner.data.tagging.windows import Window, WordTokenizer, windows_of
from tui_tuner.evaluation.classes import probabilities
from tui_tuner.evaluation.padded import padded_logits
from tui_tuner.evaluation.tag_samples import Words, join_words, spans_of, split_text
from tui_tuner.evaluation.tagging import scheme_of
from tui_tuner.locales import N_
from tui_tuner.models.heads import class_names


def tag_rows(
    model: Any, tokenizer: Any, config: RunConfig, rows: Sequence[Record], batch_size: int
) -> list[list[dict[str, Any]] | RowProblem]:
    """What is found in each row: `{start, end, label, score}`, in characters of its text.

    Words without a text are joined by single spaces, and the characters are those of that.
    """
    names = class_names(model)
    scheme = bool(scheme_of([names]))
    texts = [_words_of(row) for row in rows]
    cut = _windows(WordTokenizer(tokenizer), config, texts)
    todo = [example for windows in cut for _window, example in windows]
    logits = iter(padded_logits(model, CheckRows(todo), tokenizer.pad_token_id or 0, batch_size))
    found: list[list[dict[str, Any]] | RowProblem] = []
    for words, windows in zip(texts, cut, strict=True):
        tags, scores = [OUTSIDE] * len(words.words), [0.0] * len(words.words)
        for window, _example in windows:
            shares = probabilities(next(logits)[window.places], False)
            for word, share in zip(window.words, shares, strict=True):
                best = int(share.argmax())
                tags[word], scores[word] = names[best], float(share[best])
        if not words.words:
            found.append(RowProblem(N_("the row has no words")))
            continue
        spans = spans_of(words, tags, scheme, scores)
        found.append(
            [{"start": one.start, "end": one.end, "label": one.label, "score": one.score} for one in spans]
        )
    return found


def _words_of(row: Record) -> Words:
    if isinstance(row, Tagged):
        return join_words(row.tokens)
    return split_text(row.text if isinstance(row, Text) else "")


def _windows(
    words: WordTokenizer, config: RunConfig, texts: Sequence[Words]
) -> list[list[tuple[Window, Example]]]:
    """The windows of each text that have words, with what the model reads of them."""
    filled = [place for place, text in enumerate(texts) if text.words]
    tokens = words.encoded([texts[place].words for place in filled])
    found: list[list[tuple[Window, Example]]] = [[] for _text in texts]
    for place, one in zip(filled, tokens, strict=True):
        for window in windows_of(words, one, config.data.max_length, config.data.stride):
            if window.words:
                types = pack_types(words.types_of(len(window.ids)) or ())
                labels = np.full(len(window.ids), IGNORE, dtype=np.int32)
                found[place].append((window, Example(window.ids, labels, {COLUMN: types})))
    return found
