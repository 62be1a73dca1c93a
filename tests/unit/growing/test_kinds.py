"""Tokenizers of each kind grow, and every text comes back from its tokens as before."""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from tui_tuner.config.load import build_config, find_config_problems
from tui_tuner.errors import ConfigError, ModelError
from tui_tuner.models.growing.growth import decode_whole, read_growth, write_grown_tokenizer
from tui_tuner.models.growing.learning import LEAST_SEEN, learn_pieces
from tui_tuner.models.growing.listed import Listing, add_listed, read_listing
from tui_tuner.models.growing.tokenizer_kinds import GrowingTokenizer, open_growing

PLAIN = [
    "The cat sat on the mat and the dog ran to the barn.",
    "We read a book, then we ate bread (and jam).",
]
TRADE = [
    "The polymerase meets a plasmid; polymerases and plasmids concatenate.",
    "Plasmid (plasmid): 胰岛素 naïve.",
]
OTHERS = [
    "concatenate the catalogue",
    "  two  spaces\n\tand tabs ",
    "日本語 😀 é̄ x\u200by",
    "plasmidpolymerase",
    "7 × 3,5",
]


def make_byte_level() -> Tokenizer:
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    made.train_from_iterator(
        PLAIN * 9, trainers.BpeTrainer(vocab_size=320, initial_alphabet=alphabet, show_progress=False)
    )
    return made


def make_byte_fallback() -> Tokenizer:
    """As Llama 2's: spaces by a normalizer, words not cut apart, unknown characters as bytes."""
    made = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True))
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    special = ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256))]
    made.train_from_iterator(
        PLAIN * 9, trainers.BpeTrainer(vocab_size=340, special_tokens=["<unk>"], show_progress=False)
    )
    parts = json.loads(made.to_str())
    vocab = parts["model"]["vocab"]
    for name in special[1:]:
        vocab[name] = len(vocab)
    parts["model"]["byte_fallback"] = True
    parts["pre_tokenizer"] = None
    made = Tokenizer.from_str(json.dumps(parts))
    made.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    made.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return made


def make_unigram() -> Tokenizer:
    made = Tokenizer(models.Unigram())
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    made.decoder = decoders.Metaspace()
    made.train_from_iterator(
        PLAIN * 9,
        trainers.UnigramTrainer(
            vocab_size=60, special_tokens=["<unk>"], unk_token="<unk>", show_progress=False
        ),
    )
    return made


def make_word_piece() -> Tokenizer:
    letters = sorted({letter for text in PLAIN for letter in text.lower() if letter.isalpha()})
    words = {"[UNK]": 0, "the": 1, "cat": 2, "po": 3, "##ly": 4, ".": 5, "(": 6, ")": 7, ";": 8, ",": 9}
    for letter in {*letters, *"iklpsvyz"}:
        words |= {piece: len(words) + place for place, piece in enumerate((letter, f"##{letter}"))}
    made = Tokenizer(models.WordPiece(words, unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer()
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.decoder = decoders.WordPiece()
    return made


MAKERS = {
    "byte level": make_byte_level,
    "byte fallback": make_byte_fallback,
    "unigram": make_unigram,
    "word piece": make_word_piece,
}
Made = tuple[str, Any]


@pytest.fixture(scope="module", params=MAKERS)
def old(request: pytest.FixtureRequest) -> Made:
    made = MAKERS[request.param]()
    unknown = {name: name for name in ("<unk>", "[UNK]") if made.token_to_id(name) is not None}
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=made,
        clean_up_tokenization_spaces=False,
        unk_token=next(iter(unknown), None),
        additional_special_tokens=["<|turn|>"],  # behind the vocabulary, where new tokens follow
    )
    return request.param, wrapped


def learn(tokenizer: Any, wanted: int = 12, texts: list[str] = TRADE) -> GrowingTokenizer:
    growing = open_growing(tokenizer)
    words: Counter[str] = Counter()
    for text in texts:
        words.update(growing.cut_words(text))
    learn_pieces(growing, {word: count * LEAST_SEEN for word, count in words.items()}, wanted)
    return growing


def make_texts() -> list[str]:
    random.seed(3)
    letters = "abcdefghilmnoprstuvy  .,()'-\n" + "éß日本胰岛素😀"
    return [*PLAIN, *TRADE, *OTHERS, *("".join(random.choices(letters, k=40)) for _place in range(200))]


def check_round_trips(old: Any, new: Any) -> None:
    unknown = old.unk_token_id
    for text in make_texts():
        ids = old(text, add_special_tokens=False)["input_ids"]
        if unknown is None or unknown not in ids:  # what was unknown may be known now
            assert decode_whole(new, text) == decode_whole(old, text), text


def test_learned_pieces_shorten_texts_and_change_none(old: Made, tmp_path: Path) -> None:
    kind, tokenizer = old
    growing = learn(tokenizer)
    new = write_grown_tokenizer(tokenizer, growing, (), tmp_path / "grown")
    assert len(new) == len(tokenizer) + len(growing.added)
    assert 8 <= len(growing.added) <= 12
    check_round_trips(tokenizer, new)
    for text in TRADE:
        before, after = (len(one(text, add_special_tokens=False)["input_ids"]) for one in (tokenizer, new))
        assert after < 0.8 * before, (kind, text)
    growth = read_growth(tmp_path / "grown")
    assert growth is not None and growth.first == max(tokenizer.get_vocab().values()) + 1
    for token in growth.tokens:
        assert all(piece < growth.first for piece in token.pieces)
    again = learn(tokenizer)
    assert again.added == growing.added, "nothing about it is random"


def test_listed_words_are_one_token_each(old: Made, tmp_path: Path) -> None:
    _kind, tokenizer = old
    growing, listing = open_growing(tokenizer), Listing(["polymerase", "plasmid", "the"])
    add_listed(growing, listing)
    new = write_grown_tokenizer(tokenizer, growing, listing.phrases, tmp_path / "grown")
    for text in PLAIN[1:]:  # words that it knew are cut as before
        assert new(text)["input_ids"] == tokenizer(text)["input_ids"]
    check_round_trips(tokenizer, new)
    for text in ("polymerase", "a polymerase", "(plasmid)"):
        pieces = new.convert_ids_to_tokens(new(text, add_special_tokens=False)["input_ids"])
        assert sum("polymerase" in piece or "plasmid" in piece for piece in pieces) == 1, pieces
    whole = [one for one in new.convert_ids_to_tokens(new("acplasmidx")["input_ids"]) if one == "plasmid"]
    assert len(whole) <= 1


def test_a_tokenizer_that_has_grown_grows_again(old: Made, tmp_path: Path) -> None:
    _kind, tokenizer = old
    growing = open_growing(tokenizer)
    add_listed(growing, Listing(["plasmid"]))
    first = write_grown_tokenizer(tokenizer, growing, (), tmp_path / "one")
    growing = open_growing(first)
    add_listed(growing, Listing(["polymerase", "plasmid"]))
    second = write_grown_tokenizer(first, growing, (), tmp_path / "two")
    assert set(first.get_vocab().items()) < set(second.get_vocab().items())
    check_round_trips(tokenizer, second)


def test_a_word_inside_another_is_not_torn(old: Made, tmp_path: Path) -> None:
    """An added token would be cut out of the middle of a word; a part of the vocabulary is not."""
    _kind, tokenizer = old
    growing = open_growing(tokenizer)
    add_listed(growing, Listing(["bar", "rea"]))
    new = write_grown_tokenizer(tokenizer, growing, (), tmp_path / "grown")
    known = [word for word in ("bread", "read", "barn") if len(tokenizer(word)["input_ids"]) == 1]
    for word in known:
        assert new(word)["input_ids"] == tokenizer(word)["input_ids"]


def test_phrases_are_added_as_they_stand_where_no_text_changes(tmp_path: Path) -> None:
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=make_byte_level(), clean_up_tokenization_spaces=False
    )
    growing, listing = open_growing(tokenizer), Listing(["New York", "<port>", "C++", "café-19"])
    add_listed(growing, listing)
    assert listing.phrases == listing.words
    with pytest.raises(ConfigError, match="café-19"):  # its letters look like bytes to the decoder
        write_grown_tokenizer(tokenizer, growing, listing.phrases, tmp_path / "grown")
    new = write_grown_tokenizer(tokenizer, growing, listing.phrases[:3], tmp_path / "grown")
    assert new.tokenize("New York") == ["New York"] and "New York" not in new.tokenize("New Yorker")
    assert "<port>" in new.tokenize("x<port>y")
    check_round_trips(tokenizer, new)
    growth = read_growth(tmp_path / "grown")
    assert growth is not None and [one.text for one in growth.tokens] == listing.words[:3]


def test_what_cannot_grow_is_refused() -> None:
    class Slow:
        """A tokenizer in Python alone."""

    for other in (Slow(), Tokenizer(models.WordLevel({"a": 0}))):
        with pytest.raises(ModelError) as caught:
            open_growing(other)
        assert caught.value.field == "model.new_tokens"


def test_a_file_of_words_is_read_line_by_line(tmp_path: Path) -> None:
    path = tmp_path / "words.txt"
    path.write_bytes("\ufeff polymerase \r\n\r\nplasmid\npolymerase\n".encode())
    found = read_listing({"file": str(path)})
    assert (found.words, found.blank, found.twice) == (["polymerase", "plasmid"], 2, 1)
    for text, told in (("a\x00b", ":1"), ("ok\n" + "x" * 101, ":2"), ("\n \n", "no words")):
        path.write_text(text)
        with pytest.raises(ConfigError) as caught:
            read_listing({"file": str(path)})
        assert told in str(caught.value) and caught.value.field == "model.new_tokens"
    path.write_bytes(b"fine\nna\xefve\n")
    with pytest.raises(ConfigError, match=":2: is not UTF-8"):
        read_listing({"file": str(path)})
    with pytest.raises(ConfigError, match="no such file"):
        read_listing({"file": str(tmp_path / "none.txt")})
    with pytest.raises(ConfigError, match="not a file"):
        read_listing({"file": str(tmp_path)})


def test_words_that_are_tokens_already_are_named() -> None:
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=make_byte_level())
    growing, listing = open_growing(tokenizer), Listing(["the", "plasmid", "and"])
    add_listed(growing, listing)
    growing_again = open_growing(tokenizer)
    known = [word for word in ("the", "and", "cat") if all(map(growing.has_piece, growing.list_forms(word)))]
    assert "the" in known
    with pytest.raises(ConfigError, match="already"):
        add_listed(growing_again, Listing(["a"]))


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ({"learn": 0}, "between 1 and"),
        ({"learn": True}, "whole number"),
        ({"file": " "}, "must name a file"),
        ({"learn": 5, "file": "a"}, "must be {learn: N}"),
        ([], "is empty"),
        (["a", " a "], "twice"),
        (["\u3000"], "it is empty"),
        (["a\nb"], "line break"),
        (["x" * 101], "101 characters"),
        ([7], "quotation marks"),
    ],
)
def test_what_no_token_can_be_is_refused_by_the_config(value: Any, told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        build_config({"model": {"new_tokens": value}})
    assert told in str(caught.value) and "model.new_tokens" in str(caught.value)


def test_what_new_tokens_do_not_go_with() -> None:
    for more in ({"model": {"adapter": "a"}}, {"task": "seq2seq"}, {"model": {"tokenizer": "train"}}):
        values = {**more, "model": {**more.get("model", {}), "new_tokens": ["plasmid"]}}
        assert "model.new_tokens" in find_config_problems(values)
    config = build_config({"model": {"new_tokens": [" plasmid "], "new_tokens_train": "all"}})
    assert config.model.new_tokens == ["plasmid"] and config.method.train_embeddings
