"""What was found inside a text: marks, windows of long texts, right and wrong; whatever the journal holds."""

from __future__ import annotations

import random

import pytest

from tui_tuner.evaluation.inside_text import (
    FOUND,
    MISSED,
    PARTLY,
    RIGHT,
    WRONG,
    is_prediction_right,
    join_marked_parts,
    mark_text_spans,
    read_shown_sample,
    split_marked_parts,
)
from tui_tuner.evaluation.samples import ShownSample, Span

TEXT = "Ann Smith met Bo in Paris, near New York City and Berlin."


def shown(
    found: list[tuple[int, int, str]], wanted: list[tuple[int, int, str]], **more: object
) -> ShownSample:
    return ShownSample(
        "",
        "",
        passage=TEXT,
        found=[Span(*one) for one in found],
        wanted=[Span(*one) for one in wanted],
        **more,
    )  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("found", "wanted", "line", "right"),
    [
        ([(0, 9, "PER")], [(0, 9, "PER")], "[Ann Smith]PER met", True),
        ([(0, 9, "LOC")], [(0, 9, "PER")], "[Ann Smith]LOC✗PER met", False),
        ([(0, 9, "PER")], [], "[Ann Smith]PER✗ met", False),
        ([], [(0, 9, "PER")], "{Ann Smith}PER met", False),
        ([], [], "Ann Smith met", True),
        (
            [(32, 40, "LOC")],
            [(32, 45, "LOC")],
            "near [New York]LOC✗ City and Berlin.  {New York City}LOC",
            False,
        ),
        ([(0, 9, "PER"), (4, 9, "PER")], [(0, 9, "PER")], "[Ann Smith]PER met", False),
    ],
)
def test_entities_are_marked(
    found: list[tuple[int, int, str]], wanted: list[tuple[int, int, str]], line: str, right: bool
) -> None:
    one = shown(found, wanted)
    assert line in join_marked_parts(split_marked_parts(one)) and is_prediction_right(one) is right


@pytest.mark.parametrize(
    ("found", "wanted", "more", "roles", "right"),
    [
        ([(20, 25, "")], [(20, 25, ""), (32, 45, "")], {"text": "Paris"}, [RIGHT], True),
        ([(32, 40, "")], [(32, 45, "")], {"text": "New York", "reference": "New York City"}, [PARTLY], False),
        ([(32, 45, "")], [(0, 9, "")], {"text": "A b", "reference": "a B."}, [MISSED, WRONG], True),
        ([(0, 9, "")], [], {"text": "Ann Smith"}, [WRONG], False),
        ([], [], {}, [], True),
        ([], [(0, 9, "")], {"reference": "Ann Smith"}, [MISSED], False),
    ],
)  # fmt: skip
def test_one_of_several_answers_is_enough_and_none_may_be_right(
    found: list[tuple[int, int, str]],
    wanted: list[tuple[int, int, str]],
    more: dict[str, str],
    roles: list[str],
    right: bool,
) -> None:
    text = more.pop("text", "")
    one = ShownSample(
        "who?", text, passage=TEXT, found=[Span(*span) for span in found],
        wanted=[Span(*span) for span in wanted], scores=[(text, 0.5)], **more,
    )  # fmt: skip
    assert [mark.role for mark in mark_text_spans(one, judged=True)[0]] == roles
    assert is_prediction_right(one) is right
    assert all(mark.role == FOUND for mark in mark_text_spans(one, judged=False)[0])


def test_of_a_long_text_stands_what_is_around_an_answer() -> None:
    text = "word " * 5000 + "the answer here " + "more " * 5000
    at = text.index("answer")
    line = join_marked_parts(
        split_marked_parts(
            ShownSample("?", "", passage=text, found=[Span(at, at + 6)]), judged=False, around=50
        )
    )
    assert line.startswith("… word") and line.endswith("more …") and "the [answer] here" in line
    assert len(line) < 200
    assert len(join_marked_parts(split_marked_parts(ShownSample("?", "", passage=text), around=50))) < 200


def test_without_its_marks_the_text_is_the_text() -> None:
    """Random spans, those of the data among them: the parts hold the passage, letter for letter."""
    draw = random.Random(3)
    for _unused in range(200):
        spans = [
            Span(start, draw.randint(start + 1, len(TEXT)), draw.choice(["A", "B"]))
            for start in (draw.randint(0, len(TEXT) - 1) for _one in range(draw.randint(0, 6)))
        ]
        half = draw.randint(0, len(spans))
        one = read_shown_sample({"passage": TEXT, "found": spans[:half], "wanted": spans[half:]})
        parts = split_marked_parts(one)
        below = next((place for place, part in enumerate(parts) if part.text == "\n"), len(parts))
        marks, left = mark_text_spans(one, judged=True)
        plain = "".join(part.text for part in parts[:below] if part.role == "")
        inside = "".join(part.text for part in parts[:below] if part.role not in ("", "mark") and part.label)
        assert sorted(plain + inside) == sorted(TEXT)
        assert {(m.span.start, m.span.end) for m in marks if m.role == MISSED} | {
            (span.start, span.end) for span in left
        } <= {(span.start, span.end) for span in spans[half:]}


def test_what_is_damaged_in_a_journal_is_left_out() -> None:
    bad = [None, 3, {"start": 1}, {"start": 1.0, "end": 2}, {"start": True, "end": 3}, {"start": 5, "end": 5},
           {"start": -1, "end": 3}, {"start": 0, "end": 10**9},
           {"start": 0, "end": 3, "label": 7, "score": "x"}]  # fmt: skip
    one = read_shown_sample(
        {"prompt": 5, "passage": "abcdef", "found": bad, "wanted": 9, "scores": [1, ["a"], ["b", 0.5]]}
    )
    assert one.found == [Span(0, 3, "7")] and one.wanted == [] and one.scores == [("b", 0.5)]
    assert read_shown_sample(None).passage == "" and read_shown_sample([1]).scores == []


def test_text_of_data_is_made_safe() -> None:
    one = ShownSample("", "", passage="a\x1b[2Jb", found=[Span(0, 6, "\x1b]0;x\x07")])
    assert "\x1b" not in join_marked_parts(split_marked_parts(one, judged=False))
