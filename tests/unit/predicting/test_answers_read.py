"""What a model wrote, read as a label, as clues and reasoning, or as JSON."""

from __future__ import annotations

import pytest

from tui_tuner.inference.predicting.parsing import parse_carp_answer, parse_json_answer, parse_label_answer

LABELS = ("good", "very good", "not-spam", "C++", "C", "正面", "负面")


@pytest.mark.parametrize(
    ("answer", "label"),
    [
        ("good", "good"),
        (" **GOOD**. ", "good"),
        ("“Good”", "good"),
        ("The label is very good.", "very good"),
        ("Very\n good", "very good"),
        ("not spam", "not-spam"),
        ("Label: Not_Spam!", "not-spam"),
        ("It is C++", "C++"),
        ("c", "C"),
        ("这是正面的。", "正面"),
    ],
)
def test_a_label_is_found_however_it_is_written(answer: str, label: str) -> None:
    assert parse_label_answer(answer, LABELS) == (label, "")


@pytest.mark.parametrize("answer", ["", "goodness", "bad", "Cobol", "正 面"])
def test_what_is_none_of_the_labels(answer: str) -> None:
    label, problem = parse_label_answer(answer, LABELS)
    assert label is None and problem.startswith("the answer contains none of the labels")
    assert answer in problem


def test_two_labels_are_no_answer_but_the_same_one_twice_is() -> None:
    label, problem = parse_label_answer("good or C", LABELS)
    assert label is None and "several" in problem and "good" in problem
    assert parse_label_answer("Good. Yes, good!", LABELS)[0] == "good"


def test_clues_and_reasoning_may_name_other_labels() -> None:
    text = "**Clues:** it says 'bad luck'\n1. REASONING: not bad,\nbut good\n### Label: **Good**\n(not bad)"
    text += "\n\nText: another one\nCLUES: awful\nLABEL: bad"
    found, problem = parse_carp_answer(text, ("good", "bad"))
    assert (found, problem) == (
        {"label": "good", "clues": "it says 'bad luck'", "reasoning": "not bad,\nbut good"},
        "",
    )


def test_an_answer_without_its_form_counts_if_it_names_one_label() -> None:
    assert parse_carp_answer("Bad, I think.", ("good", "bad"))[0] == {
        "label": "bad",
        "clues": None,
        "reasoning": None,
    }
    found, problem = parse_carp_answer("CLUES: good and bad\nREASONING: unsure", ("good", "bad"))
    assert found["label"] is None and found["clues"] == "good and bad" and problem


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        ('{"name": "coat", "price": 3}', {"name": "coat", "price": 3}),
        (
            'Sure:\n```json\n{"price": null, "name": "a {b} \\"c\\"", "x": 1}\n```',
            {"name": 'a {b} "c"', "price": None},
        ),
        ('{not json} {"name": [], "price": {"eur": 2}}', {"name": [], "price": {"eur": 2}}),
    ],
)
def test_json_in_an_answer(answer: str, found: object) -> None:
    assert parse_json_answer(answer, ("name", "price")) == (found, "")


@pytest.mark.parametrize("answer", ["", "{", '{"name": 1}', '["name", "price"]', '{"name": 1, "price": 2'])
def test_json_that_is_none_or_lacks_a_key(answer: str) -> None:
    found, problem = parse_json_answer(answer, ("name", "price"))
    assert found is None and problem.startswith("the answer contains no JSON object")
