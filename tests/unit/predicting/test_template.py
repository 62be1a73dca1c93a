"""A prompt with places for columns."""

from __future__ import annotations

import pytest

from tui_tuner.data.row_problem import RowProblem
from tui_tuner.errors import UsageError
from tui_tuner.inference.predicting.template import check_prompt_placeholders, parse_template


def test_places_are_filled_in_and_nothing_is_carried_out() -> None:
    template = parse_template("{{x}} {a.__class__} {a[0]} {a b!r}/{n:>9} {labels}")
    values = {"a.__class__": "{a[0]}", "a[0]": None, "a b!r": ["ä", 1], "n:>9": 2.5, "labels": "own"}
    assert template.fill_in_values(values, {"labels": "yes, no"}) == '{x} {a[0]}  ["ä",1]/2.5 yes, no'


def test_a_row_without_anything_for_the_prompt_is_a_problem() -> None:
    template = parse_template("{a}{b}")
    assert template.fill_in_values({"a": "x"}, {}) == "x"
    with pytest.raises(RowProblem, match="no values for the prompt"):
        template.fill_in_values({"a": None, "c": 1}, {})


@pytest.mark.parametrize(("text", "line"), [("a {", 1), ("a\n} b", 2), ("\n\n{}", 3), ("{a{b}}", 1)])
def test_a_brace_without_its_other_half_is_named_by_its_line(text: str, line: int) -> None:
    with pytest.raises(UsageError, match=f"line {line} is not a valid placeholder"):
        parse_template(text)


def test_a_place_without_a_column_is_refused_with_those_there_are() -> None:
    with pytest.raises(UsageError) as caught:
        check_prompt_placeholders(parse_template("{Tetx}"), ["text", "id"], [], "--prompt")
    assert "{Tetx}" in str(caught.value) and "text, id" in str(caught.value)
    with pytest.raises(UsageError, match=r"Did you mean {text}"):
        check_prompt_placeholders(parse_template("{Text}"), ["text", "id"], [], "--prompt")
    with pytest.raises(UsageError, match="--labels"):
        check_prompt_placeholders(parse_template("{text} {labels}"), ["text"], [], "--prompt")
