"""Windows of a question and its text: what is cut, where tokens stand, and which of them are the answer."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest

from tests.core.tasks.question_rows import word_pieces
from tests.unit.data.small_tokenizers import TEXT, byte_level, sentence_piece
from tui_tuner.config.load import build_config
from tui_tuner.data.examples.fitting import FittedRow
from tui_tuner.data.examples.pair_windows import LONG_QUESTION, PairCutter, pad_on_right
from tui_tuner.data.examples.questions import END, START, QuestionEncoder, mask_answer_tokens
from tui_tuner.data.examples.token_types import pack_types, unpack_types
from tui_tuner.data.records import IGNORE, Question
from tui_tuner.data.row_problem import RowProblem
from tui_tuner.errors import ConfigError, ModelError
from tui_tuner.tasks import find_task

SPECIALS = ("<s>", "</s>")
TOKENIZERS: dict[str, Any] = {
    "word pieces": word_pieces,
    "bytes": lambda: byte_level(SPECIALS, None, "</s>"),
    "bytes, spaces left out": lambda: byte_level(SPECIALS, None, "</s>", True),
    "sentence pieces": lambda: sentence_piece(SPECIALS, "<s>", "</s>"),
}


@pytest.fixture(params=TOKENIZERS)
def tokenizer(request: pytest.FixtureRequest) -> Any:
    return TOKENIZERS[request.param]()


def encode(tokenizer: Any, *records: Question, **data: Any) -> list[FittedRow | RowProblem]:
    section = {"path": "none", "max_length": 24, "stride": 5, **data}
    config = build_config({"task": "question_answering", "model": {"name": "demo"}, "data": section})
    return QuestionEncoder(config, tokenizer).encode_batch(list(records))


def kept(found: FittedRow | RowProblem) -> FittedRow:
    assert isinstance(found, FittedRow), found
    return found


def _holds(ids: list[int], part: list[int]) -> bool:
    return any(ids[place : place + len(part)] == part for place in range(len(ids)))


def test_windows_are_the_tokenizers_own(tokenizer: Any) -> None:
    question, context = "who is fine?", " ".join(reversed(f"{TEXT[2]} {TEXT[0]} {TEXT[1]}".split()))
    (windows,) = PairCutter(tokenizer, 40, 7).cut_pairs([question], [context])
    assert isinstance(windows, list) and len(windows) > 2
    asked = tokenizer(question, add_special_tokens=False)["input_ids"]
    whole = tokenizer(context, add_special_tokens=False)["input_ids"]
    pair = tokenizer(question, context)
    room = 40 - (len(pair["input_ids"]) - len(whole))
    for number, window in enumerate(windows):
        inside = window.context[:, 0] >= 0
        begin = number * (room - 7)
        assert window.base == begin
        assert window.ids[inside].tolist() == whole[begin : begin + room]
        assert _holds(window.ids[: window.text_start].tolist(), asked)
        types = unpack_types(window.types, len(window.ids))
        assert set(types[inside]) == ({1} if "token_type_ids" in pair else {0})
    assert sum(len(w.ids) for w in windows[:-1]) == 40 * (len(windows) - 1)


def test_the_answer_is_every_token_that_any_of_its_characters_went_into(tokenizer: Any) -> None:
    """Any range of characters, in words and between them, is held against the places of all tokens."""
    random_ = random.Random(3)
    context = "Ünïcödé naïve café 😀 final channel! 这款连衣裙 Hello there, how are you"
    whole = tokenizer(context, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
    for _number in range(200):
        start = random_.randrange(len(context))
        text = context[start : start + random_.randint(1, 12)]
        (found,) = encode(tokenizer, Question("who?", context, [(text, start)]), max_length=400)
        bare = text.strip()
        first = start + len(text) - len(text.lstrip())
        wanted = [
            place
            for place, (begin, end) in enumerate(whole)
            if begin < first + len(bare) and end > first and end > begin
        ]
        if not wanted:
            assert isinstance(found, RowProblem)
            continue
        (example,) = kept(found).examples
        (windows,) = PairCutter(tokenizer, 400, 5).cut_pairs(["who?"], [context])
        assert isinstance(windows, list)
        base = windows[0].text_start
        edges = (example.columns["start"] - base, example.columns["end"] - base)
        assert edges == (wanted[0], wanted[-1])
        begin, end = windows[0].context[example.columns["start"]][0], windows[0].context[base + edges[1]][1]
        assert bare in context[begin:end]


def test_each_window_holds_the_answer_whole_or_says_that_it_has_none() -> None:
    tokenizer = word_pieces()
    context = "it rains we walk along and then home " * 6 + "paris oslo " + "it rains we walk " * 6
    start = context.index("paris")
    (found,) = encode(tokenizer, Question("which city ?", context, [("paris oslo", start)]))
    fitted = kept(found)
    assert fitted.outcome == "split" and len(fitted.examples) > 4
    holding = []
    for number, example in enumerate(fitted.examples):
        words = tokenizer.convert_ids_to_tokens(example.ids.tolist())
        columns = example.columns
        assert columns["window"] == number and columns["null"] == 0
        assert words[columns["start"]] in ("paris", "[CLS]")
        if columns["start"]:
            holding.append(number)
            assert words[columns["start"] : columns["end"] + 1] == ["paris", "oslo"]
            assert example.labels[columns["start"]] == START and example.labels[columns["end"]] == END
            assert mask_answer_tokens(example.labels).sum() == 2
        else:
            assert example.labels[0] == START | END and (example.labels[1:] == IGNORE).all()
            assert not ("paris" in words and "oslo" in words)
    assert holding


def test_no_answer_stands_at_cls_or_at_the_first_token(tokenizer: Any) -> None:
    (found,) = encode(tokenizer, Question("who?", "Hello there", []), max_length=100)
    (example,) = kept(found).examples
    assert example.columns["start"] == example.columns["end"] == example.columns["null"] == 0
    if tokenizer.cls_token_id is not None:
        assert example.ids[0] == tokenizer.cls_token_id


def test_no_answer_stands_at_cls_where_that_comes_last() -> None:
    from tokenizers import processors

    tokenizer = word_pieces()
    ids = [(name, tokenizer.convert_tokens_to_ids(name)) for name in ("[CLS]", "[SEP]")]
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        "$A [SEP] [CLS]:2", "$A [SEP] $B:1 [SEP]:1 [CLS]:2", ids
    )
    context = "a b c d e f g h i j k l m n o p q r s t u v w x y z"
    question = Question("who?", context, [("x", context.index("x"))])
    (found,) = encode(tokenizer, question)
    *others, last = kept(found).examples
    assert others and all(one.columns["start"] == one.columns["null"] == len(one.ids) - 1 for one in others)
    assert tokenizer.convert_ids_to_tokens(int(last.ids[last.columns["start"]])) == "x"
    words = [find_task("question_answering").describe_example(question, one) for one in (*others, last)]
    assert [one.endswith("is not in this window") for one in words] == [True] * len(others) + [False]


def test_a_question_that_leaves_no_room_is_counted() -> None:
    tokenizer = word_pieces()
    long = Question("which city " * 8, "paris", [("paris", 0)])
    found, other = encode(tokenizer, long, Question("which ?", "paris", [("paris", 0)]))
    assert isinstance(found, RowProblem) and found.reason == LONG_QUESTION and "16 tokens" in found.detail
    assert kept(other).outcome == "kept"


def test_what_becomes_of_long_texts_is_the_configs_to_say() -> None:
    tokenizer = word_pieces()
    context = "it rains " * 20 + "paris"
    late, early = Question("which ?", context, [("paris", 180)]), Question("which ?", context, [("it", 0)])
    assert [kept(one).outcome for one in encode(tokenizer, late, early)] == ["split", "split"]
    cut, first = encode(tokenizer, late, early, overlong="truncate")
    assert isinstance(cut, RowProblem) and kept(first).outcome == "truncated"
    assert len(kept(first).examples) == 1
    assert all(isinstance(one, RowProblem) for one in encode(tokenizer, late, early, overlong="drop"))


def test_windows_that_would_share_everything_are_refused() -> None:
    with pytest.raises(ConfigError, match="cannot share 30"):
        encode(word_pieces(), max_length=24, stride=30)


def test_a_tokenizer_that_knows_no_places_is_refused_with_what_to_do() -> None:
    from transformers import CanineTokenizer

    with pytest.raises(ModelError, match="cannot give the places") as error:
        PairCutter(CanineTokenizer(), 40, 5)
    assert "tokenizer.json" in error.value.hint


def test_the_question_stands_first_whatever_side_is_padded() -> None:
    tokenizer = word_pieces()
    tokenizer.padding_side = tokenizer.truncation_side = "left"
    assert "come before their texts" in pad_on_right(tokenizer)
    assert not pad_on_right(tokenizer)
    (windows,) = PairCutter(tokenizer, 24, 5).cut_pairs(["which city ?"], ["it rains " * 20])
    assert isinstance(windows, list) and tokenizer.decode(windows[0].ids[:4]) == "[CLS] which city?"


@pytest.mark.parametrize("types", [[0] * 9, [0, 0, 1, 1], [1], [2, 0, 0, 1, 1], [0] * 70_000 + [1] * 5])
def test_token_types_fit_into_a_number(types: list[int]) -> None:
    packed = pack_types(types)
    assert 0 <= packed < 2**63 and np.int64(packed) == packed
    assert unpack_types(packed, len(types)).tolist() == types
    assert bool(packed) == any(types)
    assert unpack_types(packed, 2).tolist() == (types * 2)[:2] if len(types) > 1 else True


def test_types_that_do_not_fit_are_refused() -> None:
    for types in ([0, 1] * 3, [4], [0] * 300_000 + [1]):
        with pytest.raises(ValueError, match="token types"):
            pack_types(types)
