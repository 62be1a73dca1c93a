"""Tag many rows at once, with results as spans of characters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tui_tuner.compute.check_rows import CheckRows
from tui_tuner.config.schema import RunConfig
from tui_tuner.data.examples.token_types import COLUMN, pack_types
from tui_tuner.data.records import IGNORE, Example, Record, TaggedText, Text
from tui_tuner.data.row_problem import RowProblem
from tui_tuner.data.tagging.tag_schemes import OUTSIDE
from tui_tuner.data.tagging.word_windows import WordTokenizer, WordWindow, cut_windows
from tui_tuner.evaluation.class_metrics import compute_class_probabilities
from tui_tuner.evaluation.padded_logits import compute_padded_logits
from tui_tuner.evaluation.tag_samples import (
    TextWords,
    convert_tags_to_spans,
    join_tagged_words,
    split_text_for_tags,
)
from tui_tuner.evaluation.tagging import find_rows_scheme
from tui_tuner.locales import N_
from tui_tuner.models.head_classes import list_loaded_classes


def predict_tags(
    model: Any, tokenizer: Any, config: RunConfig, rows: Sequence[Record], batch_size: int
) -> list[list[dict[str, Any]] | RowProblem]:
    """Return the spans found in each row: `{start, end, label, score}`, in characters of its text.

    Rows of words are joined by single spaces to a text first.
    """
    names = list_loaded_classes(model)
    scheme = bool(find_rows_scheme([names]))
    texts = [_words_of(row) for row in rows]
    cut = _cut_windows(WordTokenizer(tokenizer), config, texts)
    todo = [example for windows in cut for _window, example in windows]
    logits = iter(compute_padded_logits(model, CheckRows(todo), tokenizer.pad_token_id or 0, batch_size))
    found: list[list[dict[str, Any]] | RowProblem] = []
    for words, windows in zip(texts, cut, strict=True):
        tags, scores = [OUTSIDE] * len(words.words), [0.0] * len(words.words)
        for window, _example in windows:
            shares = compute_class_probabilities(next(logits)[window.places], False)
            for word, share in zip(window.words, shares, strict=True):
                best = int(share.argmax())
                tags[word], scores[word] = names[best], float(share[best])
        if not words.words:
            found.append(RowProblem(N_("the row has no words")))
            continue
        spans = convert_tags_to_spans(words, tags, scheme, scores)
        found.append(
            [{"start": one.start, "end": one.end, "label": one.label, "score": one.score} for one in spans]
        )
    return found


def _words_of(row: Record) -> TextWords:
    if isinstance(row, TaggedText):
        return join_tagged_words(row.tokens)
    return split_text_for_tags(row.text if isinstance(row, Text) else "")


def _cut_windows(
    words: WordTokenizer, config: RunConfig, texts: Sequence[TextWords]
) -> list[list[tuple[WordWindow, Example]]]:
    """Return the windows of each text that have words, with their examples."""
    filled = [place for place, text in enumerate(texts) if text.words]
    tokens = words.tokenise_words([texts[place].words for place in filled])
    found: list[list[tuple[WordWindow, Example]]] = [[] for _text in texts]
    for place, one in zip(filled, tokens, strict=True):
        for window in cut_windows(words, one, config.data.max_length, config.data.stride):
            if window.words:
                types = pack_types(words.window_types(len(window.ids)) or ())
                labels = np.full(len(window.ids), IGNORE, dtype=np.int32)
                found[place].append((window, Example(window.ids, labels, {COLUMN: types})))
    return found
