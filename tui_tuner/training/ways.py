"""Which ways to compute the loss a run takes: the fastest ones that prove exact on its first rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from tui_tuner.compute import prefix_cache, shared_check, shared_prefix
from tui_tuner.compute.batches import Rows, StepPlan
from tui_tuner.compute.loss import Checked, LossPath, self_check, with_chunks
from tui_tuner.config.schema import RunConfig
from tui_tuner.methods.prompts import virtual_positions, virtual_tokens
from tui_tuner.runs.events import Log
from tui_tuner.text import human_bytes, one_line
from tui_tuner.training.step.engine import autocast_dtype
from tui_tuner.training.watching.reporting import Reporter

CHECKED_ROWS = 4
LONGEST_CHECKED = 1024  # tokens
LONGEST_WITH_WINDOW = 4096  # so that a window of usual size is left behind


class Ways:
    """Tries ways on a model and the rows of its first step, and says in the journal what it found."""

    def __init__(
        self, model: Any, data: Rows, plan: StepPlan, config: RunConfig, device: str, reporter: Reporter
    ) -> None:
        self.model, self.data, self.plan, self.config = model, data, plan, config
        self.name, self.device = device, torch.device(device)
        self.reporter = reporter
        self.rows = checked_rows(plan, LONGEST_WITH_WINDOW if has_window(model) else LONGEST_CHECKED)

    def choose(self, before: list[bool], most: int, pad: int) -> Checked:
        """The way for training.

        Args:
            before: Packing, compact, segments of the run that is resumed, so that it goes on with the same
                numbers; empty for a new one.
            most: Tokens a micro-batch may have.
        """
        found = self_check(self.model, self.data, self.rows, self._wanted(before), self.device, pad)
        if found.problem:
            self.reporter.warn(
                "self_check",
                "The fast way to compute the loss is not exact for this model "
                f"({one_line(found.problem, 200)}); a plainer one is used: packing {found.path.packing}, "
                f"trained positions only {found.path.compact}.",
                "The loss is right, and training is slower.",
            )
        path = self._shared_prefix(found.path)
        path = with_chunks(self.model, self.data, self.rows, path, most, self.device)
        return replace(found, path=path)

    def _wanted(self, before: list[bool]) -> LossPath:
        config = self.config
        packing = config.data.packing is not False and self._side_by_side()
        wanted = LossPath(
            packing=packing,
            compact=config.training.loss != "full_logits",
            segments=packing and config.model.attention in ("auto", "sdpa"),
            autocast=autocast_dtype(config, self.name),
            device=self.name,
            virtual=virtual_positions(self.model),
        )
        if len(before) == 3:
            packing, compact, segments = before
            wanted = replace(wanted, packing=packing, compact=compact, segments=segments)
        return wanted

    def _side_by_side(self) -> bool:
        """Whether sequences may lie in one row; if not though it was asked for, the journal says why."""
        virtual = virtual_tokens(self.model)
        if virtual and self.config.data.packing is True:
            self.reporter.warn(
                "padded_rows",
                f"{virtual} virtual tokens stand before each row of a batch, so every sequence gets a row of "
                "its own, padded to the longest: side by side, only the first would have them before it.",
                "The loss is right. Set data.packing to auto or false to silence this.",
            )
        return not virtual

    def _shared_prefix(self, path: LossPath) -> LossPath:
        """The same way, with common beginnings computed once where there are some and it is exact."""
        if not path.segments or self.config.training.neftune_alpha or shared_prefix.draws_noise(self.model):
            return path
        share = shared_prefix.saving(self.data, self.plan)
        if share < shared_prefix.LEAST_SAVING:
            return path
        if not shared_check.exact(self.model, self.data, self.rows, path, self.device):
            self._say("Sequences begin alike, but computing that once is not exact for this model.")
            return path
        self._say(f"Sequences begin alike: computing that once saves about {share:.0%} of all tokens.")
        return replace(path, shared=True)

    def states_below(
        self, path: LossPath, total_steps: int, folder: Path, check: Callable[[], None]
    ) -> prefix_cache.PrefixCache | None:
        """What enters the first trained layer, stored for all epochs; None where that cannot be.

        Args:
            check: Called between rows; raises where the run shall stop.
        """
        plan = self.plan
        if plan.world > 1 or self.config.training.neftune_alpha or total_steps < 2 * plan.steps_per_epoch:
            return None

        def progress(done: int, total: int) -> None:
            self.reporter.phase("loading", done, total, note="hidden states below the first trained layer")
            check()

        found, problem = prefix_cache.make(
            self.model, self.data, path, self.device, folder, self.rows, progress
        )
        if found is not None:
            self._say(
                f"The {found.frozen} layers below the first trained one are computed once, not in each "
                f"epoch: their states are in a file of {human_bytes(found.bytes)}, deleted after training."
            )
        elif problem:
            why = one_line(problem, 200)
            self._say(f"The layers below the first trained one are computed in each epoch: {why}.")
        return found

    def _say(self, message: str) -> None:
        self.reporter.emit(Log(message))


def checked_rows(plan: StepPlan, longest: int) -> list[int]:
    """A few short sequences of the first batch, and its longest one of at most `longest` tokens."""
    rows = sorted(plan.batch(0, 0), key=lambda row: (int(plan.lengths[row]), row))
    short, rest = rows[: CHECKED_ROWS - 1], rows[CHECKED_ROWS - 1 :]
    long = [row for row in rest if plan.lengths[row] <= longest]
    return short + long[-1:]


def has_window(model: Any) -> bool:
    """Whether a model's attention may look back over a part of a sequence only."""
    settings = model.config.get_text_config().to_dict()
    settings.pop("chunk_size_feed_forward", None)
    return any(value for name, value in settings.items() if "window" in name or "chunk" in name)
