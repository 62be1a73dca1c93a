"""ROUGE, BLEU and chrF of answers, compared with the libraries that define them."""

from __future__ import annotations

import random
import string
import time

import pytest
import sacrebleu
from rouge_score.rouge_scorer import RougeScorer
from rouge_score.tokenizers import DefaultTokenizer

from tui_tuner.evaluation.metrics import ScoredAnswer, choose_metrics, score_answers, sign_scores
from tui_tuner.evaluation.overlap.rouge import OverlapTokenizer
from tui_tuner.evaluation.overlap.scripts import choose_bleu_tokenizer, split_overlap_words

ROUGE, CORPUS = ["rouge1", "rouge2", "rougeL"], ["bleu", "chrf"]
LATIN = ["the", "cat", "sat", "on", "a", "mat.", "Für", "1,000", "Café's", "naïve_snake", "(x²)", "don't"]
LATIN += ["½", "ŁÓDŹ", "e\u0301", "\ufb01", "\t\n", "&", "<b>", "U.S.A."]
CHINESE = [*"白色外套黑裙，显瘦。", "iPhone", "12"]
THAI = list("สวัสดีครับ")


def _make_texts(words: list[str], joint: str, count: int, seed: int) -> list[str]:
    drawn = random.Random(seed)
    # Every tenth is empty
    return [joint.join(drawn.choices(words, k=drawn.randint(1, 40) * (at % 10 != 3))) for at in range(count)]


def _make_rows(answers: list[str], references: list[str]) -> list[ScoredAnswer]:
    return [ScoredAnswer("", wanted, said, True) for said, wanted in zip(answers, references, strict=True)]


@pytest.mark.parametrize(
    ("words", "joint", "tokenizer"), [(LATIN, " ", "13a"), (CHINESE, "", "zh"), (THAI, "", "char")]
)
def test_scores_are_those_of_the_libraries(words: list[str], joint: str, tokenizer: str) -> None:
    answers = _make_texts(words, joint, 60, 1)
    references = [text or words[0] for text in _make_texts(words, joint, 60, 2)]
    answers[7] = references[7]
    found = score_answers([*ROUGE, *CORPUS], _make_rows(answers, references))
    # The library's own tokenizer for Latin text, which finds no words in others
    scorer = RougeScorer(
        ROUGE, use_stemmer=False, tokenizer=None if tokenizer == "13a" else OverlapTokenizer()
    )
    each = [scorer.score(wanted, said) for said, wanted in zip(answers, references, strict=True)]
    for name in ROUGE:
        assert found[name] == sum(one[name].fmeasure for one in each) / len(each)
    bleu = sacrebleu.corpus_bleu(answers, [references], tokenize=tokenizer)
    assert found["bleu"] == bleu.score / 100 and found["chrf"] == (
        sacrebleu.corpus_chrf(answers, [references]).score / 100
    )
    assert all(0 < found[name] < 1 for name in found)
    signed = sign_scores([*ROUGE, *CORPUS], _make_rows(answers, references))
    assert list(signed) == CORPUS and f"tok:{tokenizer}" in signed["bleu"]
    whole = sacrebleu.BLEU(tokenize=tokenizer)
    whole.corpus_score(answers, [references])
    assert signed["bleu"] == str(whole.get_signature())


def test_latin_words_are_those_of_rouge_score() -> None:
    default, drawn = DefaultTokenizer(use_stemmer=False), random.Random(3)
    signs = (
        string.printable
        + "äßéÉØŁœﬁ½²ªºµ×÷\u0301\u00ad\u2019\u2014\u2122\u1e9e\U0001f600"
        + "".join(map(chr, range(0x80, 0x250)))
    )
    for _unused in range(500):
        text = "".join(drawn.choices(signs, k=drawn.randint(0, 60)))
        assert split_overlap_words(text) == default.tokenize(text), text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("白色 iPhone外套", ["白", "色", "iphone", "外", "套"]),
        ("Кошка спит.", ["кошка", "спит"]),
        ("हिन्दी भाषा", ["हिन्दी", "भाषा"]),
        ("السلام عليكم", ["السلام", "عليكم"]),
        ("안녕 세상", ["안녕", "세상"]),
        ("猫がいる", ["猫", "が", "い", "る"]),
        ("", []),
    ],
)
def test_other_scripts_have_words_too(text: str, words: list[str]) -> None:
    assert split_overlap_words(text) == words


@pytest.mark.parametrize(
    ("references", "tokenizer"),
    [
        (["The iPhone 手机 of today is a fine machine"], "13a"),
        (["白色外套 iPhone"], "zh"),
        (["猫がいる。", "東京都"], "char"),
        (["안녕 세상"], "13a"),
        (["1 2 3"], "13a"),
        ([], "13a"),
    ],
)
def test_bleu_has_the_tokenizer_of_the_references(references: list[str], tokenizer: str) -> None:
    assert choose_bleu_tokenizer(references) == tokenizer


def test_a_score_of_all_rows_is_no_mean_of_rows() -> None:
    rows = _make_rows(
        ["the cat sat on the mat", "a"], ["the cat sat on the mat", "dog and cat and mouse and rat"]
    )
    both = score_answers(["bleu"], rows)["bleu"]
    assert both != sum(score_answers(["bleu"], [row])["bleu"] for row in rows) / 2
    # Rows without a reference are not compared
    assert score_answers(["bleu", "rouge1"], [*rows, ScoredAnswer("", "", "more words", True)]) == (
        score_answers(["bleu", "rouge1"], rows)
    )
    assert score_answers(["bleu", "chrf", *ROUGE], [ScoredAnswer("", "", "x", True)]) == {}


def test_a_task_names_what_its_answers_are_usually_compared_by() -> None:
    rows = _make_rows(["a b"], ["a c"])
    assert choose_metrics("auto", rows) == ["rougeL", "stopped"]
    assert choose_metrics("auto", rows, ("rouge1", "bleu")) == ["rouge1", "bleu", "stopped"]


def test_long_answers_are_compared_in_seconds() -> None:
    drawn = random.Random(5)
    words = [f"word{number}" for number in range(500)]
    texts = [" ".join(drawn.choices(words, k=400)) for _unused in range(200)]
    begun = time.process_time()
    score_answers([*ROUGE, *CORPUS], _make_rows(texts[:100], texts[100:]))
    # A table of all pairs of words takes longer for each row than all of this for a hundred
    assert time.process_time() - begun < 20
