"""Proving that a killed run resumes exactly: train, kill, resume, compare.

The same short run is trained twice, once undisturbed and once killed with SIGKILL at a random moment, each in
processes of its own, and what they wrote is compared: every number of every step, every evaluation, and the
bytes of the weights.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tui_tuner.config.schema import RunConfig
from tui_tuner.config.values import with_values
from tui_tuner.errors import RunError
from tui_tuner.launch.child import start_worker
from tui_tuner.launch.spawning import Child
from tui_tuner.locales import _
from tui_tuner.runs.events import Body, Evaluation, Finished, RunStarted, Step
from tui_tuner.runs.history import log_tail
from tui_tuner.runs.journal import JournalReader
from tui_tuner.runs.store import RunFolder, RunStore
from tui_tuner.text import one_line

STEPS = 16
_ATTEMPTS = 5
_POLL = 0.005
_STATES = ("*.safetensors", "optimizer.*", "scheduler.*", "scaler.*", "rng_state*")
_NUMBERS = ("loss", "learning_rate", "grad_norm", "supervised_tokens", "tokens", "epoch")
Say = Callable[[str], None]


@dataclass
class Proof:
    """What a comparison found. `differences` is empty if the runs are equal, bit for bit."""

    steps: int = 0
    killed_at: list[int] = field(default_factory=list)
    resumed_from: list[int] = field(default_factory=list)
    steps_compared: int = 0
    evaluations_compared: int = 0
    files_compared: int = 0
    differences: list[str] = field(default_factory=list)

    @property
    def exact(self) -> bool:
        return not self.differences and self.steps_compared > 0 and self.files_compared > 0


def short_version(config: RunConfig, root: Path) -> RunConfig:
    """The user's config with few steps, frequent checkpoints and evaluations, and repeatable kernels."""
    steps = min(config.training.max_steps or STEPS, STEPS)
    rows = 4 * config.training.batch_size * steps
    short: dict[str, Any] = {
        "training.max_steps": steps,
        "training.deterministic": True,
        "training.report_every": 0.001,
        "data.limit": min(config.data.limit or rows, max(rows, 200)),
        "output.folder": str(root),
        "output.name": "auto",
        "output.save_every": 3,
        "output.keep": 2,
        "evaluation.samples": min(config.evaluation.samples, 1),
        "evaluation.metric_rows": 0,
        "hardware.budget": None,
    }
    if config.data.validation:
        short["evaluation.every"] = 4
    return with_values(config, short)


def prove(config: RunConfig, root: Path, say: Say, chance: random.Random | None = None) -> Proof:
    """Train `config` twice below `root`, once with a kill in the middle, and compare.

    Raises:
        RunError: a run fails, or ends before it can be killed.
    """
    chance = chance or random.Random()
    store = RunStore(root)
    whole = store.create(_named(config, "undisturbed"))
    say(_("training undisturbed"))
    run_to_end(whole)
    steps = len(_steps(whole))
    if steps < 3:
        raise RunError(
            _("the run has {steps} steps; it takes 3 to kill one in the middle.", steps=steps),
            hint=_("Train longer."),
        )
    for attempt in range(_ATTEMPTS):
        killed = store.create(_named(config, f"killed-{attempt + 1}"))
        target = chance.randint(1, steps - 2)
        say(_("training again, to be killed at step {target}", target=target))
        if kill_at_step(killed, target):
            break
        say(_("it was done before it could be killed; once more"))
    else:
        raise RunError(
            _("the run is too quick to be killed in the middle."), hint=_("Give it more or longer steps.")
        )
    say(_("resuming"))
    run_to_end(killed, resume=True)
    found = compare(whole, killed)
    found.killed_at = [target]
    return found


def run_to_end(folder: RunFolder, resume: bool = False) -> None:
    """Train in a process of its own.

    Raises:
        RunError: it fails; with the end of its log.
    """
    child = start_worker(folder, resume)
    try:
        code = child.wait()
    except BaseException:
        child.end()
        raise
    if code:
        raise _failed(folder, child)


def kill_at_step(folder: RunFolder, step: int, resume: bool = False) -> bool:
    """Train until the journal speaks of `step`, then send SIGKILL; whether it came before the end.

    Raises:
        RunError: the run fails by itself before.
    """
    child = start_worker(folder, resume)
    reader = JournalReader(folder.events)
    try:
        while child.poll() is None:
            bodies = (event.body for event in reader.read())
            if any(isinstance(body, Step) and body.step >= step for body in bodies):
                os.kill(child.pid, signal.SIGKILL)
                return child.wait() == -signal.SIGKILL
            time.sleep(_POLL)
        if child.returncode:
            raise _failed(folder, child)
        return False
    finally:
        child.end()


def compare(whole: RunFolder, killed: RunFolder) -> Proof:
    """Compare every step, evaluation and weight file of two runs; steps done twice count twice."""
    expected, found = _steps(whole), Proof()
    found.steps = len(expected)
    seen: set[int] = set()
    for body in _bodies(killed):
        if isinstance(body, RunStarted) and body.resumed_from is not None:
            found.resumed_from.append(body.resumed_from)
        if isinstance(body, Step):
            seen.add(body.step)
            found.steps_compared += 1
            found.differences += _differences(body.step, expected.get(body.step), _numbers(body))
    found.differences += [
        _("step {step} is missing", step=number) for number in expected if number not in seen
    ]
    _compare_evaluations(whole, killed, found)
    _compare_files(whole, killed, found)
    return found


def _compare_evaluations(whole: RunFolder, killed: RunFolder, found: Proof) -> None:
    expected, got = _evaluations(whole), _evaluations(killed)
    for key, metrics in expected.items():
        found.evaluations_compared += 1
        if got.get(key) != metrics:
            difference = _(
                "evaluation at step {step}: {expected} became {got}",
                step=key[0],
                expected=metrics,
                got=got.get(key),
            )
            found.differences.append(difference)


def _compare_files(whole: RunFolder, killed: RunFolder, found: Proof) -> None:
    for path in sorted(_weights(whole)):
        found.files_compared += 1
        other = killed.path / path.relative_to(whole.path)
        if not other.is_file():
            found.differences.append(_("{file} is missing", file=path.relative_to(whole.path)))
        elif _digest(path) != _digest(other):
            found.differences.append(_("{file} differs", file=path.relative_to(whole.path)))


def _weights(folder: RunFolder) -> Iterator[Path]:
    """Take-home weights, and all that the newest checkpoint resumes from."""
    for name in (folder.last, folder.best):
        yield from name.rglob("*.safetensors")
    steps = sorted(folder.checkpoints.glob("step-*"), key=lambda path: int(path.name[5:]))
    for newest in steps[-1:]:
        for pattern in _STATES:
            yield from newest.rglob(pattern)


def _named(config: RunConfig, name: str) -> RunConfig:
    return with_values(config, {"output.name": name})


def _bodies(folder: RunFolder) -> list[Body]:
    return [event.body for event in JournalReader(folder.events).read()]


def _steps(folder: RunFolder) -> dict[int, dict[str, str]]:
    return {body.step: _numbers(body) for body in _bodies(folder) if isinstance(body, Step)}


def _numbers(step: Step) -> dict[str, str]:
    """What has to be equal to the last bit, in words: so that a NaN is equal to itself."""
    return {name: repr(getattr(step, name)) for name in _NUMBERS} | {
        f"metrics.{name}": repr(value) for name, value in step.metrics.items()
    }


def _evaluations(folder: RunFolder) -> dict[tuple[int, str], str]:
    return {
        (body.step, body.stage): json.dumps(dict(body.metrics), sort_keys=True)
        for body in _bodies(folder)
        if isinstance(body, Evaluation)
    }


def _differences(step: int, expected: dict[str, str] | None, got: dict[str, str]) -> list[str]:
    if expected is None:
        return [_("step {step} is one too many", step=step)]
    return [
        _(
            "step {step}: {name} {expected} became {got}",
            step=step,
            name=name,
            expected=expected.get(name),
            got=got.get(name),
        )
        for name in {**expected, **got}
        if expected.get(name) != got.get(name)
    ]


def _digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _failed(folder: RunFolder, child: Child) -> RunError:
    """What the journal, or else the log, says about a run that failed."""
    said = [body.message for body in _bodies(folder) if isinstance(body, Finished)]
    lines = said[-1:] or log_tail(folder.log, 3)
    death = child.death()
    what = _("the run {ended}: {lines}", ended=death.message, lines=one_line(" ".join(lines), 400))
    return RunError(what, where=one_line(folder.path), hint=death.hint)
