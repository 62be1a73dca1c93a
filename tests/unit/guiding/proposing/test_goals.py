"""Goals: offered once a task is there for them, found by their words, and made by tasks that nobody named."""

from __future__ import annotations

import pytest

from tui_tuner.config.kinds.tasks import TASKS, TaskKind
from tui_tuner.errors import ConfigError
from tui_tuner.guiding.goals import GOALS, find_goal, find_goal_of_task, list_goals


def test_every_task_can_be_chosen_and_every_goal_has_one() -> None:
    assert {goal.known_task for goal in list_goals()} == set(TASKS)
    for goal in list_goals():
        assert goal.words and goal.means and goal.example and goal.needed_rows


def test_what_no_task_can_do_is_not_offered() -> None:
    offered = {goal.name for goal in list_goals()}
    assert "rewrite" in offered and find_goal_of_task("sft").name == "style"
    assert {goal.name for goal in GOALS} - offered == {"prefer", "solve"}
    with pytest.raises(ConfigError, match="not supported yet"):
        find_goal("prefer")


def test_a_new_task_makes_a_choice_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    toy = TaskKind("toy", "Toy", "Learn to play.", rows="moves", goal="Play a game", example="e4 → e5")
    monkeypatch.setitem(TASKS, "toy", toy)
    made = list_goals()[-1]
    assert (made.name, made.words, made.example, made.known_task) == ("toy", "Play a game", "e4 → e5", "toy")
    assert find_goal("play a game") == made == find_goal("toy")


def test_a_goal_appears_once_its_task_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TASKS, "dpo", TaskKind("dpo", "DPO", "Compare.", preference=True))
    assert find_goal("prefer one answer over another").known_task == "dpo"
    assert "dpo" not in {goal.name for goal in list_goals()}


def test_a_task_may_do_a_goal_that_does_not_know_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TASKS, "orpo", TaskKind("orpo", "ORPO", "Compare.", goal="prefer"))
    assert find_goal("prefer").known_task == "orpo"


def test_the_first_task_that_is_there_does_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_goal("Translate or summarise").known_task == "seq2seq"
    monkeypatch.delitem(TASKS, "seq2seq")
    assert find_goal("rewrite").known_task == "sft"


@pytest.mark.parametrize("text", ["style", "Answer in my style", "answer-in-my_style", "ANSWER IN MY STYLE"])
def test_words_are_found_however_they_are_written(text: str) -> None:
    assert find_goal(text).name == "style"


def test_an_unknown_word_is_told_with_what_is_known() -> None:
    with pytest.raises(ConfigError) as told:
        find_goal("labl")
    assert "Did you mean label?" in told.value.hint and "classification" in told.value.hint
