"""The words of a run's training rows, counted, and how many characters a token stands for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from tui_tuner.data.examples.store import TokenizedRows
    from tui_tuner.models.growing.tokenizer_kinds import GrowingTokenizer

MOST_CHARACTERS = 32_000_000  # of text that words are learned from: more rows tell hardly more about words
MEASURED_CHARACTERS = 2_000_000  # of text that is encoded to count characters per token
MOST_WORDS = 1_000_000  # different ones, kept at once
_BATCH = 256
# The parts of a record that are texts, and those that hold turns
_TEXTS = ("text", "pair", "question", "context", "source", "target", "reasoning", "content")
_TURNS = ("messages", "chosen", "rejected")


class TextTokens(NamedTuple):
    """Characters of texts, and the tokens that they are."""

    characters: int
    tokens: int

    @property
    def ratio(self) -> float:
        """Return characters per token; 0 without any text."""
        return self.characters / self.tokens if self.tokens else 0.0


def list_stored_texts(record: Any) -> Iterator[str]:
    """Yield the texts of a record as it lies in a store: what is read and what is answered, in order."""
    if not isinstance(record, Mapping):
        return
    if isinstance(record.get("tokens"), list):
        yield " ".join(map(str, record["tokens"]))
    for name in _TURNS:
        for turn in record.get(name) or ():
            yield from list_stored_texts(turn)
    for name in _TEXTS:
        text = record.get(name)
        if isinstance(text, str) and text:
            yield text


def read_row_texts(rows: TokenizedRows, most: int, without: frozenset[int] = frozenset()) -> Iterator[str]:
    """Yield the texts of rows, each row once, as many as hold about `most` characters, spread over all.

    Args:
        without: Contents of rows (`hash_record_content`) that are passed over.
    """
    store = rows.store
    numbers = np.unique(np.asarray(store.example["row"])[rows.examples])
    if without:
        content = np.asarray(store.row["content"])[numbers]
        numbers = numbers[~np.isin(content, np.array(sorted(without), dtype=content.dtype))]
    tokens = max(1, int(rows.lengths.sum()))
    # Four characters a token, as in English: an estimate that may be wrong by a factor of a few
    step = max(1, -(-4 * tokens // most))
    read = 0
    for number in numbers[::step]:
        for text in list_stored_texts(store.read_record(int(number))):
            read += len(text)
            yield text
        if read > most:
            return


def find_row_contents(rows: TokenizedRows | None) -> frozenset[int]:
    """Return the contents of rows, by which equal rows are known."""
    if rows is None:
        return frozenset()
    numbers = np.unique(np.asarray(rows.store.example["row"])[rows.examples])
    return frozenset(np.asarray(rows.store.row["content"])[numbers].tolist())


def count_words(growing: GrowingTokenizer, texts: Iterable[str]) -> Counter[str]:
    """Count the words of texts as a tokenizer cuts them; of too many different ones, the rare are dropped."""
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(growing.cut_words(text))
        if len(counts) > MOST_WORDS:
            counts = Counter({word: count for word, count in counts.items() if count > 1})
            if len(counts) > MOST_WORDS // 2:
                counts = Counter(dict(counts.most_common(MOST_WORDS // 2)))
    return counts


def measure_texts(tokenizers: Iterable[Any], texts: Iterable[str]) -> list[TextTokens]:
    """Count characters and tokens of texts, with each of some tokenizers, without special tokens."""
    tokenizers = list(tokenizers)
    found = [[0, 0] for _tokenizer in tokenizers]
    batch: list[str] = []
    for text in texts:
        batch.append(text)
        if len(batch) == _BATCH:
            _count_batch(tokenizers, batch, found)
            batch = []
    _count_batch(tokenizers, batch, found)
    return [TextTokens(*one) for one in found]


def _count_batch(tokenizers: list[Any], batch: list[str], found: list[list[int]]) -> None:
    if not batch:
        return
    for tokenizer, one in zip(tokenizers, found, strict=True):
        encoded = tokenizer(batch, add_special_tokens=False)["input_ids"]
        one[0] += sum(map(len, batch))
        one[1] += sum(map(len, encoded))
