"""Texts with what a model finds in them: held-out rows before, during and after training, and a user's."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tui_tuner.config.schema import RunConfig
from tui_tuner.data.examples.held_out import some_records
from tui_tuner.data.examples.store import TokenizedRows
from tui_tuner.data.tagging.encoder import name_tags
from tui_tuner.data.tagging.tags import OUTSIDE
from tui_tuner.data.tagging.windows import WordTokenizer, windows_of
from tui_tuner.evaluation.samples import DURING, Progress, SampleReport, Samples, Shown, Span, Stage
from tui_tuner.evaluation.tagging import entities_of, scheme_of
from tui_tuner.locales import _
from tui_tuner.models.evaluating import evaluating
from tui_tuner.models.heads import class_names

# A word with what joins its parts, a character of a script without spaces, or any other sign
_WORD = re.compile(
    r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"
    r"|[^\W_\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]+(?:['’.&_-][^\W_\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]+)*"
    r"|\S"
)


@dataclass(frozen=True)
class Words:
    """A text in words.

    Args:
        places: Where each begins and ends, in characters.
    """

    text: str
    words: list[str]
    places: list[tuple[int, int]]


def join_words(words: Sequence[str]) -> Words:
    """Words as a text, with spaces between them."""
    places, at = [], 0
    for word in words:
        places.append((at, at + len(word)))
        at += len(word) + 1
    return Words(" ".join(words), list(words), places)


def split_text(text: str) -> Words:
    """A text in words: at white space, and signs by themselves, as in most tagged data."""
    places = [found.span() for found in _WORD.finditer(text)]
    return Words(text, [text[start:end] for start, end in places], places)


@dataclass(frozen=True)
class Guess:
    """The tag of a word that a model finds, and its probability; `O` where the word has no token."""

    tag: str
    score: float


class Tagger:
    """A model that tags texts, one window at a time."""

    def __init__(self, model: Any, tokenizer: Any, config: RunConfig) -> None:
        self.model, self.config = model, config
        self.words = WordTokenizer(tokenizer)
        self.names = class_names(model)

    def tag(self, words: Sequence[str]) -> list[Guess]:
        """The tag of each word."""
        import torch

        data = self.config.data
        tokens = self.words.encoded([list(words)])[0] if words else None
        found = [Guess(OUTSIDE, 0.0)] * len(words)
        device = self.model.get_input_embeddings().weight.device
        windows = [] if tokens is None else windows_of(self.words, tokens, data.max_length, data.stride)
        for window in windows:
            if not window.words:
                continue
            ids = torch.from_numpy(window.ids.astype(np.int64))[None].to(device)
            inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
            types = self.words.types_of(ids.shape[1])
            if types is not None:
                inputs["token_type_ids"] = torch.tensor([types], device=device)
            with torch.no_grad():
                logits = self.model(**inputs).logits
            shares = logits[0, -ids.shape[1] :][window.places].float().softmax(-1)
            best, classes = shares.max(-1)
            for word, score, number in zip(window.words, best.tolist(), classes.tolist(), strict=True):
                found[word] = Guess(self.names[number], score)
        return found


def spans_of(words: Words, tags: Sequence[str], scheme: bool, scores: Sequence[float] = ()) -> list[Span]:
    """What tags stand for, in characters of the text.

    Args:
        scheme: Whether they are of a scheme, so that several words are one span.
        scores: The probability of each word's tag; the mean of its words is that of a span.
    """
    if scheme:
        parts = [(one.type, one.start, one.end) for one in entities_of(tags)]
    else:
        parts = [(tag, place, place + 1) for place, tag in enumerate(tags) if tag != OUTSIDE]
    return [
        Span(
            words.places[start][0],
            words.places[end - 1][1],
            "" if kind == "_" else kind,
            float(np.mean(scores[start:end])) if scores else None,
        )
        for kind, start, end in parts
    ]


def in_words(text: str, spans: Sequence[Span]) -> str:
    """Spans as a line of text."""
    if not spans:
        return _("nothing found")
    return ", ".join(f"{text[span.start : span.end]} ({span.label})" for span in spans)


def show(words: Words, found: Sequence[Guess], scheme: bool, wanted: Sequence[str] | None = None) -> Shown:
    """A text with the spans that were found in it, and those that the data has."""
    spans = spans_of(words, [one.tag for one in found], scheme, [one.score for one in found])
    right = [] if wanted is None else spans_of(words, wanted, scheme)
    reference = "" if wanted is None else in_words(words.text, right)
    said = in_words(words.text, spans)
    return Shown(words.text, said, reference, passage=words.text, found=spans, wanted=right)


class TagSamples(Samples):
    """Held-out rows with what the model finds in them, after the texts of `evaluation.prompts`."""

    def __init__(self, config: RunConfig, tokenizer: Any, held_out: TokenizedRows | None) -> None:
        self.config, self.tokenizer, self.held_out = config, tokenizer, held_out

    def _rows(self, count: int) -> list[tuple[list[str], list[str]]]:
        """Up to so many different held-out rows, always the same ones: their words and tags."""
        if self.held_out is None:
            return []
        learned = self.held_out.store.meta["learned"]
        names = learned["names"] or learned["known"]
        records = some_records(self.held_out, count, self.config.data.seed)
        return [(record["tokens"], name_tags(record["tags"], names)) for record in records]

    def collect(self, model: Any, stage: Stage, progress: Progress) -> SampleReport | None:
        settings = self.config.evaluation
        own = [(split_text(text), None) for text in settings.prompts or []]
        rows = self._rows(settings.samples)
        asked: list[tuple[Words, list[str] | None]] = [
            *own,
            *((join_words(words), tags) for words, tags in rows),
        ]
        asked = asked[:DURING] if stage == "during" else asked
        if not asked:
            return None
        shown = []
        with evaluating(model):
            tagger = Tagger(model, self.tokenizer, self.config)
            scheme = bool(scheme_of([tagger.names]))
            for done, (words, wanted) in enumerate(asked):
                progress(done, len(asked))
                shown.append(show(words, tagger.tag(words.words), scheme, wanted))
        progress(len(asked), len(asked))
        return SampleReport(shown)


def tag_text(model: Any, tokenizer: Any, config: RunConfig, text: str) -> Shown:
    """What a model finds in a text of the user's."""
    words = split_text(text)
    with evaluating(model):
        tagger = Tagger(model, tokenizer, config)
        return show(words, tagger.tag(words.words), bool(scheme_of([tagger.names])))
