"""Which tokens are hidden, and what becomes of them: counted, and the same wherever they are drawn."""

from __future__ import annotations

import itertools
from math import sqrt
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tui_tuner.compute.check_rows import CheckRows
from tui_tuner.config.load import build_config
from tui_tuner.data.masking.block_encoder import BlockEncoder
from tui_tuner.data.masking.hiding import choose_units, make_hiding_rule
from tui_tuner.data.masking.masked_rows import MaskedRows
from tui_tuner.data.masking.word_numbers import WordTokenizer
from tui_tuner.data.read_data import DataReading
from tui_tuner.data.records import IGNORE, Example, Text
from tui_tuner.data.row_problem import RowProblem
from tui_tuner.errors import ConfigError, DataError, ModelError
from tui_tuner.models.loading import load_tokenizer
from tui_tuner.tasks import find_task

TEXT = "An unbelievable lighthouse, half-forgotten: the violets of Saint Clare! "


def make_config(**masking: Any) -> Any:
    return build_config(
        {"task": "masked_lm", "model": {"name": "tiny-bert"}, "data": {"max_length": 32, "masking": masking}}
    )


@pytest.fixture(scope="module")
def bert() -> Any:
    return load_tokenizer(make_config().model)


def train_tokenizer(kind: str) -> Any:
    """Train a tokenizer of a kind on a few words, as the library makes them for RoBERTa and ALBERT."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    if kind == "byte-level BPE":
        made = Tokenizer(models.BPE())
        made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        made.decoder = decoders.ByteLevel()
        trainer: Any = trainers.BpeTrainer(
            vocab_size=300, special_tokens=special, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
        )
    else:
        made = Tokenizer(models.Unigram())
        made.pre_tokenizer = pre_tokenizers.Metaspace(split=kind == "unigram")
        made.decoder = decoders.Metaspace()
        trainer = trainers.UnigramTrainer(vocab_size=60, special_tokens=special, unk_token="<unk>")
    made.train_from_iterator([TEXT] * 20, trainer)
    made.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    names = zip(("bos_token", "pad_token", "eos_token", "unk_token", "mask_token"), special, strict=True)
    return PreTrainedTokenizerFast(tokenizer_object=made, **dict(names))


def make_rows(count: int, length: int, unit: int = 1) -> CheckRows:
    """Examples of regular tokens 100 to 999, of which `unit` in a row are chosen together."""
    random = np.random.default_rng(1)
    units = np.arange(length, dtype=np.int32) // unit
    return CheckRows(
        [Example(random.integers(100, 1000, length).astype(np.int32), units) for _ in range(count)]
    )


@pytest.mark.parametrize("unit", [1, 3])
def test_shares_are_those_of_the_rule_over_a_hundred_thousand_tokens(bert: Any, unit: int) -> None:
    rule = make_hiding_rule(0.15, bert, 1000)
    rows = make_rows(1000, 101, unit)
    hidden = MaskedRows(rows, rule, 42, 0)
    total = 1000 * 101
    chosen = int(hidden.trained_tokens[:].sum())
    assert abs(chosen - 0.15 * total) < 3 * sqrt(total * 0.15 * 0.85)
    kept = masked = 0
    for before, after in zip(
        (rows[row] for row in range(1000)), (hidden[row] for row in range(1000)), strict=True
    ):
        where = after.labels != IGNORE
        assert (after.labels[where] == before.ids[where]).all()
        assert (after.ids[~where] == before.ids[~where]).all()
        masked += int((after.ids[where] == rule.mask).sum())
        kept += int((after.ids[where] == before.ids[where]).sum())
    chance = 1 / len(rule.words)  # that a random token is the one that was there
    for found, share in (
        (masked, 0.8),
        (kept, 0.1 + 0.1 * chance),
        (chosen - masked - kept, 0.1 * (1 - chance)),
    ):
        assert abs(found - share * chosen) < 3 * sqrt(chosen * share * (1 - share))


def test_masks_follow_from_seed_epoch_and_row_alone(bert: Any) -> None:
    rule, rows = make_hiding_rule(0.15, bert, 1000), make_rows(40, 30)

    def draw(seed: int, epoch: int | None, order: Any = range(40)) -> list[bytes]:
        hidden = MaskedRows(rows, rule, seed, epoch)
        found = {row: hidden[row].ids.tobytes() + hidden[row].labels.tobytes() for row in order}
        return [found[row] for row in range(40)]

    known = {key: draw(*key) for key in itertools.product((1, 2), (None, 0, 1))}
    assert all(draw(*key, order=range(39, -1, -1)) == found for key, found in known.items())
    for one, other in itertools.combinations(known.values(), 2):
        assert all(mine != theirs for mine, theirs in zip(one, other, strict=True))


def test_words_are_chosen_whole_with_the_expected_share() -> None:
    sizes = np.random.default_rng(0).integers(1, 6, 40)
    units = np.repeat(np.arange(40), sizes)
    counts = []
    for seed in range(500):
        chosen = choose_units(units, 0.15, np.random.default_rng(seed))
        parts = np.split(chosen, np.cumsum(sizes)[:-1])
        assert all(part.all() or not part.any() for part in parts)
        counts.append(chosen.sum())
    assert abs(np.mean(counts) - 0.15 * len(units)) < 3 * np.std(counts) / sqrt(len(counts))


@pytest.mark.parametrize("length", [1, 2, 6])
def test_at_least_one_token_of_a_short_text_is_chosen(length: int) -> None:
    chosen = [choose_units(np.arange(length), 0.05, np.random.default_rng(seed)).sum() for seed in range(50)]
    assert min(chosen) == 1
    assert not choose_units(np.arange(0), 0.05, np.random.default_rng(0)).size


@pytest.mark.parametrize("kind", ["WordPiece", "byte-level BPE", "unigram", "unigram of one word"])
def test_tokens_of_a_word_share_a_number(bert: Any, kind: str) -> None:
    tokenizer = bert if kind == "WordPiece" else train_tokenizer(kind)
    text = "An unbelievable lighthouse of violets"
    ((ids, numbers),) = WordTokenizer(tokenizer).tokenise_texts([text])
    assert list(ids) == tokenizer(text, add_special_tokens=False)["input_ids"]
    assert len(ids) > 5
    words = [
        tokenizer.decode([one for one, at in zip(ids, numbers, strict=True) if at == word])
        for word in range(5)
    ]
    assert [word.strip().lower() for word in words] == text.lower().split()
    assert numbers[-1] == 4


@pytest.mark.parametrize("kind", ["WordPiece", "byte-level BPE", "unigram"])
@pytest.mark.parametrize("whole", [False, True])
def test_documents_become_blocks_between_special_tokens(bert: Any, kind: str, whole: bool) -> None:
    tokenizer = bert if kind == "WordPiece" else train_tokenizer(kind)
    encoder = BlockEncoder(make_config(whole_words=whole), tokenizer)
    plain = tokenizer(TEXT * 3, add_special_tokens=False)["input_ids"]
    around = tokenizer("a")["input_ids"]
    (long, short) = encoder.encode_batch([Text(TEXT * 3), Text("of")])
    assert not isinstance(long, RowProblem) and not isinstance(short, RowProblem)
    assert (long.outcome, short.outcome) == ("split", "kept")
    assert [one for piece in long.examples for one in piece.ids[1:-1]] == plain
    for piece in (*long.examples, *short.examples):
        assert len(piece) <= 32
        assert [piece.ids[0], piece.ids[-1]] == [around[0], around[-1]]
        assert piece.labels[0] == piece.labels[-1] == IGNORE
        special = set(tokenizer.all_special_ids)
        assert all(
            (one in special) == (label == IGNORE) for one, label in zip(piece.ids, piece.labels, strict=True)
        )


def test_a_text_without_tokens_to_guess_is_dropped_with_the_reason(bert: Any) -> None:
    found = BlockEncoder(make_config(), bert).encode_batch([Text("[MASK] [CLS]"), Text("")])
    assert [str(one) for one in found] == ["nothing to guess: no token that is part of the text"] * 2


def test_a_random_token_is_never_special_nor_beyond_the_model(bert: Any) -> None:
    rule = make_hiding_rule(0.9, bert, 300)
    hidden = MaskedRows(make_rows(50, 60), rule, 0, 0)
    ids = np.concatenate([hidden[row].ids[hidden[row].labels != IGNORE] for row in range(50)])
    labels = np.concatenate([hidden[row].labels[hidden[row].labels != IGNORE] for row in range(50)])
    drawn = ids[(ids != rule.mask) & (ids != labels)]
    assert len(drawn) > 100 and not set(drawn.tolist()) & set(bert.all_special_ids)
    assert drawn.max() < 300


def test_a_tokenizer_that_knows_no_words_hides_single_tokens_alone() -> None:
    from transformers import PerceiverTokenizer

    tokenizer = PerceiverTokenizer()  # of bytes, in plain Python
    (found,) = BlockEncoder(make_config(), tokenizer).encode_batch([Text("a café")])
    assert not isinstance(found, RowProblem) and found.examples[0].trained_tokens == 7
    task = find_task("masked_lm")
    with pytest.raises(ConfigError, match="does not tell which tokens are one word") as caught:
        task.prepare_tokenizer(make_config(whole_words=True), tokenizer)
    assert "--set data.masking.whole_words=false" in caught.value.hint


def test_a_tokenizer_without_a_mask_token_is_refused_with_another_task(tiny_tokenizer: Any) -> None:
    with pytest.raises(ModelError, match="no mask token") as caught:
        find_task("masked_lm").prepare_tokenizer(make_config(), tiny_tokenizer)
    assert caught.value.field == "model.name" and "--set task=pretraining" in caught.value.hint


def test_rows_with_a_class_are_told_how_their_texts_can_be_read(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("review,label\nA good film indeed,pos\nA bad film indeed,neg\n", encoding="utf-8")
    (read, *_more) = DataReading(make_config().data.model_copy(update={"path": str(path)}))
    with pytest.raises(DataError) as caught:
        BlockEncoder.check_kind(make_config(), read, read.record)
    assert "--set data.format=text --set 'data.columns={text: review}'" in caught.value.hint
