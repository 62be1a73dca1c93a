"""Tests that a killed run resumes exactly: train, kill, resume, compare.

The same short run is trained twice in separate processes, once undisturbed and once killed with SIGKILL at a
random step. Then their results are compared: every number of every step, every evaluation, and the bytes of
the weights.
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
from tui_tuner.config.values import edit_values
from tui_tuner.errors import RunError
from tui_tuner.launch.child import start_worker
from tui_tuner.launch.spawning import ChildProcess
from tui_tuner.locales import _
from tui_tuner.runs.events import Evaluation, EventBody, Finished, RunStarted, Step
from tui_tuner.runs.history import read_log_tail
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
    """The result of a comparison. `differences` is empty if the runs are bit-for-bit equal."""

    steps: int = 0
    killed_at: list[int] = field(default_factory=list)
    resumed_from: list[int] = field(default_factory=list)
    steps_compared: int = 0
    evaluations_compared: int = 0
    files_compared: int = 0
    differences: list[str] = field(default_factory=list)

    @property
    def is_exact(self) -> bool:
        return not self.differences and self.steps_compared > 0 and self.files_compared > 0


def shorten_proof_config(config: RunConfig, root: Path) -> RunConfig:
    """Shorten a config to few steps, with frequent checkpoints and evaluations and deterministic kernels."""
    steps = min(config.training.max_steps or STEPS, STEPS)
    rows = 4 * config.training.batch_size * steps
    short: dict[str, Any] = {
        "training.max_steps": steps,
        # Some GPU kernels give slightly different results each time, which would look like an inexact resume
        "training.deterministic": True,
        # Each step reaches the journal at once, so that a kill comes right after its step
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
    return edit_values(config, short)


def prove_exactness(config: RunConfig, root: Path, say: Say, chance: random.Random | None = None) -> Proof:
    """Train `config` twice in `root`, once with a kill in the middle, and compare the runs.

    Raises:
        RunError: a run fails, or ends before it can be killed.
    """
    chance = chance or random.Random()
    store = RunStore(root)
    whole = store.create_run(_name_config(config, "undisturbed"))
    say(_("training undisturbed"))
    train_proof_to_end(whole)
    steps = len(_read_steps(whole))
    if steps < 3:
        raise RunError(
            _("the run has {steps} steps, but at least 3 are needed to kill it in the middle.", steps=steps),
            hint=_("Train longer."),
        )
    # A fast run may end between the step's event and the kill
    for attempt in range(_ATTEMPTS):
        killed = store.create_run(_name_config(config, f"killed-{attempt + 1}"))
        # Not at the last steps: the run could end between the step's event and the kill
        target = chance.randint(1, steps - 2)
        say(_("training again, with a kill at step {target}", target=target))
        if kill_run_at_step(killed, target):
            break
        say(_("it finished before it could be killed; trying again"))
    else:
        raise RunError(
            _("the run is too fast to be killed in the middle."), hint=_("Use more or longer steps.")
        )
    say(_("resuming"))
    train_proof_to_end(killed, resume=True)
    found = compare_proof_runs(whole, killed)
    found.killed_at = [target]
    return found


def train_proof_to_end(folder: RunFolder, resume: bool = False) -> None:
    """Train a run to its end in a separate process.

    Raises:
        RunError: the run failed; with the end of its log.
    """
    child = start_worker(folder, resume)
    try:
        code = child.wait()
    except BaseException:
        child.end_child()
        raise
    if code:
        raise _describe_failure(folder, child)


def kill_run_at_step(folder: RunFolder, step: int, resume: bool = False) -> bool:
    """Train until `step` is in the journal, then send SIGKILL; return whether that was before the end.

    Raises:
        RunError: the run failed by itself before.
    """
    child = start_worker(folder, resume)
    reader = JournalReader(folder.events_path)
    try:
        while child.poll() is None:
            bodies = (event.body for event in reader.read_events())
            if any(isinstance(body, Step) and body.step >= step for body in bodies):
                os.kill(child.pid, signal.SIGKILL)
                return child.wait() == -signal.SIGKILL
            time.sleep(_POLL)
        if child.returncode:
            raise _describe_failure(folder, child)
        return False
    finally:
        child.end_child()


def compare_proof_runs(whole: RunFolder, killed: RunFolder) -> Proof:
    """Compare every step, evaluation and weight file of two runs; steps that were repeated count twice."""
    expected, found = _read_steps(whole), Proof()
    found.steps = len(expected)
    seen: set[int] = set()
    for body in _read_bodies(killed):
        if isinstance(body, RunStarted) and body.resumed_from is not None:
            found.resumed_from.append(body.resumed_from)
        if isinstance(body, Step):
            seen.add(body.step)
            found.steps_compared += 1
            found.differences += _list_differences(body.step, expected.get(body.step), _collect_numbers(body))
    found.differences += [
        _("step {step} is missing", step=number) for number in expected if number not in seen
    ]
    _compare_evaluations(whole, killed, found)
    _compare_files(whole, killed, found)
    return found


def _compare_evaluations(whole: RunFolder, killed: RunFolder, found: Proof) -> None:
    expected, got = _read_evaluations(whole), _read_evaluations(killed)
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
    for path in sorted(_list_weights(whole)):
        found.files_compared += 1
        other = killed.path / path.relative_to(whole.path)
        if not other.is_file():
            found.differences.append(_("{file} is missing", file=path.relative_to(whole.path)))
        elif _hash_file(path) != _hash_file(other):
            found.differences.append(_("{file} differs", file=path.relative_to(whole.path)))


def _list_weights(folder: RunFolder) -> Iterator[Path]:
    """Yield the final weights, and the files that the newest checkpoint is resumed from."""
    for name in (folder.last_path, folder.best_path):
        yield from name.rglob("*.safetensors")
    steps = sorted(folder.checkpoints_path.glob("step-*"), key=lambda path: int(path.name[5:]))
    for newest in steps[-1:]:
        for pattern in _STATES:
            yield from newest.rglob(pattern)


def _name_config(config: RunConfig, name: str) -> RunConfig:
    return edit_values(config, {"output.name": name})


def _read_bodies(folder: RunFolder) -> list[EventBody]:
    return [event.body for event in JournalReader(folder.events_path).read_events()]


def _read_steps(folder: RunFolder) -> dict[int, dict[str, str]]:
    return {body.step: _collect_numbers(body) for body in _read_bodies(folder) if isinstance(body, Step)}


def _collect_numbers(step: Step) -> dict[str, str]:
    """Return the numbers of a step that must be bit-for-bit equal, as text, so that NaN equals NaN."""
    return {name: repr(getattr(step, name)) for name in _NUMBERS} | {
        f"metrics.{name}": repr(value) for name, value in step.metrics.items()
    }


def _read_evaluations(folder: RunFolder) -> dict[tuple[int, str], str]:
    return {
        (body.step, body.stage): json.dumps(dict(body.metrics), sort_keys=True)
        for body in _read_bodies(folder)
        if isinstance(body, Evaluation)
    }


def _list_differences(step: int, expected: dict[str, str] | None, got: dict[str, str]) -> list[str]:
    if expected is None:
        return [_("step {step} is only in the killed run", step=step)]
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


def _hash_file(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _describe_failure(folder: RunFolder, child: ChildProcess) -> RunError:
    """Describe a failed run with the message in its journal, or else the end of its log."""
    said = [body.message for body in _read_bodies(folder) if isinstance(body, Finished)]
    lines = said[-1:] or read_log_tail(folder.log_path, 3)
    death = child.describe_death()
    what = _("the run {ended}: {lines}", ended=death.message, lines=one_line(" ".join(lines), 400))
    return RunError(what, where=one_line(folder.path), hint=death.hint)
