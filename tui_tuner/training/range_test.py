"""The learning-rate range test: a short real run over growing rates. Nothing of it is kept."""

from __future__ import annotations

import math
import os
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from tui_tuner.config.load import build_config
from tui_tuner.config.schema import RunConfig
from tui_tuner.config.values import edit_values
from tui_tuner.errors import RunError
from tui_tuner.locales import _
from tui_tuner.models.loading import silence_libraries
from tui_tuner.models.out_of_memory import free_cached_memory
from tui_tuner.planning.range_suggestion import (
    WORSE,
    RangeTest,
    choose_range_bounds,
    evaluate_range_curve,
    space_range_rates,
)
from tui_tuner.runs.control import CommandReceiver
from tui_tuner.runs.events import EventBody, OutOfMemory, Phase, Warned
from tui_tuner.runs.store import RunFolder
from tui_tuner.training.ranks import Ranks
from tui_tuner.training.run_commands import Commands, StopRequested
from tui_tuner.training.watching.reporting import Reporter


class RangeTestReport(Protocol):
    """Receives the progress in words, done and total steps; after a step, also its rate and loss."""

    def __call__(
        self, words: str, done: int, total: int, rate: float | None = None, loss: float | None = None
    ) -> None: ...


MEMORY = 0.9  # share of the earlier mean in the running mean that decides when to end
PATIENT = 10  # steps before the test may end


class _ProgressSink:
    """Passes on phases and warnings as words; the other events of a run are not needed."""

    def __init__(self, say: RangeTestReport) -> None:
        self._say = say

    def emit(self, body: EventBody) -> None:
        match body:
            case Phase(name=name, done=done, total=total, note=note):
                self._say(note or name, done, total or 0)
            case Warned(message=message) | OutOfMemory(message=message):
                self._say(message, 0, 0)


class _CancelControl(CommandReceiver):
    """Requests a stop once a helper's request is cancelled."""

    def __init__(self, cancelled: Callable[[], bool]) -> None:
        super().__init__(Path(os.devnull))
        self._cancelled = cancelled

    def poll_commands(self) -> list[str]:
        return ["stop"] if self._cancelled() else []


def run_range_operation(
    arguments: dict[str, Any], progress: Callable[[Any], None], cancelled: Callable[[], bool]
) -> dict[str, Any]:
    """Run the operation `run_range_test` of a helper process.

    Args:
        arguments: `config` (values as in YAML) and `steps`.
        progress: Called with `doing` (words), `done` and `total`; after a step also its `rate` and `loss`.

    Returns:
        The values of `RangeTest.to_json`.
    """
    config = build_config(arguments["config"])

    def say(words: str, done: int, total: int, rate: float | None = None, loss: float | None = None) -> None:
        progress({"doing": words, "done": done, "total": total, "rate": rate, "loss": loss})

    return run_range_test(
        config, *choose_range_bounds(config), arguments["steps"], say, _CancelControl(cancelled)
    ).to_json()


def run_range_test(
    config: RunConfig,
    low: float,
    high: float,
    steps: int,
    say: RangeTestReport = lambda *_unused: None,
    control: CommandReceiver | None = None,
) -> RangeTest:
    """Train `steps` steps while the rate grows from `low` to `high`; end early if the loss explodes.

    Model, data, method and batch are those of the config; its schedule, warm-up, evaluation and saving are
    not used. The run is in a temporary folder, and its model is thrown away.

    Args:
        say: Called with the progress.
        control: Polled for a stop; the steps taken until then are evaluated.

    Raises:
        TunerError: as for a run.
        RunError: stopped before the first step.
    """
    silence_libraries()
    from tui_tuner.tasks import find_task
    from tui_tuner.training.context import RunContext
    from tui_tuner.training.keeping.progress import Progress
    from tui_tuner.training.model_fetching import fetch_run_model
    from tui_tuner.training.train import prepare_training

    rates = space_range_rates(low, high, steps)
    with tempfile.TemporaryDirectory(prefix="tui-tuner-lr-") as name:
        folder = RunFolder(Path(name))
        reporter = Reporter(_ProgressSink(say))
        commands = Commands(control or CommandReceiver(folder.control_path), reporter)
        task = find_task(config.task)
        context = RunContext(
            _shorten_config(config, rates), folder, reporter, commands, task, None, Progress(), Ranks()
        )
        training = None
        try:
            fetch_run_model(config.model, reporter, commands, Ranks())
            training = prepare_training(context)
            return _take_steps(training, rates, commands, say)
        except StopRequested:
            raise RunError(_("stopped before the first step.")) from None
        except Exception as error:
            # Its frames hold the model, and the caller holds the error.
            traceback.clear_frames(error.__traceback__)
            raise
        finally:
            # The cache of the device can be freed only once nothing refers to the model.
            del training, context
            free_cached_memory()


def _shorten_config(config: RunConfig, rates: list[float]) -> RunConfig:
    """Return the config without schedule, evaluation and early stopping."""
    short: dict[str, Any] = {
        "training.max_steps": len(rates),
        "training.learning_rate": rates[0],
        "training.schedule": "constant",
        "training.warmup": 0.0,
        # The loss is meant to explode at the end: no batch may be skipped for it.
        "training.on_bad_numbers": "warn",
        "evaluation.every": None,
        "evaluation.early_stopping": None,
    }
    # This process trains alone, however many GPUs the run will use.
    if isinstance(config.hardware.devices, int):
        short["hardware.devices"] = 1
    return edit_values(config, short)


def _take_steps(training: Any, rates: list[float], commands: Commands, say: RangeTestReport) -> RangeTest:
    from tui_tuner.training.step.first_passes import begin_method
    from tui_tuner.training.step.random_states import seed_everything

    engine = training.engine
    begin_method(engine)
    seed_everything(training.config.training.seed)
    engine.prepare_states()
    losses: list[float] = []
    trend, ended = _Trend(), ""
    for step, rate in enumerate(rates, start=1):
        # Before each step, because the constant schedule sets the first rate again after it.
        for group in engine.optimizer.param_groups:
            group["lr"] = rate * group["initial_lr"] / rates[0]  # LoRA+ has groups at a multiple
        loss = float(engine.train_step().loss)  # of the weights before the step
        known = math.isfinite(loss)
        say(_("training"), step, len(rates), rate if known else None, loss if known else None)
        if known:
            losses.append(loss)
        if not known:
            ended = _("the loss was {loss} at {rate:.2g}", loss=loss, rate=rate)
        elif trend.has_exploded(loss):
            ended = _("the loss exploded at {rate:.2g}", rate=rate)
        elif commands.stop_wanted():
            ended = _("stopped")
        if ended:
            break
    if not losses:
        raise RunError(_("there is no loss to evaluate: {why}.", why=ended or _("no step was taken")))
    return evaluate_range_curve(rates[: len(losses)], losses, ended)


class _Trend:
    """A running mean of losses, and its lowest value so far."""

    def __init__(self) -> None:
        self._mean = self._lowest = 0.0
        self._count = 0

    def has_exploded(self, loss: float) -> bool:
        """Add the next loss; return whether the mean is far above its lowest value."""
        self._count += 1
        self._mean = MEMORY * self._mean + (1 - MEMORY) * loss
        # The mean starts at zero. This corrects for it, as in Adam (arXiv 1412.6980, section 3).
        mean = self._mean / (1 - MEMORY**self._count)
        self._lowest = mean if self._count == 1 else min(self._lowest, mean)
        return self._count > PATIENT and mean > WORSE * self._lowest
