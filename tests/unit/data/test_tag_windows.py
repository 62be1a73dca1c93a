"""Words become tokens by any tokenizer; each is labelled once, in the window it stands most inside."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from functools import cache
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.unit.data.small_tokenizers import TEXT, byte_level, sentence_piece
from tui_tuner.config.load import build_config
from tui_tuner.data.examples.record_encoder import RowFacts
from tui_tuner.data.records import IGNORE, TaggedText
from tui_tuner.data.row_problem import RowProblem
from tui_tuner.data.tagging.checks import check_tags
from tui_tuner.data.tagging.tag_encoder import TagEncoder
from tui_tuner.data.tagging.tag_schemes import hash_tag
from tui_tuner.data.tagging.word_spaces import keep_spaces
from tui_tuner.data.tagging.word_windows import WordTokenizer, WordTokens, cut_windows
from tui_tuner.tasks import find_task

WORDS = ["The", "quick", "brown", "café", "\u200b", "fox", ".", "", "日本", "it's", "New York"]
VOCABULARY = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    "the",
    "quick",
    "##ly",
    "brown",
    "cafe",
    "fox",
    ".",
]


def word_piece() -> Any:
    from transformers import BertTokenizer

    return BertTokenizer(vocab={token: number for number, token in enumerate(VOCABULARY)})


def _byte_parts() -> tuple[dict[str, int], list[tuple[str, ...]]]:
    model = json.loads(byte_level(("<eos>",), None, "<eos>").backend_tokenizer.to_str())["model"]
    vocabulary = dict(model["vocab"])
    for token in ("<s>", "</s>", "<pad>", "<unk>", "<mask>", "<|endoftext|>"):
        vocabulary.setdefault(token, len(vocabulary))
    return vocabulary, [tuple(pair) for pair in model["merges"]]


def roberta() -> Any:
    from transformers import RobertaTokenizer

    vocabulary, merges = _byte_parts()
    return RobertaTokenizer(vocab=vocabulary, merges=merges)


def qwen() -> Any:
    """Splits by an expression before bytes, as Llama 3 and Qwen do: no class knows `add_prefix_space`."""
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocabulary, merges = _byte_parts()
    inner = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    inner.normalizer = normalizers.NFC()
    split = Regex(r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s+")
    inner.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(split, "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    inner.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="<|endoftext|>")


def unigram() -> Any:
    """XLM-R's kind."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    inner = Tokenizer(models.Unigram())
    inner.pre_tokenizer = pre_tokenizers.Metaspace()
    specials = ["<s>", "<pad>", "</s>", "<unk>"]
    inner.train_from_iterator(
        TEXT,
        trainers.UnigramTrainer(
            vocab_size=200, special_tokens=specials, unk_token="<unk>", show_progress=False
        ),
    )
    ends = [("<s>", 0), ("</s>", 2)]
    inner.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=ends)
    return PreTrainedTokenizerFast(tokenizer_object=inner, unk_token="<unk>", pad_token="<pad>")


def slow() -> Any:
    from transformers import CanineTokenizer

    return CanineTokenizer()


TOKENIZERS: dict[str, tuple[Callable[[], Any], bool]] = {
    "word_piece": (word_piece, False),
    "roberta": (roberta, True),
    "qwen": (qwen, True),
    "byte_level": (lambda: byte_level(("<end>",), None, "<end>"), True),
    "sentence_piece": (lambda: sentence_piece(("<s>", "</s>"), "<s>", "</s>"), False),
    "unigram": (unigram, False),
    "slow": (slow, False),
}


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_words_become_what_the_saved_tokenizer_makes_of_them(kind: str, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    make, changed = TOKENIZERS[kind]
    tokenizer = make()
    assert bool(keep_spaces(tokenizer)) == changed
    assert not keep_spaces(tokenizer), "a second time changes nothing"
    words = WordTokenizer(tokenizer)
    found = words.tokenise_words([WORDS])[0]
    assert len(found.counts) == len(WORDS) and sum(found.counts) == len(found.ids)
    assert found.counts[WORDS.index("")] == 0
    # each word alone is what it is among others: no tag can slip to a neighbour
    each = [words.tokenise_words([[word]])[0].ids for word in WORDS]
    assert [len(ids) for ids in each] == found.counts and list(chain(*each)) == found.ids
    if kind != "slow":
        tokenizer.save_pretrained(tmp_path)
        tokenizer = AutoTokenizer.from_pretrained(tmp_path)
        assert not keep_spaces(tokenizer)
    whole = tokenizer(WORDS, is_split_into_words=True)["input_ids"]
    assert whole == [*words.before, *found.ids, *words.after]
    if changed:
        text = tokenizer("The quick brown", add_special_tokens=False)["input_ids"]
        assert words.tokenise_words([["The", "quick", "brown"]])[0].ids[-4:] == text[-4:], (
            "as in running text"
        )


class Plain(WordTokenizer):
    """Two tokens before a text and one after it."""

    def __init__(self) -> None:
        self.before, self.after = [1, 2], [3]
        self._types = [0, 0], [2]  # as those of XLNet have


def brute_window(word: int, spans: list[tuple[int, int]], ends: list[int]) -> int:
    """The window in which a word stands furthest from an edge at which the text goes on."""

    def inside(span: tuple[int, int]) -> float:
        left = float("inf") if span[0] == 0 else ends[word] - ends[span[0]]
        right = float("inf") if span[1] == len(ends) - 1 else ends[span[1]] - ends[word + 1]
        return min(left, right)

    holding = [place for place, (first, last) in enumerate(spans) if first <= word < last]
    return max(holding, key=lambda place: (inside(spans[place]), -place))


@pytest.mark.parametrize("seed", range(60))
def test_each_word_is_labelled_once_where_it_stands_most_inside(seed: int) -> None:
    draw = random.Random(seed)
    counts = [draw.choice([0, 1, 1, 1, 2, 3, 9]) for _word in range(draw.randint(1, 120))]
    if not any(counts):
        counts[0] = 1
    tokens = WordTokens(list(range(100, 100 + sum(counts))), counts)
    length, stride = draw.randint(8, 60), draw.randint(0, 40)
    room = length - 3
    windows = cut_windows(Plain(), tokens, length, stride)
    cut = [min(count, room) for count in counts]
    starts = np.concatenate([[0], np.cumsum(counts)])
    assert Plain().window_types(5) == [0, 0, 0, 0, 2]
    labelled = [word for window in windows for word in window.words]
    assert labelled == [word for word, count in enumerate(counts) if count], "once, and in order"
    spans = []
    for window in windows:
        assert len(window.ids) <= length
        assert window.ids[:2].tolist() == [1, 2] and window.ids[-1] == 3
        inner = window.ids[2:-1].tolist()
        for word, place in zip(window.words, window.places, strict=True):
            assert window.ids[place] == 100 + starts[word]
        heads = [word for word, count in enumerate(cut) if count and 100 + starts[word] in set(inner)]
        spans.append((heads[0], heads[-1] + 1))
        assert inner == [100 + starts[w] + i for w in range(heads[0], heads[-1] + 1) for i in range(cut[w])]
    visible = [word for word, count in enumerate(cut) if count]
    dense = {word: place for place, word in enumerate(visible)}
    ends = [0, *np.cumsum([cut[word] for word in visible]).tolist()]
    packed = [(dense[first], dense[last - 1] + 1) for first, last in spans]
    for before, after in pairwise(packed):
        shared = ends[before[1]] - ends[after[0]]
        assert 0 <= shared <= min(stride, room // 2) and after[1] > before[1]
    owner = {word: place for place, window in enumerate(windows) for word in window.words}
    for word in visible:
        assert owner[word] == brute_window(dense[word], packed, ends)


@cache
def encoder_of(length: int = 12, overlong: str = "split", **data: Any) -> TagEncoder:
    told = {"max_length": length, "overlong": overlong, **data}
    return TagEncoder(build_config({"task": "token_classification", "data": told}), word_piece())


def test_a_word_of_which_nothing_is_made_takes_no_tag_from_another() -> None:
    encoder = encoder_of()
    words, tags = ["The", "\u200b", "fox", "", "quickly"], ["O", "B-A", "B-B", "I-B", "I-C"]
    record = TaggedText(words, list(tags))
    fitted = encoder.encode_batch([record])[0]
    assert not isinstance(fitted, RowProblem)
    (example,) = fitted.examples
    assert example.ids.tolist() == [2, 5, 10, 6, 7, 3]
    wanted = [IGNORE, hash_tag("O"), hash_tag("B-B"), hash_tag("I-C"), IGNORE, IGNORE]
    assert example.labels.tolist() == wanted
    facts = RowFacts()
    encoder.note_row(record, fitted, "a.jsonl:7", facts)
    assert facts.get_count("silent") == 2
    assert facts.noted_rows("silent") == ["a.jsonl:7, word 2 (<U+200B>)", "a.jsonl:7, word 4 ()"]
    silent = [one for one in check_tags(facts, ()) if one.code == "silent_words"]
    assert silent[0].message.startswith("The tokenizer gives no tokens for 2 words")


@pytest.mark.parametrize(
    ("overlong", "outcome", "examples", "words"),
    [("split", "split", 3, 20), ("truncate", "truncated", 1, 10), ("drop", "", 0, 0)],
)
def test_what_is_too_long_is_split_cut_or_dropped(
    overlong: str, outcome: str, examples: int, words: int
) -> None:
    fitted = encoder_of(overlong=overlong, stride=4).encode_batch(
        [TaggedText(["fox", "."] * 10, ["B-A", "O"] * 10)]
    )[0]
    if isinstance(fitted, RowProblem):
        assert overlong == "drop" and fitted.reason == "longer than max_length"
        return
    assert fitted.outcome == outcome and len(fitted.examples) == examples
    assert sum(example.trained_tokens for example in fitted.examples) == words


def test_numbers_have_the_names_that_the_config_gives_them() -> None:
    encoder = encoder_of(names=("O", "B-A"))
    assert encoder.name_record_tags(TaggedText(["fox", "."], [1, 0])) == ["B-A", "O"]
    for tags, detail in (([0, 2], "2 at word 2"), ([0, -1], "-1 at word 2"), (["O", "B-X"], "B-X at word 2")):
        with pytest.raises(RowProblem, match=detail):
            encoder.name_record_tags(TaggedText(["fox", "."], list(tags)))


def checked(rows: list[list[str]], **more: Any) -> dict[str, str]:
    """The problems of rows of tags, by their codes."""
    encoder, facts = encoder_of(), RowFacts()
    for number, tags in enumerate(rows, 1):
        record = TaggedText(["fox"] * len(tags), list(tags))
        fitted = encoder.encode_batch([record])[0]
        assert not isinstance(fitted, RowProblem)
        encoder.note_row(record, fitted, f"a.conll:{number}", facts)
    return {one.code: one.format_message() for one in check_tags(facts, more.get("head", ()))}


def test_faults_of_tags_are_counted_with_their_places() -> None:
    good = [["B-PER", "I-PER", "O"] * 20] * 3
    assert checked(good) == {}
    found = checked([*good, ["O", "I-PER"], ["B-PER", "X-PER"]])
    assert set(found) == {"tags_without_beginning", "unknown_prefix"}
    assert (
        "1 tag continues an entity that has not begun, against the scheme BIO"
        in found["tags_without_beginning"]
    )
    assert "a.conll:4, word 2 (I-PER)" in found["tags_without_beginning"]
    assert "a.conll:5, word 2 (X-PER)" in found["unknown_prefix"]
    assert set(checked([["O", "I-PER", "I-PER"] * 20, ["I-LOC", "B-LOC"] * 20])) == set(), (
        "IOB1 begins with I"
    )
    ends = checked([["B-A", "E-A", "S-A", "O"] * 20, ["B-A", "O"]])
    assert "a.conll:2, word 1 (B-A)" in ends["tags_without_end"]


def test_a_single_tag_or_rare_ones_are_said() -> None:
    words = checked(
        [[f"word{number}" for number in range(start, start + 50)] for start in range(0, 2100, 50)]
    )
    assert "2,100 different tags" in words["too_many_tags"]
    assert "Every word has the tag O" in checked([["O"] * 5])["one_tag"]
    rare = checked([["B-PER", "I-PER", "O"] * 60, ["B-LOC", "I-LOC"]])["rare_tags"]
    assert "1 class has fewer than 10 words: LOC (2)" in rare and "a.conll:2, word" in rare
    other = checked([["B-PER", "O"] * 10], head=["O", "B-A"])["new_head"]
    assert "B-PER" in other
    assert find_task("token_classification").encoder_class is TagEncoder
