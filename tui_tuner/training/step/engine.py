"""One optimizer step: forward and backward passes of its examples, clipping, update, schedule.

The objective lays a step's examples into micro-batches; their gradients add up, and the summed loss is
divided by the weight of the whole effective batch. So a step can be retried from a clean state, a resumed run
seeks by step number, and nothing in a step reads a number from the device.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.utils import clip_grad_norm_, get_total_norm

from tui_tuner.compute.forward import MicroBatch, MicroSize, Rows
from tui_tuner.config.kinds.optimizers import find_optimizer
from tui_tuner.config.resolved import ResolvedConfig
from tui_tuner.methods.method import Method
from tui_tuner.models.device import Device
from tui_tuner.models.out_of_memory import free_cached_memory
from tui_tuner.objectives.objective import Objective
from tui_tuner.training.ranks import Ranks
from tui_tuner.training.step.ahead import Ahead
from tui_tuner.training.step.optimizers import create_optimizer
from tui_tuner.training.step.plan import StepPlan
from tui_tuner.training.step.random_states import (
    RngState,
    load_random_states,
    save_random_states,
    seed_everything,
)
from tui_tuner.training.step.recovery import Recovery
from tui_tuner.training.step.scaling import ScaleWatch, create_scaler
from tui_tuner.training.step.schedules import create_scheduler, scale_rate
from tui_tuner.training.step.states import (
    Position,
    States,
    load_step_position,
    load_trained_parameters,
    save_step_position,
    save_trained_parameters,
)
from tui_tuner.training.step.wrapping import (
    place_model_on_device,
    skip_gradient_averaging,
    wrap_model_for_ranks,
)
from tui_tuner.training.watching.passes import Pass, Passes

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module
    from torch.nn import Parameter as Weight
    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LambdaLR


@dataclass
class StepResult:
    """The result of an optimizer step. Tensors are still on the device.

    Args:
        rows: Examples of the whole effective batch, over all ranks; `trained` and `tokens` count theirs.
        parts: The forward passes of this rank.
        rate: The learning rate of the first group, as the step used it.
        skipped: Whether the loss scaler left the weights as they were.
    """

    rows: list[int]
    loss: Tensor
    grad_norm: Tensor
    rate: float
    trained: int
    tokens: int
    parts: list[MicroBatch] = field(default_factory=list)
    metrics: Mapping[str, Any] = field(default_factory=dict)
    skipped: Any = False


class Engine:
    """Takes optimizer steps with one model, and saves and loads the state that passes from step to step.

    Attributes:
        step: Optimizer steps taken.
        data: The rows of the run; `read_epoch` gives them as an epoch reads them.
        size: The micro-batch, smaller once memory ran out.
        rate_scale: What the rates of a checkpoint are multiplied by when it is loaded.
    """

    def __init__(
        self,
        model: Module,
        config: ResolvedConfig,
        device: Device,
        total: int,
        *,
        data: Rows,
        plan: StepPlan,
        objective: Objective,
        size: MicroSize,
        recovery: Recovery,
        ranks: Ranks,
        method: Method,
    ) -> None:
        # Before anything else: an evaluation before the first step, or one that a resumed run has to repeat,
        # draws from this state.
        seed_everything(config.training.seed)
        self.model, self.config, self.total = model, config, total
        self.data, self.plan, self.objective, self.size = data, plan, objective, size
        self.recovery, self.ranks, self.method = recovery, ranks, method
        self.device = torch.device(device.torch_name)
        self.step, self.epoch = 0, 0.0
        self.rate_scale = 1.0
        self.skip_bad = config.training.on_bad_numbers == "skip"
        self.passes = Passes()
        self._device_facts = device
        # Rows are filled on GPUs only, where the host has time to prepare a step while the device computes.
        self._ahead = Ahead(self._lay_parts) if objective.way.filled else None
        self._read: tuple[int, Rows] = (0, objective.read_rows(data, 0))
        self._wrapped: Module | None = None
        self._stepped = True
        self.optimizer: Optimizer | None = None
        self.scheduler: LambdaLR | None = None
        self.scaler = create_scaler(device, config)
        self._scale_watch = ScaleWatch(self.scaler)
        place_model_on_device(model, self.device)
        if getattr(model, "config", None) is not None:
            # Saved with the final model, where generation needs it, whatever the base model's config has.
            model.config.use_cache = True

    # ---- before the first step ----------------------------------------------------------------------------

    def prepare_states(self, checkpoint: Path | None = None) -> None:
        """Create optimizer and schedule, with their state at a checkpoint or at the start of a run."""
        if checkpoint is not None:
            load_trained_parameters(self.model, checkpoint)
        # The model was checked before training; the cached pieces it left would fragment the first step.
        free_cached_memory()
        # A rollback calls this again, and a model must not be wrapped twice.
        if self._wrapped is None:
            self._wrapped = wrap_model_for_ranks(self.model, self.device, self.ranks)
        faster = self.method.trains_faster
        self.optimizer = create_optimizer(self.model, self.config, self._device_facts, faster)
        # Two orders of the same weights: clipping sums norms in the order of the optimizer's groups, and a
        # sum in another order differs in the last bits.
        self._trained: list[Weight] = [
            one for group in self.optimizer.param_groups for one in group["params"]
        ]
        self._in_model: list[Weight] = [one for one in self.model.parameters() if one.requires_grad]
        self.recovery.guard_optimizer(self.optimizer, lambda: self.step + 1)
        self.optimizer.register_step_post_hook(self._note_update)
        self.scheduler = create_scheduler(self.optimizer, self.config, self.total)
        position = Position()
        if checkpoint is not None:
            # Through the host's memory, as a second copy of the states may not fit on the device. Several
            # processes share that memory, so each of them loads onto its own device.
            direct = self.ranks.world > 1 and self.device.type != "cpu"
            self._carried_states.load_states(checkpoint, str(self.device) if direct else "cpu")
            position = load_step_position(checkpoint)
            if self.rate_scale != 1.0:
                scale_rate(self.scheduler, self.optimizer, self.rate_scale)
        self.method.load_state(self.model, checkpoint)
        self.step, self.epoch = position.step, position.epoch
        self._clear_gradients()

    def forget_states(self) -> None:
        """Release gradients and the optimizer; `prepare_states` creates a new one."""
        self._clear_gradients()
        self.optimizer = self.scheduler = None

    def load_weights(self, checkpoint: Path) -> None:
        """Give the model the trained weights of a checkpoint, for an evaluation or to be saved."""
        # The average of the weights is computed from the optimizer's state
        if find_optimizer(self.config.training.optimizer).averages:
            self.prepare_states(checkpoint)
        else:
            load_trained_parameters(self.model, checkpoint)

    def show_result(self) -> contextlib.AbstractContextManager[None]:
        """Give the model the weights that are evaluated and saved, while the block runs.

        They are those of training, but for an optimizer that averages them.
        """
        show = getattr(self.optimizer, "show_average", None)
        return contextlib.nullcontext() if show is None else show()

    def restore_random_states(self, checkpoint: Path) -> None:
        """Continue with a checkpoint's random numbers. Call it last before a step."""
        load_random_states(checkpoint, self.ranks)

    # ---- one step -----------------------------------------------------------------------------------------

    def train_step(self) -> StepResult:
        """Take the next optimizer step.

        Raises:
            OutOfMemoryError: one sequence alone does not fit.
        """
        assert self.optimizer is not None and self.scheduler is not None
        epoch, place = divmod(self.step, self.plan.steps_per_epoch)
        rows = self.plan.find_batch(epoch, place)
        result = self.compute_gradients(rows)
        result.grad_norm = self.clip_gradients().detach()
        if self.skip_bad:
            self._leave_out_bad(result)
        # Before the schedule moves on: this is the rate that the step uses.
        result.rate = float(self.optimizer.param_groups[0]["lr"])
        # The schedule waits for a step that the loss scaler skips, as the Trainer of version 0.1 did.
        if self.update_weights():
            self.scheduler.step()
            self.method.after_step(self.model, self.step + 1, self.total)
        self._clear_gradients()
        result.skipped = self._scale_watch.was_skipped()
        self.step += 1
        self.epoch = epoch + (place + 1) / self.plan.steps_per_epoch
        return result

    def read_epoch(self, epoch: int) -> Rows:
        """Return the rows as an epoch reads them; the same object as long as no other epoch is asked for."""
        if self._read[0] != epoch:
            self._read = (epoch, self.objective.read_rows(self.data, epoch))
        return self._read[1]

    def compute_gradients(self, rows: list[int]) -> StepResult:
        """Run forward and backward passes of a whole step, in smaller parts again if memory runs out."""
        data = self.read_epoch(self.step // self.plan.steps_per_epoch)
        # `train` walks through all modules, which takes milliseconds.
        if not self.model.training:
            self.model.train()
        weight = self.objective.count_weight(data, rows)
        trained = int(data.trained_tokens[rows].sum())
        mine = self.plan.find_share(rows)
        before = RngState.read_now(self.device)
        while True:
            try:
                loss, parts = self._accumulate_gradients(data, mine, rows, weight)
                break
            except Exception as error:
                out_of_memory = self.recovery.is_out_of_memory(error)
                if not out_of_memory:
                    # So that the state before this step can still be saved.
                    before.restore_state()
                    raise
                place = self.recovery.place
                # Some parts may have added theirs already, and the retry starts from zero.
                self._clear_gradients()
                self.recovery.free(error)
            # The retry draws the same random numbers as the attempt that failed.
            before.restore_state()
            self.size = self.recovery.halve_micro_batch(self._find_tried_size(), place, self.step + 1)
        self._prepare_next()
        return StepResult(
            rows=rows,
            loss=loss,
            grad_norm=loss,
            rate=0.0,
            trained=trained,
            tokens=sum(int(self.data.lengths[row]) for row in rows),
            parts=parts,
            metrics=self.objective.step_metrics(),
        )

    def _accumulate_gradients(
        self, data: Rows, rows: list[int], batch: list[int], weight: float
    ) -> tuple[Tensor, list[MicroBatch]]:
        """Add up the gradients of a step's micro-batches; return its loss over all ranks, and the passes.

        Args:
            data: The rows as this epoch reads them.
            rows: The examples of this rank.
            batch: Those of all ranks.
            weight: The weight of the whole effective batch, over all ranks.
        """
        assert self._wrapped is not None
        objective, world = self.objective, self.plan.world
        objective.begin_step()
        total = torch.zeros((), device=self.device)
        # DistributedDataParallel divides the summed gradients by the number of ranks, but a step's loss is
        # the sum over all ranks.
        scale = world / (weight or 1)
        self.recovery.enter_place("copying", rows)
        parts = self._take_parts(data, rows)
        counted = [part for part in parts if objective.count_weight(data, part.rows)]
        if world > 1 and not counted:
            # The others wait for this rank's gradients in their last backward pass, so it makes one too.
            counted, scale = self._borrow_pass(data, batch), 0.0
        for place, part in enumerate(counted):
            self.recovery.enter_place("forward", part.rows)
            self._remember_pass(part, accumulating=place > 0)
            micro = part if self._ahead is not None else part.to(self.device)
            last = place == len(counted) - 1
            averaged = contextlib.nullcontext() if last else skip_gradient_averaging(self._wrapped)
            with objective.wrap_pass(micro), averaged:
                loss = objective.sum_losses(self._wrapped, micro) * scale
                extra = self.method.extra_loss(self.model) if last else None
                if extra is not None:
                    # Not scaled: it is the same on each rank, so the average of its gradients is right.
                    loss = loss + extra
                self.recovery.enter_place("backward", part.rows)
                (loss if self.scaler is None else self.scaler.scale(loss)).backward()
            total += loss.detach() / world
        self.recovery.enter_place("")
        return self.ranks.sum_tensor(total), parts

    def clip_gradients(self) -> Tensor:
        """Scale gradients down to `max_grad_norm`; return their norm before that, without the loss scale."""
        if self.scaler is not None:
            assert self.optimizer is not None
            self.scaler.unscale_(self.optimizer)
        most = self.config.training.max_grad_norm
        if most > 0:
            return clip_grad_norm_(self._trained, most)
        return get_total_norm([one.grad for one in self._in_model if one.grad is not None])

    def update_weights(self) -> bool:
        """Let the optimizer step and the scaler adapt its scale; return whether the optimizer was called.

        If gradients overflowed, a scaler does not call the optimizer, unless it is fused: then the kernel
        skips the update, and only the device knows.
        """
        assert self.optimizer is not None
        if self.scaler is None:
            self.optimizer.step()
            return True
        self._stepped = False
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return self._stepped

    def _note_update(self, *_unused: Any) -> None:
        self._stepped = True

    def _leave_out_bad(self, result: StepResult) -> None:
        """Let the optimizer skip this step if its loss or its gradient is not finite."""
        assert self.optimizer is not None
        finite = torch.isfinite(result.grad_norm) & torch.isfinite(result.loss)
        if self.scaler is None and all(group.get("fused") for group in self.optimizer.param_groups):
            # Meant for loss scalers: the fused kernel reads it on the device and then changes nothing, so
            # there is no need to wait for the device here.
            self.optimizer.found_inf = (~finite).float()  # type: ignore[attr-defined]
        elif not bool(finite):
            # Optimizers skip parameters without a gradient.
            self._clear_gradients()

    def _clear_gradients(self) -> None:
        for weight in self._in_model:
            weight.grad = None

    # ---- the forward passes of a step ---------------------------------------------------------------------

    def _take_parts(self, data: Rows, rows: list[int]) -> list[MicroBatch]:
        """Return a step's passes, on the device if they are prepared ahead, else still on the host."""
        if self._ahead is not None:
            return self._ahead.take_step(data, rows, self.size)
        return self.objective.lay_batches(data, rows, self.size)

    def _borrow_pass(self, data: Rows, batch: Sequence[int]) -> list[MicroBatch]:
        """Return one pass with a labelled example of the batch, which another rank trains."""
        labelled = [row for row in batch if self.objective.count_weight(data, [row])][:1]
        return self._lay_parts(data, labelled, self.size)[:1]

    def _lay_parts(self, data: Rows, rows: Sequence[int], size: MicroSize) -> list[MicroBatch]:
        return [part.to(self.device) for part in self.objective.lay_batches(data, rows, size)]

    def _prepare_next(self) -> None:
        """Lay out the next step while the device still computes this one."""
        step = self.step + 1
        if self._ahead is not None and step < self.total:
            epoch, place = divmod(step, self.plan.steps_per_epoch)
            mine = self.plan.find_share(self.plan.find_batch(epoch, place))
            self._ahead.prepare_step(self.read_epoch(epoch), mine, self.size)

    def _find_tried_size(self) -> MicroSize:
        """Return the size of the pass that did not fit."""
        if not self.objective.way.filled:
            return self.size
        # A filled pass may be far smaller than the limit, and half of the limit could be the same pass again.
        tokens = sum(int(self.data.lengths[row]) for row in self.recovery.rows)
        return MicroSize(
            min(self.size.sequences, max(1, len(self.recovery.rows))), min(self.size.tokens, max(1, tokens))
        )

    def _remember_pass(self, part: MicroBatch, accumulating: bool) -> None:
        """Keep the sizes of the fullest forward passes, filler and padding included."""
        sequences, length = part.input_ids.shape
        states = bool(getattr(self.optimizer, "state", None))
        self.passes.remember_pass(Pass(sequences, length, part.trained_tokens, states, accumulating))

    # ---- saving -------------------------------------------------------------------------------------------

    @property
    def _carried_states(self) -> States:
        assert self.optimizer is not None and self.scheduler is not None
        return States(self.optimizer, self.scheduler, self.scaler)

    def save_state(self, folder: Path) -> None:
        """Write the state a resumed run needs: weights, optimizer, schedule, random states, step."""
        save_trained_parameters(self.model, folder)
        self._carried_states.save_states(folder)
        self.method.save_state(self.model, folder)
        save_random_states(folder, self.ranks)
        position = Position(self.step, self.epoch)
        save_step_position(position, folder, self.total, self.plan.steps_per_epoch)
