"""Repeats are folded, long answers cut, and the words found that only one answer has."""

from __future__ import annotations

import pytest

from tui_tuner.evaluation.repeats import find_repeated_text, fold_repeats, split_words_with_blanks
from tui_tuner.evaluation.word_differences import SHORT, Word, find_differing, split_answer_words

TEXTS = {
    "flute": "flute " * 214,
    "sentence": "The red coat. " * 30 + "And an end.",
    "chinese": "红色的外套。" * 40 + "结束",
    "arabic": "معطف أحمر " * 25,
    "no blanks": "flute" * 400,
    "one letter": "x" * 5000,
    "lines": "a\n\n\n\n\n\n\nb",
    "short": "no no no",
    "control": "\x1b[31mred\x1b[0m \u202eevil " * 30,
    "nothing": "",
    "blanks": " \n\t ",
}


def shown(text: str, whole: bool = False) -> str:
    return "".join(word.text for word in split_answer_words(text, whole).words)


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_pieces_and_words_hold_every_character(text: str) -> None:
    assert "".join(split_words_with_blanks(text)) == text
    assert sum(piece.length for piece in fold_repeats(text)) == len(text)


def test_what_repeats_stands_once_with_how_often() -> None:
    assert shown(TEXTS["flute"]).strip() == "flute ×214"
    assert shown(TEXTS["sentence"]).split() == ["⟨The", "red", "coat.⟩", "×30", "And", "an", "end."]
    assert shown(TEXTS["chinese"]).startswith("⟨红色的外套。⟩ ×40") and shown(TEXTS["chinese"]).endswith(
        "结束"
    )
    assert "×25" in shown(TEXTS["arabic"]) and "×400" in shown(TEXTS["no blanks"])
    assert shown(TEXTS["short"]) == "no no no"  # too little to be worth a sign
    assert shown(TEXTS["lines"]) == "a\n↵ ×7\nb"
    assert shown(TEXTS["flute"], whole=True) == TEXTS["flute"].strip()


def test_a_runaway_answer_is_cut_and_what_is_left_is_counted() -> None:
    text = " ".join(f"word{number}" for number in range(2000))
    told = split_answer_words(text)
    said = "".join(word.text for word in told.words)
    assert len(said) <= SHORT and text.startswith(said)
    assert told.left == len(text) - len(said)
    assert split_answer_words(text, whole=True).left == 0
    assert split_answer_words("y" * 100 + "z" * 7000).left < 10  # folded, and nothing left


def test_nothing_of_an_answer_can_move_the_cursor() -> None:
    assert not {"\x1b", "\u202e", "\t"} & set(shown(TEXTS["control"]) + shown(TEXTS["control"], whole=True))


def test_words_that_only_one_answer_has_are_found() -> None:
    one, other = (
        split_answer_words("A red coat of wool").words,
        split_answer_words("A long red coat, of silk").words,
    )
    apart = find_differing(one, other)
    assert [one[at].text.strip() for at in sorted(apart[0])] == ["wool"]
    assert [other[at].text.strip() for at in sorted(apart[1])] == ["long", ",", "silk"]
    assert find_differing(one, one) == (set(), set())
    assert find_differing([Word(" ×9", True)], one)[0] == set()  # a sign of the program's own is no word


def test_of_two_chinese_answers_single_signs_differ() -> None:
    one, other = split_answer_words("我喜欢红色").words, split_answer_words("我喜欢蓝色").words
    apart = find_differing(one, other)
    assert [one[at].text for at in apart[0]] == ["红"] and [other[at].text for at in apart[1]] == ["蓝"]


def test_what_an_answer_mostly_repeats() -> None:
    found = find_repeated_text("Well: " + TEXTS["flute"])
    assert found is not None and (found.text, found.times) == ("flute", 214)
    assert find_repeated_text("no no no, that is another thing") is None
    assert find_repeated_text("") is None
