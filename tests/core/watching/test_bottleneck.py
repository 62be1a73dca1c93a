"""What limits a run: by table, told once, and never from one step."""

from __future__ import annotations

from typing import Any

import pytest

from tui_tuner.config.schema import RunConfig
from tui_tuner.config.values import edit_values
from tui_tuner.models.device import Device
from tui_tuner.runs.events import Bottleneck
from tui_tuner.training.watching import step_meter
from tui_tuner.training.watching.bottleneck import (
    FEWEST,
    BottleneckWatch,
    Circumstances,
    UseSummary,
    find_bottleneck,
    make_bottleneck_event,
)
from tui_tuner.training.watching.device_use import DeviceUse


def use(busy: float | None, data: float = 0.0, steps: int = 10, seconds: float = 10.0) -> DeviceUse:
    return DeviceUse(steps, seconds, data * seconds, data * seconds, 0.0, busy)


PLAIN = Circumstances(16, 16)
FORCED = Circumstances(16, 16, forced=True)
TABLE = [
    (UseSummary(use(0.95)), PLAIN, ""),
    (UseSummary(use(0.60)), PLAIN, ""),
    (UseSummary(use(0.59)), PLAIN, "processor"),
    (UseSummary(use(0.3, data=0.2)), PLAIN, "processor"),
    (UseSummary(use(0.3, data=0.4)), PLAIN, "data"),
    (UseSummary(use(0.7, data=0.3)), PLAIN, ""),
    (UseSummary(use(0.95), twice=0.33), FORCED, "memory"),
    (UseSummary(use(0.95), twice=0.33), PLAIN, ""),  # the user asked for it
    (UseSummary(use(None), twice=0.33), FORCED, "memory"),
    (UseSummary(use(0.4), twice=0.33), FORCED, "processor"),  # computing twice costs nothing while it waits
    (UseSummary(use(None)), PLAIN, ""),
]


@pytest.mark.parametrize(("seen", "about", "what"), TABLE)
def test_what_limits(seen: UseSummary, about: Circumstances, what: str) -> None:
    assert find_bottleneck(seen, about) == what


WORDS = [
    ("processor", PLAIN, "busy 41%", [{"training.batch_size": 32}]),
    ("processor", Circumstances(16, 4), "busy 41%", [{"training.micro_batch": 8}]),
    ("processor", Circumstances(16, 12, compiled=True), "busy 41%", [{"training.micro_batch": 16}]),
    (
        "processor",
        Circumstances(8, 8, compiled=False),
        "busy 41%",
        [{"training.batch_size": 16}, {"training.compile": True}],
    ),
    ("data", PLAIN, "waits for rows 30% of it", []),
    (
        "memory",
        Circumstances(16, 8, forced=True),
        "checkpointing is on, so 33%",
        [{"training.micro_batch": 4}],
    ),
    (
        "memory",
        Circumstances(16, 1, forced=True, quantisable=True),
        "checkpointing is on",
        [{"model.quantization": "nf4"}],
    ),
    ("memory", Circumstances(16, 1, forced=True), "checkpointing is on", []),
    ("", PLAIN, "busy 41% of the time again", []),
]


@pytest.mark.parametrize(("what", "about", "words", "fixes"), WORDS)
def test_it_is_told_with_figures_and_settings(what, about, words, fixes) -> None:
    told = make_bottleneck_event(what, UseSummary(use(0.41, data=0.3), 0.12, 1 / 3), about, 40)
    assert words in told.message
    assert (told.what, told.step, told.gpu_busy, told.mfu) == (what, 40, 0.41, 0.12)
    assert list(told.fixes) == fixes
    for fix in fixes:
        edit_values(RunConfig(), fix)  # a setting that there is, with a value that it takes
        assert all(f"{path}={value}".lower() in told.hint.lower() for path, value in fix.items())
        assert "--set" in told.hint and "--set" not in told.advice
    assert bool(told.hint) == bool(what)


@pytest.mark.parametrize(
    ("passes", "fix"),
    [(0, {"training.micro_batch": 8}), (1, {"training.batch_size": 32}), (2, {"training.micro_batch": 8})],
)
def test_where_a_step_is_one_pass_only_a_larger_step_is_larger(passes: int, fix: dict[str, int]) -> None:
    """On a GPU short rows of a whole step lie in one, however small the micro-batch is."""
    watch, told = watched(Circumstances(16, 4))
    for _unused in range(20):
        watch.feed_step(1, use(0.3), 2e12, 0.0, 1e12, passes)
    assert [list(one.fixes) for one in told] == [[fix]]


def watched(about: Circumstances = PLAIN) -> tuple[BottleneckWatch, list[Bottleneck]]:
    told: list[Bottleneck] = []
    return BottleneckWatch(about, told.append), told


def test_it_takes_steps_and_seconds_and_not_the_first() -> None:
    watch, told = watched()
    for step in range(1, 3 + FEWEST):
        watch.feed_step(step, use(0.2, steps=1, seconds=9.0))
        assert told == []
    watch.feed_step(3 + FEWEST, use(0.2, steps=1, seconds=9.0))
    assert [one.what for one in told] == ["processor"] and told[0].step == 3 + FEWEST
    watch, told = watched()
    for step in range(300):
        watch.feed_step(step, use(0.2, steps=1, seconds=0.009))
    assert told == []
    for step in range(300, 400):
        watch.feed_step(step, use(0.2, steps=1, seconds=0.009))
    assert len(told) == 1


def feed(watch: BottleneckWatch, *shares: float | None, data: float = 0.0, twice: bool = False) -> None:
    for busy in shares:
        watch.feed_step(1, use(busy, data), 2e12, 1e12 if twice else 0.0, 1e12)


def test_each_kind_is_told_once_and_again_only_if_it_has_changed() -> None:
    watch, told = watched()
    feed(watch, 0.9, 0.5, 0.4, 0.55, 0.45)
    assert [one.what for one in told] == ["processor"]
    feed(watch, 0.61, 0.59, 0.65, 0.58)  # about the same
    assert len(told) == 1
    feed(watch, 0.3, data=0.6)
    assert [one.what for one in told] == ["processor", "data"]
    feed(watch, 0.9, 0.95)
    assert [one.what for one in told] == ["processor", "data", ""]
    feed(watch, 0.52)  # was told, with about that figure
    assert len(told) == 3
    feed(watch, 0.2)
    assert [one.what for one in told] == ["processor", "data", "", "processor"]
    assert told[0].mfu == pytest.approx(2e12 / (10 * 1e12))


def test_what_is_not_known_of_some_steps_spoils_no_others() -> None:
    watch, told = watched()
    watch.feed_step(1, use(0.5))
    for step in range(2, 30):
        watch.feed_step(step, use(None if step % 2 else 0.4, steps=1, seconds=1.0))
    assert [one.what for one in told] == ["processor"] and told[0].gpu_busy == pytest.approx(0.4)


def test_memory_is_told_where_nobody_knows_how_busy_the_gpu_is() -> None:
    watch, told = watched(FORCED)
    feed(watch, *[None] * 8, twice=True)
    assert [one.what for one in told] == ["memory"] and told[0].waiting == pytest.approx(1 / 3)


@pytest.mark.parametrize(("problem", "compiled"), [("", False), ("Triton is not installed", None)])
def test_compiling_is_offered_only_where_it_can_be(
    problem: str, compiled: bool | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(step_meter, "find_compiler_problem", lambda device: problem)
    config: Any = edit_values(RunConfig(), {"training.compile": False, "training.micro_batch": 4})
    about = step_meter.list_speed_circumstances(config, config, Device("cuda", capability=(9, 0)))
    assert about.compiled is compiled
    told = make_bottleneck_event("processor", UseSummary(use(0.41)), about, 40)
    assert ("training.compile" in told.hint) == (not problem)
