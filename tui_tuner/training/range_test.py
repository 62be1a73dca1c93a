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
from tui_tuner.config.values import with_values
from tui_tuner.errors import RunError
from tui_tuner.locales import _
from tui_tuner.models.loading import quiet_libraries
from tui_tuner.models.out_of_memory import free_cached_memory
from tui_tuner.planning.range_test import WORSE, RangeTest, bounds, evaluate, geometric
from tui_tuner.runs.control import Control
from tui_tuner.runs.events import Body, OutOfMemory, Phase, Warned
from tui_tuner.runs.store import RunFolder
from tui_tuner.training.commands import Commands, Stopped
from tui_tuner.training.ranks import Ranks
from tui_tuner.training.watching.reporting import Reporter


class Say(Protocol):
    """Told what is being done, with done and total steps; and of a step its rate and loss."""

    def __call__(
        self, words: str, done: int, total: int, rate: float | None = None, loss: float | None = None
    ) -> None: ...


MEMORY = 0.9  # of the running mean that decides when to end
PATIENT = 10  # steps before it may end


class _Sink:
    """Passes phases on as words; the rest of what a run says is of no use here, but for warnings."""

    def __init__(self, say: Say) -> None:
        self._say = say

    def emit(self, body: Body) -> None:
        match body:
            case Phase(name=name, done=done, total=total, note=note):
                self._say(note or name, done, total or 0)
            case Warned(message=message) | OutOfMemory(message=message):
                self._say(message, 0, 0)


class _Cancelled(Control):
    """Wants a stop once a helper's request is cancelled."""

    def __init__(self, cancelled: Callable[[], bool]) -> None:
        super().__init__(Path(os.devnull))
        self._cancelled = cancelled

    def poll(self) -> list[str]:
        return ["stop"] if self._cancelled() else []


def answer(
    arguments: dict[str, Any], progress: Callable[[Any], None], cancelled: Callable[[], bool]
) -> dict[str, Any]:
    """The operation `range_test` of a helper process.

    Args:
        arguments: `config` (values as in YAML) and `steps`.
        progress: Told `doing` (words), `done` and `total`; of a step also its `rate` and `loss`.

    Returns:
        What `RangeTest.to_json` does.
    """
    config = build_config(arguments["config"])

    def say(words: str, done: int, total: int, rate: float | None = None, loss: float | None = None) -> None:
        progress({"doing": words, "done": done, "total": total, "rate": rate, "loss": loss})

    return range_test(config, *bounds(config), arguments["steps"], say, _Cancelled(cancelled)).to_json()


def range_test(
    config: RunConfig,
    low: float,
    high: float,
    steps: int,
    say: Say = lambda *_unused: None,
    control: Control | None = None,
) -> RangeTest:
    """Train `steps` steps while the rate grows from `low` to `high`; ends early where the loss explodes.

    Model, data, method and batch are those of the config; its schedule, warm-up, evaluation and saving are
    not. The run lives in a temporary folder, and what it trained is thrown away.

    Args:
        say: Told the words for what is being done, with done and total steps.
        control: Asked whether to stop; what was seen until then is evaluated.

    Raises:
        TunerError: as for a run.
        RunError: stopped before there was a step.
    """
    quiet_libraries()
    from tui_tuner.tasks import find_task
    from tui_tuner.training.context import RunContext
    from tui_tuner.training.fetching import fetch_model
    from tui_tuner.training.keeping.progress import Progress
    from tui_tuner.training.train import prepare_training

    rates = geometric(low, high, steps)
    with tempfile.TemporaryDirectory(prefix="tui-tuner-lr-") as name:
        folder = RunFolder(Path(name))
        reporter = Reporter(_Sink(say))
        commands = Commands(control or Control(folder.control), reporter)
        task = find_task(config.task)
        context = RunContext(
            _short(config, rates), folder, reporter, commands, task, None, Progress(), Ranks()
        )
        training = None
        try:
            fetch_model(config.model, reporter, commands, Ranks())
            training = prepare_training(context)
            return _run(training, rates, commands, say)
        except Stopped:
            raise RunError(_("stopped before the first step.")) from None
        except Exception as error:
            traceback.clear_frames(error.__traceback__)  # they hold the model while the error is known
            raise
        finally:
            del training, context
            free_cached_memory()


def _short(config: RunConfig, rates: list[float]) -> RunConfig:
    """The config without schedule, evaluation and checkpoints."""
    short: dict[str, Any] = {
        "training.max_steps": len(rates),
        "training.learning_rate": rates[0],
        "training.schedule": "constant",
        "training.warmup": 0.0,
        "training.on_bad_numbers": "warn",
        "evaluation.every": None,
        "evaluation.early_stopping": None,
    }
    if isinstance(config.hardware.devices, int):
        short["hardware.devices"] = 1
    return with_values(config, short)


def _run(training: Any, rates: list[float], commands: Commands, say: Say) -> RangeTest:
    from transformers import TrainerCallback, set_seed

    engine = training.engine
    losses: list[float] = []
    ended: list[str] = []

    class Grow(TrainerCallback):
        """Sets each step's rate, and looks at its loss, which was computed before the step was taken."""

        mean = lowest = 0.0

        def on_step_begin(self, args: Any, state: Any, control: Any, **_unused: Any) -> None:
            for group in engine.optimizer.param_groups:
                group["lr"] = rates[min(state.global_step, len(rates) - 1)]

        def on_step_end(self, args: Any, state: Any, control: Any, **_unused: Any) -> None:
            loss = float(engine.last_loss)
            known = math.isfinite(loss)
            rate = rates[min(len(losses), len(rates) - 1)]
            say(
                _("training"), state.global_step, len(rates), rate if known else None, loss if known else None
            )
            if not math.isfinite(loss):
                ended.append(_("the loss was {loss} at {rate:.2g}", loss=loss, rate=rates[len(losses)]))
            else:
                losses.append(loss)
                self._explodes(loss)
            if commands.stop_wanted():
                ended.append(_("stopped"))
            control.should_training_stop = bool(ended) or len(losses) >= len(rates)

        def _explodes(self, loss: float) -> None:
            count = len(losses)
            self.mean = MEMORY * self.mean + (1 - MEMORY) * loss
            mean = self.mean / (1 - MEMORY**count)
            self.lowest = mean if count == 1 else min(self.lowest, mean)
            if count > PATIENT and mean > WORSE * self.lowest:
                ended.append(_("the loss exploded at {rate:.2g}", rate=rates[count - 1]))

    engine.remove_callback(training.loop)
    engine.add_callback(Grow())
    set_seed(training.config.training.seed)
    engine.train()
    if not losses:
        raise RunError(
            _("there is no loss to look at: {why}.", why=ended[0] if ended else _("no step was taken"))
        )
    return evaluate(rates[: len(losses)], losses, ended[0] if ended else "")
