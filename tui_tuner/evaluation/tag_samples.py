"""Show texts with the spans that a model finds in them: held-out rows and user texts."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tui_tuner.config.schema import RunConfig
from tui_tuner.data.examples.held_out import pick_held_out_records
from tui_tuner.data.examples.store import TokenizedRows
from tui_tuner.data.tagging.tag_encoder import name_tags
from tui_tuner.data.tagging.tag_schemes import OUTSIDE
from tui_tuner.data.tagging.word_windows import WordTokenizer, cut_windows
from tui_tuner.evaluation.samples import (
    DURING,
    Progress,
    SampleReport,
    SampleSource,
    ShownSample,
    Span,
    Stage,
)
from tui_tuner.evaluation.tagging import find_lenient_entities, find_rows_scheme
from tui_tuner.locales import _
from tui_tuner.models.evaluation_mode import use_evaluation_mode
from tui_tuner.models.head_classes import list_loaded_classes

# A word with the signs that join its parts, a character of a script without spaces, or any other sign
_WORD = re.compile(
    r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"
    r"|[^\W_\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]+(?:['’.&_-][^\W_\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]+)*"
    r"|\S"
)


@dataclass(frozen=True)
class TextWords:
    """A text split into words.

    Args:
        places: Start and end of each word, in characters.
    """

    text: str
    words: list[str]
    places: list[tuple[int, int]]


def join_tagged_words(words: Sequence[str]) -> TextWords:
    """Join words to a text, with spaces between them."""
    places, at = [], 0
    for word in words:
        places.append((at, at + len(word)))
        at += len(word) + 1
    return TextWords(" ".join(words), list(words), places)


def split_text_for_tags(text: str) -> TextWords:
    """Split a text into words: at white space, with signs on their own, as in most tagged data."""
    places = [found.span() for found in _WORD.finditer(text)]
    return TextWords(text, [text[start:end] for start, end in places], places)


@dataclass(frozen=True)
class TagGuess:
    """The predicted tag of a word, and its probability; `O` if the word has no token."""

    tag: str
    score: float


class Tagger:
    """Tags texts with a model, one window at a time."""

    def __init__(self, model: Any, tokenizer: Any, config: RunConfig) -> None:
        self.model, self.config = model, config
        self.words = WordTokenizer(tokenizer)
        self.names = list_loaded_classes(model)

    def tag_words(self, words: Sequence[str]) -> list[TagGuess]:
        """Predict the tag of each word."""
        import torch

        data = self.config.data
        tokens = self.words.tokenise_words([list(words)])[0] if words else None
        found = [TagGuess(OUTSIDE, 0.0)] * len(words)
        device = self.model.get_input_embeddings().weight.device
        windows = [] if tokens is None else cut_windows(self.words, tokens, data.max_length, data.stride)
        for window in windows:
            if not window.words:
                continue
            ids = torch.from_numpy(window.ids.astype(np.int64))[None].to(device)
            inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
            types = self.words.window_types(ids.shape[1])
            if types is not None:
                inputs["token_type_ids"] = torch.tensor([types], device=device)
            with torch.no_grad():
                logits = self.model(**inputs).logits
            # Virtual tokens come first in the logits, so positions are counted from the end.
            shares = logits[0, -ids.shape[1] :][window.places].float().softmax(-1)
            best, classes = shares.max(-1)
            for word, score, number in zip(window.words, best.tolist(), classes.tolist(), strict=True):
                found[word] = TagGuess(self.names[number], score)
        return found


def convert_tags_to_spans(
    words: TextWords, tags: Sequence[str], scheme: bool, scores: Sequence[float] = ()
) -> list[Span]:
    """Convert tags to spans, in characters of the text.

    Args:
        scheme: Whether the tags follow a scheme, so that several words form one span.
        scores: The probability of each word's tag; a span gets the mean of its words.
    """
    if scheme:
        parts = [(one.type, one.start, one.end) for one in find_lenient_entities(tags)]
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


def describe_tag_spans(text: str, spans: Sequence[Span]) -> str:
    """Format spans as a line of text."""
    if not spans:
        return _("nothing found")
    return ", ".join(f"{text[span.start : span.end]} ({span.label})" for span in spans)


def show_tag_sample(
    words: TextWords, found: Sequence[TagGuess], scheme: bool, wanted: Sequence[str] | None = None
) -> ShownSample:
    """Build a sample of a text with the spans found in it and those of the data."""
    spans = convert_tags_to_spans(words, [one.tag for one in found], scheme, [one.score for one in found])
    right = [] if wanted is None else convert_tags_to_spans(words, wanted, scheme)
    reference = "" if wanted is None else describe_tag_spans(words.text, right)
    said = describe_tag_spans(words.text, spans)
    return ShownSample(words.text, said, reference, passage=words.text, found=spans, wanted=right)


class TagSamples(SampleSource):
    """Shows held-out rows with the model's predictions, after the texts of `evaluation.prompts`."""

    def __init__(self, config: RunConfig, tokenizer: Any, held_out: TokenizedRows | None) -> None:
        self.config, self.tokenizer, self.held_out = config, tokenizer, held_out

    def _held_out_rows(self, count: int) -> list[tuple[list[str], list[str]]]:
        """Return up to `count` different held-out rows, always the same ones: their words and tags."""
        if self.held_out is None:
            return []
        learned = self.held_out.store.meta["learned"]
        names = learned["names"] or learned["known"]
        records = pick_held_out_records(self.held_out, count, self.config.data.seed)
        return [(record["tokens"], name_tags(record["tags"], names)) for record in records]

    def collect_samples(self, model: Any, stage: Stage, progress: Progress) -> SampleReport | None:
        settings = self.config.evaluation
        own = [(split_text_for_tags(text), None) for text in settings.prompts or []]
        rows = self._held_out_rows(settings.samples)
        asked: list[tuple[TextWords, list[str] | None]] = [
            *own,
            *((join_tagged_words(words), tags) for words, tags in rows),
        ]
        asked = asked[:DURING] if stage == "during" else asked
        if not asked:
            return None
        shown = []
        with use_evaluation_mode(model):
            tagger = Tagger(model, self.tokenizer, self.config)
            scheme = bool(find_rows_scheme([tagger.names]))
            for done, (words, wanted) in enumerate(asked):
                progress(done, len(asked))
                shown.append(show_tag_sample(words, tagger.tag_words(words.words), scheme, wanted))
        progress(len(asked), len(asked))
        return SampleReport(shown)


def tag_own_text(model: Any, tokenizer: Any, config: RunConfig, text: str) -> ShownSample:
    """Find the tagged spans in a user's text."""
    words = split_text_for_tags(text)
    with use_evaluation_mode(model):
        tagger = Tagger(model, tokenizer, config)
        return show_tag_sample(words, tagger.tag_words(words.words), bool(find_rows_scheme([tagger.names])))
