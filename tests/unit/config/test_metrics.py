"""Names of metrics: how they are shown, and what they were called before."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from tui_tuner.config.load import build_config
from tui_tuner.config.metrics import ALIASES, METRICS, format_hundredfold_metric
from tui_tuner.runs.events import Evaluation, Event, Resolved, RunStarted
from tui_tuner.runs.history import summarise_run
from tui_tuner.runs.journal_tally import update_tally
from tui_tuner.runs.pace import format_metric_figure
from tui_tuner.runs.store import RunStore
from tui_tuner.runs.view import RunView, fold_view_events
from tui_tuner.runs.wire import encode_event


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("f1", 0.8852, "88.52"),
        ("token_f1", 0.5, "50.00"),
        ("exact_match", 1, "100.00"),
        ("f1", math.nan, "nan"),
        ("accuracy", 0.9, "0.9000"),
        ("loss", 1.25, "1.2500"),
        ("somebody's own", 0.25, "0.2500"),
    ],
)
def test_a_metric_is_shown_as_its_field_does(name: str, value: float, shown: str) -> None:
    assert format_metric_figure(name, value) == shown
    known = METRICS.get(ALIASES.get(name, name))
    assert bool(format_hundredfold_metric(name, value)) == bool(known and known.hundred)


def test_a_missing_value_is_said_to_be_none() -> None:
    assert format_metric_figure("f1", None) == format_metric_figure("loss", None) != ""


def test_names_of_before_are_those_of_today_in_a_config() -> None:
    config = build_config({"evaluation": {"metrics": ["token_f1", "rouge_l"], "best": "token_f1"}})
    assert config.evaluation.metrics == ["f1", "rougeL"] and config.evaluation.best == "f1"
    assert all(new in METRICS and old not in METRICS for old, new in ALIASES.items())


def _journal(tmp_path: Path, values: dict[str, object], *bodies: object) -> object:
    folder = RunStore(tmp_path).create_run(build_config(values))
    events = [Event(body, folder.name, number, 1000.0 + number) for number, body in enumerate(bodies)]  # type: ignore[arg-type]
    folder.events_path.write_bytes(b"".join(map(encode_event, events)))
    return folder


def test_names_of_before_are_those_of_today_in_a_journal(tmp_path: Path) -> None:
    folder = _journal(
        tmp_path,
        {"evaluation": {"best": "token_f1"}},
        RunStarted(),
        Evaluation(0, "before", {"token_f1": 0.25}),
        Evaluation(4, "after", {"f1": 0.75}),
    )
    known, complete = update_tally(folder)  # type: ignore[arg-type]
    assert complete and known.best_value("f1") == known.best_value("token_f1") == 0.75
    assert summarise_run(folder)["metric"] == "f1" and summarise_run(folder)["best"] == 0.75  # type: ignore[arg-type]
    view = fold_view_events(RunView(), [Event(Evaluation(0, "before", {"token_f1": 0.25}), "a", 0, 1.0)])
    assert dict(view.evaluations[0].metrics) == {"f1": 0.25}


def test_a_run_is_listed_by_what_it_is_judged_by(tmp_path: Path) -> None:
    regression = _journal(
        tmp_path,
        {"task": "classification"},
        RunStarted(),
        Resolved("evaluation.best", "pearson", ""),
        Evaluation(4, "validation", {"loss": 0.5, "pearson": 0.75}),
    )
    assert summarise_run(regression)["metric"] == "pearson" and summarise_run(regression)["best"] == 0.75  # type: ignore[arg-type]
    tags = _journal(tmp_path, {"task": "token_classification"}, RunStarted())
    assert summarise_run(tags)["metric"] == "f1" and summarise_run(tags)["best"] is None  # type: ignore[arg-type]
    chats = _journal(tmp_path, {}, RunStarted(), Evaluation(4, "validation", {"loss": 0.5}))
    assert summarise_run(chats)["metric"] == "loss" and summarise_run(chats)["best"] == 0.5  # type: ignore[arg-type]
