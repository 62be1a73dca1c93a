"""Entities are counted as seqeval 1.2.2 counts them, and tags without a scheme one by one."""

from __future__ import annotations

import json

import pytest

from tests.unit.evaluation.tag_sequences import LETTERS, ROWS, SCORES, SEEDS, rows_of
from tui_tuner.data.tagging.tag_schemes import find_scheme_faults, order_tags, recognise_tag_scheme, split_tag
from tui_tuner.evaluation.tagging import (
    EntityCounts,
    find_lenient_entities,
    find_rows_scheme,
    find_strict_entities,
    join_row_tags,
    score_tags,
)
from tui_tuner.tasks.classes.tag_judging import judge_tagged_rows


@pytest.mark.parametrize("scheme", LETTERS)
def test_scores_are_those_of_seqeval(scheme: str) -> None:
    expected = json.loads(SCORES.read_text())
    assert len(LETTERS) * SEEDS * ROWS >= 1000
    for seed in range(SEEDS):
        wanted, found = rows_of(scheme, seed)
        right = expected[f"{scheme} {seed}"]
        usual, strict = EntityCounts(), EntityCounts()
        usual.add_row(
            find_lenient_entities(join_row_tags(wanted)), find_lenient_entities(join_row_tags(found))
        )
        for row, guess in zip(wanted, found, strict=True):
            strict.add_row(find_strict_entities(row, scheme), find_strict_entities(guess, scheme))
        assert usual.total_figures() == pytest.approx(right["usual"], abs=1e-12), seed
        assert strict.total_figures() == pytest.approx(right["strict"], abs=1e-12), seed
        assert usual.list_types() == sorted(right["types"])
        for kind, scores in right["types"].items():
            assert [*usual.type_figures(kind), usual.wanted[kind]] == pytest.approx(scores, abs=1e-12), (
                seed,
                kind,
            )
        assert score_tags(wanted, found).accuracy == pytest.approx(right["accuracy"], abs=1e-12)


def test_a_wrong_letter_is_forgiven_and_not_by_the_strict_count() -> None:
    wanted = [["B-PER", "I-PER", "O", "B-LOC", "B-LOC"], ["O"]]
    found = [["I-PER", "I-PER", "O", "B-LOC", "I-LOC"], ["O"]]
    judgement = score_tags(wanted, found)
    assert judgement.scheme == "IOB2" and judgement.strict is not None
    assert judgement.counts.total_figures() == (0.5, pytest.approx(1 / 3), pytest.approx(0.4))
    assert judgement.strict.total_figures() == (0.0, 0.0, 0.0)
    assert judgement.accuracy == pytest.approx(4 / 6)


def test_tags_without_a_scheme_are_counted_word_by_word() -> None:
    wanted = [["DET", "NOUN", "VERB"], ["NOUN"]]
    found = [["DET", "VERB", "VERB"], ["NOUN"]]
    judgement = score_tags(wanted, found)
    assert judgement.scheme == "" and judgement.strict is None
    assert judgement.counts.total_figures() == (0.75, 0.75, 0.75)
    assert judgement.f1_macro == pytest.approx((1 + 2 / 3 + 2 / 3) / 3)
    # `O` is no class of its own, but for the mean over all tags
    judgement = score_tags([["person", "O", "O"]], [["person", "place", "O"]])
    assert judgement.counts.total_figures() == (0.5, 1.0, pytest.approx(2 / 3))
    assert judgement.f1_macro == pytest.approx((1 + 2 / 3 + 0) / 3)


@pytest.mark.parametrize(
    ("rows", "scheme"),
    [
        ([["B-PER", "I-PER", "O"]], "IOB2"),
        ([["O", "I-PER", "I-PER"], ["I-LOC", "B-LOC"]], "IOB1"),
        ([["O", "I-PER"], ["B-LOC", "I-LOC"]], "IOB2"),  # one beginning is missing
        ([["B-PER", "E-PER", "O"], ["S-LOC"]], "IOBES"),
        ([["B-PER", "L-PER", "O"], ["U-LOC"]], "BILOU"),
        ([["B-PER", "M-PER", "E-PER"], ["S-LOC", "S-LOC"]], "BMES"),
        ([["I-PER", "E-PER", "O"], ["E-LOC"]], "IOE2"),
        ([["B-PER", "I-PER", "X-PER", "O"]], "IOB2"),
        ([["B", "I", "O"]], "IOB2"),
        ([["NOUN", "VERB", "X"]], ""),
        ([["person", "O"]], ""),
        ([["O", "O"]], ""),
    ],
)
def test_a_scheme_is_known_by_its_tags(rows: list[list[str]], scheme: str) -> None:
    assert find_rows_scheme(rows) == scheme


def test_faults_have_places() -> None:
    tags = ["I-PER", "B-PER", "I-LOC", "O", "B-LOC", "E-LOC", "E-LOC"]
    beginnings, ends = [0, 2, 6], [0, 1, 2]
    expected = [*(("beginning", place) for place in beginnings), *(("end", place) for place in ends)]
    assert sorted(find_scheme_faults(tags)) == expected
    assert split_tag("B-per-son") == ("B", "per-son") and split_tag("b-PER") == ("", "b-PER")


def test_classes_have_a_stable_order() -> None:
    tags = {"I-PER", "O", "B-PER", "B-LOC"}
    assert order_tags(tags) == ["O", "B-LOC", "B-PER", "I-PER"]
    assert order_tags(tags, numbered=["B-PER", "I-PER", "B-LOC", "O", "B-X"])[-1] == "B-X"
    assert order_tags(tags, known=["O", "B-PER"]) == ["O", "B-LOC", "B-PER", "I-PER"]
    assert recognise_tag_scheme({}) == ""


def test_tags_without_a_scheme_have_a_confusion_matrix() -> None:
    judged = judge_tagged_rows([["DET", "NOUN", "VERB"], ["NOUN"]], [["DET", "VERB", "VERB"], ["NOUN"]])
    classes, confused = judged.tables
    assert (classes.name, list(classes.rows)) == ("classes", ["DET", "NOUN", "VERB"])
    assert [row[3] for row in classes.values] == [1, 2, 1]
    assert (confused.name, confused.values) == ("confusion", [[1, 0, 0], [0, 1, 1], [0, 0, 1]])
    assert set(judged.metrics) == {"accuracy", "precision", "recall", "f1", "f1_macro"}
    (only,) = judge_tagged_rows([["B-A", "I-A"]], [["B-A", "O"]]).tables
    assert only.columns == ("precision", "recall", "f1", "support")
