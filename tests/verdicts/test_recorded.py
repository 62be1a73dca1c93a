"""Recorded runs are judged as they were made: the share that is right, and none the other way round."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.verdicts.recipes import OPPOSITES, RECIPES, REPORTING, TUNING, half_of
from tests.verdicts.recorded import as_older, every_third, read_events
from tests.verdicts.report import AS_WRITTEN, OLDER, Judged, judge_all, mistakes, recorded, share_right
from tui_tuner.runs.events import Evaluation, HeldOutRows, RunStarted, Step, Warned
from tui_tuner.verdicts.verdict_words import VERDICTS

ENOUGH = 0.95


@pytest.fixture(scope="module")
def judged() -> list[Judged]:
    """The verdict on every recorded run."""
    return judge_all(recorded())


@pytest.mark.parametrize("form", [AS_WRITTEN, OLDER])
@pytest.mark.parametrize("half", [TUNING, REPORTING])
def test_runs_are_judged_as_they_were_made(judged: list[Judged], half: str, form: str) -> None:
    those = [one for one in judged if one.half == half and one.form == form]
    assert len(those) >= (14 if form == OLDER else 44)
    assert share_right(those) >= ENOUGH, mistakes(those)
    assert not [one for one in those if one.opposite], mistakes(those)


def test_every_recipe_was_trained_and_every_word_is_there_in_both_halves() -> None:
    assert len(recorded()) == len(RECIPES) == len({recipe.name for recipe in RECIPES}) >= 132
    counts = Counter((recipe.expected, half_of(recipe.name)) for recipe in RECIPES)
    for word in VERDICTS:
        assert counts[word, TUNING] >= 8
        assert counts[word, REPORTING] >= 4


def test_no_run_of_one_half_is_made_as_one_of_the_other() -> None:
    made = Counter(recipe.key for recipe in RECIPES)
    assert made.most_common(1)[0][1] == 1


def test_a_held_out_row_is_no_training_row_but_where_it_is_meant_to_be() -> None:
    for recipe in RECIPES:
        events = read_events(recipe.name)
        leaks = any(isinstance(event.body, Warned) and event.body.code == "leakage" for event in events)
        assert leaks == (recipe.rows.twist == "copies"), recipe.name


def test_words_of_the_recipes_are_known() -> None:
    assert OPPOSITES.keys() == VERDICTS.keys()
    for recipe in RECIPES:
        assert {recipe.expected, *recipe.also, *OPPOSITES[recipe.expected]} <= VERDICTS.keys()
        assert recipe.expected not in {*recipe.also, *OPPOSITES[recipe.expected]}


def test_a_journal_is_that_of_its_recipe() -> None:
    for recipe in recorded():
        events = read_events(recipe.name)
        start = events[0].body
        assert isinstance(start, RunStarted) and start.config["task"] == recipe.task, recipe.name
        assert start.versions["recipe"] == recipe.key, f"{recipe.name} was changed; train it anew"
        assert any(isinstance(event.body, Step) for event in events)
        held_out = {len(event.body.losses) for event in events if isinstance(event.body, HeldOutRows)}
        assert len(held_out) == (1 if recipe.rows.held_out else 0), recipe.name


def test_what_older_versions_did_not_write_is_taken_away() -> None:
    names = every_third(recipe.name for recipe in RECIPES)
    assert len(names) >= len(RECIPES) / 3
    there = {recipe.name for recipe in recorded() if recipe.task == "sft" and recipe.rows.held_out}
    name = next(name for name in names if name in there)
    events = read_events(name)
    older = as_older(events)
    assert any(isinstance(event.body, HeldOutRows) for event in events)
    assert not any(isinstance(event.body, HeldOutRows) for event in older)
    measured = [event.body.step for event in older if isinstance(event.body, Evaluation)]
    assert measured and 0 not in measured
