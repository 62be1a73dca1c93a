"""A stranger adds a task by CONTRIBUTING's recipe: one new module, one line, and all else follows."""

from __future__ import annotations

import csv
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.conftest import MakeConfig, Trained
from tui_tuner import tasks
from tui_tuner.config.kinds.tasks import TASKS, TaskKind
from tui_tuner.errors import ConfigError
from tui_tuner.launch.beforehand import check_beforehand
from tui_tuner.tasks import find_task
from tui_tuner.tasks.preview.mask import mask_row
from tui_tuner.training.load_run import load_run

Train = Callable[..., Trained]
RECIPE = Path(__file__).parents[2] / "CONTRIBUTING.md"


@pytest.fixture
def sentiment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The recipe's module among the tasks, and its line among their names."""
    text = RECIPE.read_text(encoding="utf-8")
    code = re.search(r"<!-- toy task -->\s*```python\n(.*?)```", text, re.S)
    line = re.search(r"```text\nTaskKind\((.*?)\),\n```", text, re.S)
    assert code and line, "CONTRIBUTING.md has lost its recipe"
    folder = tmp_path / "tasks"
    folder.mkdir()
    (folder / "sentiment.py").write_text(code[1], encoding="utf-8")
    monkeypatch.setattr(tasks, "__path__", [*tasks.__path__, str(folder)])
    name, label, help_ = re.findall(r'"([^"]*)"', line[1])
    monkeypatch.setitem(TASKS, name, TaskKind(name, label, help_))
    yield name
    find_task.cache_clear()
    sys.modules.pop(f"tui_tuner.tasks.{name}", None)


@pytest.fixture
def reviews(tmp_path: Path) -> Path:
    """A CSV of texts with their class; one has a class that the task does not know."""
    path = tmp_path / "reviews.csv"
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        for number in range(80):
            good = number % 2 == 0
            words = "warm and soft, a lovely coat" if good else "cold and hard, an ugly scarf"
            writer.writerow(
                [f"Number {number}: {words}" + " indeed" * (number % 7), "good" if good else "bad"]
            )
        writer.writerow(["What is it?", "unsure"])
    return path


def config_of(make_config: MakeConfig, task: str, reviews: Path, **more: Any) -> Any:
    return make_config(
        task=task,
        data__path=str(reviews),
        data__max_dropped=0.1,
        data__validation=0.2,
        evaluation__best="errors",
        training__learning_rate=0.02,
        **more,
    )


def test_it_learns_is_judged_and_loads_again(
    make_config: MakeConfig, train: Train, sentiment: str, reviews: Path
) -> None:
    config = config_of(make_config, sentiment, reviews, training__max_steps=30, training__batch_size=16)
    check_beforehand(config)
    run = train(config)
    assert run.outcome.status == "completed", run.outcome
    evaluations = [fields["metrics"] for fields in run.sink.of("evaluation")]
    assert set(evaluations[-1]) == {"loss", "accuracy", "errors"}
    assert evaluations[-1]["accuracy"] == 1.0 and evaluations[-1]["errors"] == 0
    assert "best errors 0" in run.outcome.message, "its own metric has its own direction"
    ledger = run.sink.of("ledger")[-1]
    assert ledger["outcomes"]["dropped"] == 1 and ledger["closes"]
    assert "self_check" not in run.codes()

    model, tokenizer, _ = load_run(run.folder, "best", device="cpu")
    for text, expected in (
        ("Number 3: warm and soft, a lovely coat", 1),
        ("an ugly scarf, cold and hard", 0),
    ):
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([tokenizer(text)["input_ids"]])).logits
        assert int(logits.argmax()) == expected


def test_accumulation_changes_nothing(
    make_config: MakeConfig, train: Train, sentiment: str, reviews: Path
) -> None:
    whole, parts = (
        train(config_of(make_config, sentiment, reviews, training__micro_batch=size)).steps()
        for size in (8, 3)
    )
    assert whole == pytest.approx(parts, abs=1e-5)


def test_it_is_shown_checked_and_named(make_config: MakeConfig, sentiment: str, reviews: Path) -> None:
    config = config_of(make_config, sentiment, reviews)
    from tui_tuner.models.loading import load_tokenizer

    view = mask_row(config.model, config.data, 1, load_tokenizer(config.model))
    asked = mask_row(config.model, config.data, 1, load_tokenizer(config.model), sentiment)
    assert asked.tokens == view.tokens
    assert view.outcome == "kept" and not any(token.trained for token in view.tokens)
    bad = config.model_copy(
        update={"evaluation": config.evaluation.model_copy(update={"best": "perplexity"})}
    )
    with pytest.raises(ConfigError, match="not measured") as error:
        check_beforehand(bad)
    assert error.value.hint == "Known are loss, accuracy, errors."


def test_an_edited_task_does_not_meet_its_old_examples(
    make_config: MakeConfig, train: Train, sentiment: str, reviews: Path, tmp_path: Path
) -> None:
    from tui_tuner.data.examples.identity import digest_task

    task = find_task(sentiment)
    before = digest_task(task)
    module = tmp_path / "tasks" / "sentiment.py"
    module.write_text(module.read_text().replace('("bad", "good")', '("good", "bad")'))
    assert digest_task(task) != before == before
    assert digest_task(find_task("sft")) != digest_task(find_task("pretraining"))
