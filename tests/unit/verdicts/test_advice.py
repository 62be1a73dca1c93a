"""Advice has values that a new config takes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.unit.verdicts.made import falls, make_run
from tests.unit.verdicts.test_words import SHAPES
from tui_tuner.config.load import build_config
from tui_tuner.runs.events import Evaluation, EventBody, Resolved
from tui_tuner.verdicts.judge import judge_events
from tui_tuner.verdicts.verdict_words import Advice, FoundVerdict

CONFIGS: dict[str, dict[str, Any]] = {
    "plain": {},
    "max_steps": {"training": {"max_steps": 120, "learning_rate": 0.05}},
    "full": {"method": {"kind": "full"}, "training": {"epochs": 9000, "learning_rate": 1e-9}},
    "prompt": {"method": {"kind": "prompt_tuning"}, "data": {"validation": "held.jsonl"}},
    "classes": {"task": "classification", "model": {"name": "tiny"}, "data": {"validation": 0.3}},
    "vera": {"method": {"kind": "vera", "rank": 256, "dropout": 0.2}, "evaluation": {"early_stopping": 1}},
    "least": {
        "method": {"rank": 1, "alpha": 1},
        "training": {"epochs": 0.02, "warmup": 1.0, "max_grad_norm": 0},
    },
    "most": {"method": {"rank": 128, "alpha": 1e6}, "training": {"learning_rate": 10, "epochs": 10_000}},
    "none held out": {"data": {"validation": None}},
}


def with_values(config: dict[str, Any], advice: Advice) -> dict[str, Any]:
    made = {name: dict(value) if isinstance(value, dict) else value for name, value in config.items()}
    for field, value in advice.values.items():
        section, _dot, name = field.partition(".")
        made.setdefault(section, {})[name] = value
    return made


def of(found: FoundVerdict, field: str) -> Any:
    return next(one.values[field] for one in found.advice if field in one.values)


@pytest.mark.parametrize("name", CONFIGS)
def test_values_are_taken_by_a_config(name: str) -> None:
    config = CONFIGS[name]
    plain = build_config(config).model_dump(mode="json")
    words = set()
    shapes = [*SHAPES.values(), ("unclear", falls(3, 2.99, 1), falls(3, 2.99, 1))]
    for rows in (4, 40):
        for _word, training, held_out in shapes:
            found = judge_events(make_run(training, held_out, rows=rows, steps=80, config=plain))
            words.add(found.verdict)
            assert found.advice
            for advice in found.advice:
                assert advice.words and "{" not in advice.words
                build_config(with_values(config, advice))
    assert len(words) >= 7


def test_advice_is_made_from_the_run_itself() -> None:
    plain = build_config({"training": {"learning_rate": 0.05}}).model_dump(mode="json")
    unstable = judge_events(make_run(*SHAPES["rises and stays"][1:], config=plain))
    assert of(unstable, "training.learning_rate") == 2e-4
    usual = build_config({}).model_dump(mode="json")
    made = make_run(*SHAPES["rises and stays"][1:], config=usual)
    made.insert(1, Resolved("training.learning_rate", 2e-4))
    assert of(judge_events(made), "training.learning_rate") == pytest.approx(6.7e-5)
    overfit = judge_events(make_run(*SHAPES["worse again"][1:], steps=200, config=usual))
    assert of(overfit, "training.epochs") == 1.0  # forty steps are an epoch, and step 40 was the best
    assert of(overfit, "evaluation.early_stopping") == 2 and of(overfit, "method.rank") == 8
    longer = judge_events(make_run(*SHAPES["too few steps"][1:], config=usual))
    assert of(longer, "training.epochs") >= 6
    steps = build_config({"training": {"max_steps": 120}}).model_dump(mode="json")
    assert of(judge_events(make_run(*SHAPES["too few steps"][1:], config=steps)), "training.max_steps") >= 240


def test_a_rate_far_below_the_usual_is_underfitting() -> None:
    slow = build_config({"training": {"learning_rate": 1e-6}}).model_dump(mode="json")
    found = judge_events(make_run(falls(3, 2.5, 0.3), falls(3, 2.5, 0.3), config=slow))
    assert found.verdict == "underfit" and of(found, "training.learning_rate") == 2e-4
    prompt = build_config({"method": {"kind": "prompt_tuning"}}).model_dump(mode="json")
    assert judge_events(make_run(falls(3, 2.7, 4), falls(3, 2.7, 4), config=prompt)).verdict == "underfit"


def test_without_a_config_there_are_words_alone() -> None:
    found = judge_events(make_run(*SHAPES["worse again"][1:], config={"task": ["damaged"]}))
    assert found.advice and not any(one.values for one in found.advice)


def test_a_run_that_made_new_rows_worse_is_not_to_be_longer() -> None:
    plain = build_config({"task": "classification"}).model_dump(mode="json")
    shape = {"rows": 60, "steps": 100, "config": plain}
    worse = judge_events(at_chance(make_run(falls(0.7, 0.4, 2), falls(0.7, 0.8, 2), **shape)))
    same = judge_events(at_chance(make_run(falls(0.7, 0.69, 2), falls(0.7, 0.7, 2), **shape)))
    assert worse.verdict == same.verdict == "nothing_learnt"
    assert not any("training.epochs" in one.values for one in worse.advice)
    assert any("training.epochs" in one.values for one in same.advice)
    assert any("it rose by 0." in one for one in worse.evidence)


def at_chance(events: list[EventBody]) -> list[EventBody]:
    """The same run, whose classes are told no better than by chance."""
    return [
        replace(body, metrics={**body.metrics, "mcc": 0.01}) if isinstance(body, Evaluation) else body
        for body in events
    ]
