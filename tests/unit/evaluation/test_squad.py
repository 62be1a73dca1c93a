"""Exact match and F1 are those of SQuAD's scripts: the expected values come from them, not from this code."""

from __future__ import annotations

import json
import random

import pytest

from tui_tuner.evaluation.squad import ROUNDING, AnsweredQuestion, normalise_squad_answer
from tui_tuner.tasks.answering.answer_judging import judge_answers, write_squad_predictions

# (right answers, prediction, by how much no answer scores higher)
FIRST = [
    (["ß 猫 İstanbul — —", "ß 1,000 cat An İstanbul"], "a —", -1.18),
    (['İstanbul 猫 "q" co-op the'], 'co-op "q" 1,000 co-op', -2.055),
    (["a the the cat 猫"], "a the the cat 猫", 1.669),
    (["1,000 ß cat Änderung", "co-op Cat's"], "co-op Cat's U.S. Änderung", 2.974),
    (["the"], "İstanbul a U.S. a ß", -1.255),
    (["A an"], "the", -0.747),
    (["U.S. a 1,000 co-op", "İstanbul co-op", "dog a Cat's"], "", 1.548),
    (['cat "q"'], 'cat "q"', -0.21),
    (["co-op Änderung", "— Änderung"], "co-op Änderung", -0.485),
    (["U.S.", "cat the Cat's ß"], "猫 the cat", -1.876),
    (["a the An cat —", "the İstanbul 1,000", "ß Cat's U.S."], "a the An cat —", -1.748),
    (["the 1,000", "dog 1,000 —", "1,000 —"], "An co-op An Cat's", 2.451),
    (['"q" cat', '"q" co-op', "cat co-op U.S. 猫 —"], "a", -2.768),
    (['"q" "q"', "Cat's U.S. ß 猫"], '猫 "q"', 2.863),
]
SECOND = [
    (["— Änderung"], "Cat's", -1.726),
    (["a"], "a", -1.506),
    ([], "dog Änderung 1,000", 2.838),
    (["An 猫 —"], "1,000 An 1,000 the 猫", -2.893),
    (["the"], "—", -1.087),
    (["A an"], "the", -2.548),
    (['"q" the 猫', "İstanbul 猫", "dog a co-op"], "İstanbul the ß —", 0.437),
    (["U.S. 1,000 the 1,000", "a", "co-op"], "a", 2.279),
    ([], '猫 "q" "q" 1,000', -0.253),
    (["a Änderung İstanbul Änderung the", "1,000 a —"], "a Änderung İstanbul Änderung the", -0.016),
    (["Cat's 猫 the dog", "An co-op 1,000", "Änderung An"], "— 猫 cat dog", -0.571),
    ([], "İstanbul İstanbul İstanbul 猫", -1.798),
    (["cat 1,000 猫 dog"], "cat 1,000 猫 dog", -0.021),
    (["Cat's"], "Cat's 猫 cat ß", -0.516),
]
TO_THE_LAST_DIGIT = 1e-15


def of(rows: list[tuple[list[str], str, float]]) -> list[AnsweredQuestion]:
    return [AnsweredQuestion(*row) for row in rows]


def test_questions_that_all_have_an_answer_count_as_in_version_1() -> None:
    judged, threshold = judge_answers(of(FIRST), "auto")
    assert threshold is None and not judged.tables
    found = {name: 100 * value for name, value in judged.metrics.items()}
    assert found == pytest.approx({"exact_match": 35.714285714285715, "f1": 45.714285714285715}, abs=1e-13)


def test_an_answer_without_a_word_counts_nothing_in_version_1_and_is_no_answer_in_version_2() -> None:
    same = AnsweredQuestion(["the"], "a")
    assert judge_answers([same], "auto")[0].metrics == {"exact_match": 1.0, "f1": 0.0}
    metrics = judge_answers([same, AnsweredQuestion([], "x", -1.0)], 5.0)[0].metrics
    assert (metrics["exact_match"], metrics["f1"]) == (0.5, 0.5)


def test_the_threshold_is_the_one_with_the_best_f1() -> None:
    judged, threshold = judge_answers(of(SECOND), "auto")
    assert threshold is not None and 0.437 < threshold < 0.437 + 2 * ROUNDING
    assert threshold == judged.metrics["null_threshold"]
    assert judged.metrics["exact_match"] == pytest.approx(0.35714285714285715, abs=TO_THE_LAST_DIGIT)
    assert judged.metrics["f1"] == pytest.approx(0.48367346938775505, abs=TO_THE_LAST_DIGIT)
    tables = {table.name: dict(zip(table.rows, table.values, strict=True)) for table in judged.tables}
    has = [0.3636363636363637, 0.52467532467532465, 11]
    assert tables["classes"]["HasAns"] == pytest.approx(has, abs=TO_THE_LAST_DIGIT)
    none = [1 / 3, 1 / 3, 3]
    assert tables["classes"]["NoAns"] == pytest.approx(none, abs=TO_THE_LAST_DIGIT)
    assert tables["thresholds"]["best_exact_match"][:2] == pytest.approx([-0.016, 0.35714285714285715])
    assert tables["thresholds"]["best_f1"][0] == 0.437  # as the script of version 2 says it
    assert tables["thresholds"]["used"][1:] == tables["thresholds"]["best_f1"][1:]


def test_a_threshold_that_was_found_holds_where_last_digits_differ() -> None:
    first, threshold = judge_answers(of(SECOND), "auto")
    for noise in (1e-5, -1e-5):
        again = [AnsweredQuestion(one.answers, one.text, one.no_answer + noise) for one in of(SECOND)]
        assert judge_answers(again, threshold)[0].metrics == first.metrics
    near = of([(["a b"], "a b", 0.5), ([], "x", 0.5 + 1e-6)])
    judged, threshold = judge_answers(near, "auto")
    assert threshold is not None and 0.5 < threshold < 0.5 + 1e-6 and judged.metrics["f1"] == 1.0


def test_a_threshold_that_is_told_is_used() -> None:
    judged, threshold = judge_answers(of(SECOND), -1.0)
    assert threshold == -1.0 == judged.metrics["null_threshold"]
    assert judged.metrics["exact_match"] == pytest.approx(0.28571428571428571, abs=TO_THE_LAST_DIGIT)
    assert judged.metrics["f1"] == pytest.approx(0.31428571428571434, abs=TO_THE_LAST_DIGIT)
    classes = judged.tables[0].values
    assert classes[0][:2] == pytest.approx([0.18181818181818181, 0.21818181818181817], abs=TO_THE_LAST_DIGIT)
    assert classes[1][:2] == pytest.approx([2 / 3, 2 / 3], abs=TO_THE_LAST_DIGIT)


def test_without_a_better_threshold_it_is_0() -> None:
    rows = [AnsweredQuestion([], "x", 1.0), AnsweredQuestion([], "y", 2.0)]
    judged, threshold = judge_answers(rows, "auto")
    assert threshold == 0.0 and judged.metrics["f1"] == 1.0
    assert judged.tables[0].values[0] == [None, None, 0.0]


def test_no_answer_for_all_is_reached_where_nothing_is_better() -> None:
    """Scores are differences: below 0, a threshold of 0 would let every wrong answer stand."""
    rows = [
        AnsweredQuestion([], "x", -3.0),
        AnsweredQuestion([], "y", -1.0),
        AnsweredQuestion(["z"], "wrong", 0.5),
    ]
    judged, threshold = judge_answers(rows, "auto")
    assert threshold is not None and threshold < -3.0
    assert judged.metrics["f1"] == judged.metrics["exact_match"] == pytest.approx(2 / 3)
    rows_of = dict(zip(judged.tables[1].rows, judged.tables[1].values, strict=True))
    assert rows_of["used"] == rows_of["best_f1"] == rows_of["best_exact_match"]


@pytest.mark.parametrize("seed", range(20))
def test_no_other_threshold_is_better(seed: int) -> None:
    draw = random.Random(seed)
    words = ["red", "green", "blue"]
    rows = [
        AnsweredQuestion(
            [" ".join(draw.choices(words, k=2))] if draw.random() < 0.5 else [],
            " ".join(draw.choices(words, k=draw.randint(0, 2))),
            draw.uniform(-2.0, 2.0) + draw.choice([-2.0, 0.0, 2.0]) * (seed % 3),
        )
        for _unused in range(draw.randint(2, 12))
    ]
    rows.append(AnsweredQuestion([], "red", draw.uniform(-1.0, 1.0)))
    used = judge_answers(rows, "auto")[0].metrics["f1"]
    places = [-100.0, *(one.no_answer for one in rows), 100.0]
    assert used == pytest.approx(max(judge_answers(rows, place)[0].metrics["f1"] for place in places))


def test_texts_are_compared_as_words() -> None:
    assert normalise_squad_answer("The  U.S.-Army’s\tA-team, an İ!") == "usarmy’s ateam i̇"
    assert normalise_squad_answer("a\u00a0b an-other Theatre") == "b another theatre"


def test_predictions_are_written_as_the_scripts_read_them() -> None:
    answered = {"q1": AnsweredQuestion(["x"], "x", -1.0), "q2": AnsweredQuestion([], "ü", 1.0)}
    files = write_squad_predictions(answered, 0.5)
    assert json.loads(files["predictions.json"]) == {"q1": "x", "q2": ""}
    assert json.loads(files["null_odds.json"]) == {"q1": -1.0, "q2": 1.0}
    only = write_squad_predictions(answered, None)
    assert list(only) == ["predictions.json"] and json.loads(only["predictions.json"])["q2"] == "ü"
