"""Rules of the guide: each from counts alone, each with its source."""

from __future__ import annotations

import pytest

from tui_tuner.config.kinds.tasks import TASKS
from tui_tuner.config.options import list_options
from tui_tuner.guiding.proposing import rules

SFT, TEXT, CLASSES = TASKS["sft"], TASKS["pretraining"], TASKS["classification"]


def test_every_rule_names_its_field_and_a_source() -> None:
    for name, rule in rules.RULES.items():
        assert rule.name == name
        assert rule.field in list_options()
        assert rule.says.endswith(".")
        assert (
            any(character.isdigit() for character in rule.source)
            or "OpenAI" in rule.source
            or "BERT" in rule.source
        )


@pytest.mark.parametrize(
    ("rows", "epochs"),
    [
        (1, 25),
        (4, 25),
        (5, 20),
        (10, 10),
        (33, 3),
        (34, 3),
        (91, 3),
        (8333, 3),
        (8334, 2),
        (25_000, 1),
        (10**6, 1),
    ],
)
def test_epochs_follow_the_published_rule(rows: int, epochs: int) -> None:
    assert rules.choose_epochs(rows, SFT) == epochs


def test_heads_are_trained_as_bert_was() -> None:
    assert [rules.choose_epochs(rows, CLASSES) for rows in (2, 10, 900, 10**6)] == [20, 10, 3, 3]


def test_text_is_read_once_where_there_is_enough() -> None:
    assert rules.choose_epochs(100, TEXT, 4) == 2
    assert rules.choose_epochs(10, TEXT, 4) == rules.MOST_EPOCHS_OF_TEXT
    assert rules.choose_epochs(10_000, TEXT, 16) == 1


@pytest.mark.parametrize("rows", [5, 9, 20, 40, 73, 150, 500, 5000])
def test_small_data_makes_enough_steps(rows: int) -> None:
    batch = rules.choose_batch_size(rows, SFT)
    steps = rules.choose_epochs(rows, SFT, batch) * -(-rows // batch)
    assert steps >= rules.FEWEST_STEPS or batch == 1
    assert batch <= rules.MOST_BATCH


@pytest.mark.parametrize("rows", [2, 10, 50, 91, 100, 400, 1000, 20_000, 10**6])
@pytest.mark.parametrize("kind", [SFT, CLASSES])
def test_rows_held_out_can_tell_and_are_not_missed(rows: int, kind: object) -> None:
    share = rules.choose_held_out_share(rows, kind)  # type: ignore[arg-type]
    held = share * rows
    assert share <= 0.2
    assert held >= min(19, 0.19 * rows)
    assert held <= 4.2 * rules.MOST_HELD_OUT


def test_lengths_are_those_of_the_rows() -> None:
    assert rules.choose_max_length([10, 20, 258], 8192) == 320
    assert rules.choose_max_length([3], 8192) == rules.SHORTEST
    assert rules.choose_max_length([700], 512) == 512
    few_are_long = [100] * 499 + [4000]
    assert rules.choose_max_length(few_are_long, 8192) == 128
    assert rules.choose_max_length([100] * 300 + [190] * 300, 8192) == 192
