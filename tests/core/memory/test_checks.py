"""Memory that runs out before a run trains: in the self-check, with shared beginnings and stored states."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conftest import MakeConfig, Trained, chat_rows, write_jsonl
from tests.core import ways
from tests.core.memory.limited import Memory
from tests.core.memory.test_evaluation import wide_model
from tests.core.test_loss import SomeRows
from tests.core.ways import Silent
from tui_tuner.objectives.objective import Objective

Train = Callable[..., Trained]
VOCABULARY = 20_000


def prepared(memory: Memory, lengths: list[int], limit: int | None, **more: Any) -> tuple[Any, Silent]:
    """The causal objective, prepared on a model whose logits are most of what is needed."""
    rows = SomeRows(lengths, VOCABULARY)
    model = wide_model()
    with memory, memory.limited(limit):
        return ways.prepared(model, rows, [list(range(len(rows)))], 10, **more)


def test_the_check_of_long_rows_holds_no_more_logits_than_a_chunk_of_training() -> None:
    """All logits of the longest row alone are 160 MB, twice that with a softmax; those of a chunk 34."""
    memory = Memory()
    causal, voice = prepared(memory, [2000, 1000], None)
    assert causal.way.packing and causal.way.segments and causal.exact and not voice.said
    assert memory.peak < 100e6
    assert memory.live == 0


def test_shorter_rows_are_taken_where_memory_runs_out() -> None:
    memory = Memory()
    causal, voice = prepared(memory, [900, 800, 700], 12_000_000)
    assert causal.way.packing and causal.way.segments and causal.exact
    assert memory.refused >= 1
    assert any("checking them on rows of at most 225 tokens" in line for line in voice.said)
    assert memory.live == 0


def test_the_plain_way_is_taken_where_nothing_can_be_tried() -> None:
    memory = Memory()
    causal, voice = prepared(memory, [90, 80, 70], 1_000_000)
    assert not causal.exact and not causal.way.packing and not causal.way.compact
    (warned,) = [line for line in voice.said if line.startswith("self_check")]
    assert "Memory ran out" in warned and "exact" not in warned
    assert len(voice.said) == len(set(voice.said))  # nothing is tried twice
    assert memory.live == 0


def test_a_resumed_run_keeps_its_way_where_nothing_can_be_tried() -> None:
    causal, voice = prepared(Memory(), [90, 80, 70], 1_000_000, state=[True, True, False])
    assert causal.exact and causal.way_state() == [True, True, False]
    assert any(line.startswith("self_check") for line in voice.said)


@contextmanager
def limited_in(monkeypatch: pytest.MonkeyPatch, kind: Any, name: str, size: int) -> Iterator[Memory]:
    """A run in which one method has so little memory."""
    inner = getattr(kind, name)
    memory = Memory()

    def little(self: Any, *args: Any, **kwargs: Any) -> Any:
        with memory.limited(size):
            return inner(self, *args, **kwargs)

    with monkeypatch.context() as patch, memory:
        patch.setattr(kind, name, little)
        yield memory


def test_a_run_without_memory_for_its_check_trains_the_same(
    make_config: MakeConfig, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_config(training__max_steps=3, evaluation__every=None)
    with limited_in(monkeypatch, Objective, "prepare_way", 20_000):
        run = train(config)
    assert run.outcome.status == "completed", run.outcome
    assert run.codes() == ["self_check"]
    assert run.steps() == pytest.approx(train(config).steps(), rel=1e-4)


def test_states_that_do_not_fit_are_computed_in_each_epoch(
    make_config: MakeConfig, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_config(
        method={"kind": "freeze", "layers": 1},
        training__max_steps=None,
        training__epochs=2,
        training__batch_size=30,
        evaluation__every=None,
    )
    with limited_in(monkeypatch, Objective, "store_states", 100_000) as memory:
        run = train(config)
        assert memory.refused == 1
    assert run.outcome.status == "completed", run.outcome
    assert run.codes() == ["states_not_stored"]
    assert not (run.folder.path / "hidden-states").exists()
    assert run.steps() == pytest.approx(train(config).steps(), rel=1e-4)


def test_a_common_beginning_that_cannot_be_tried_is_computed_for_each(
    make_config: MakeConfig, train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    system = {"role": "system", "content": "Describe clothes in one warm sentence. " * 3}
    rows = [{"messages": [system, *row["messages"]]} for row in chat_rows()]
    path = str(write_jsonl(tmp_path / "system.jsonl", rows))
    config = make_config(data__path=path, training__max_steps=2, evaluation__every=None)
    with limited_in(monkeypatch, Objective, "_share_beginnings", 20_000):
        run = train(config)
    assert run.outcome.status == "completed", run.outcome
    logs = [fields["message"] for fields in run.sink.of("log")]
    assert any("share a prefix" in line and "memory ran out" in line for line in logs)


def test_answers_take_fewer_prompts_then_fewer_tokens_then_none(
    tiny_model: Path, tiny_tokenizer: Any
) -> None:
    from tests.core.test_loss import load
    from tui_tuner.evaluation.generation import generate_answers

    model = load(tiny_model)
    generator = np.random.default_rng(0)
    prompts = [generator.integers(3, 300, length).tolist() for length in (3, 5)]

    def answered(limit: int | None, prompts: list[list[int]] = prompts) -> tuple[list[Any], int]:
        with Memory() as memory, memory.limited(limit):
            return generate_answers(model, tiny_tokenizer, prompts, 16), memory.peak

    calm, needed = answered(None)
    _longest, alone = answered(None, prompts[-1:])
    assert answered((alone + needed) // 2)[0] == calm, "one after the other"
    short = answered(int(0.8 * alone))[0]
    assert all(found.short_of_memory and "cut short after" in found.note for found in short)
    for found, whole in zip(short, calm, strict=True):
        assert 8 <= len(found.ids) < 16 and found.ids == whole.ids[: len(found.ids)]
    none = answered(10_000)[0]
    assert all(found.short_of_memory and "not answered" in found.note for found in none)


def test_answers_that_memory_cut_short_are_not_scored(
    make_config: MakeConfig, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tui_tuner.evaluation.generated_answers import GeneratedAnswers

    config = make_config(
        training__max_steps=1,
        evaluation={"samples": 2, "max_new_tokens": 16, "metric_rows": 4, "every": None},
    )
    with limited_in(monkeypatch, GeneratedAnswers, "collect_samples", 10_000):
        run = train(config)
    assert run.outcome.status == "completed", run.outcome
    said = [fields["message"] for fields in run.sink.of("log")]
    assert any("not answered: memory ran out" in line for line in said)
    assert any("were not scored because memory ran out" in line for line in said)
    assert all(fields["stage"] == "validation" for fields in run.sink.of("evaluation"))
