"""The Trainer that runs the optimizer steps: HF Trainer on accelerate, with our batches and recovery.

One of Trainer's batches is one optimizer step of ours: `training_step` lets the objective lay its examples
into micro-batches, accumulates their gradients and returns the loss over the whole effective batch. So a step
can be tried again from a clean state, a resumed run seeks by step number, and nothing on the way asks the
device for a number.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, Sampler
from transformers import Trainer, TrainerCallback, TrainingArguments

from tui_tuner.compute.forward import MicroBatch, MicroSize, Rows
from tui_tuner.compute.numeric import needs_scaler, trainer_optimizer
from tui_tuner.config.resolved import ResolvedConfig
from tui_tuner.models.device import Device
from tui_tuner.objectives.base import Objective
from tui_tuner.training.step.ahead import Ahead
from tui_tuner.training.step.plan import StepPlan
from tui_tuner.training.step.recovery import Recovery, RngState
from tui_tuner.training.step.scaling import ScaleWatch
from tui_tuner.training.watching.passes import Pass, Passes

SCHEDULES = {"constant": "constant_with_warmup"}  # plain `constant` passes over the warm-up
TRAINED = "trained.safetensors"


class Steps(Dataset[list[int]]):
    """Optimizer steps as a data set: item (epoch, step) is its row numbers."""

    def __init__(self, plan: StepPlan) -> None:
        self.plan = plan

    def __len__(self) -> int:
        return len(self.plan.lengths)

    def __getitem__(self, place: tuple[int, int]) -> list[int]:
        return self.plan.batch(*place)


class StepOrder(Sampler[list[tuple[int, int]]]):
    """One batch for each optimizer step of the current epoch."""

    batch_size = 1
    drop_last = False

    def __init__(self, plan: StepPlan) -> None:
        self.plan = plan
        self.epoch = 0

    @property
    def batch_sampler(self) -> StepOrder:
        """Trainer looks for the sampler to tell the epoch inside of a wrapper; this is both."""
        return self

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return self.plan.steps_per_epoch

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        epoch = self.epoch
        yield from ([(epoch, step)] for step in range(self.plan.steps_per_epoch))


def _one(batch: list[list[int]]) -> dict[str, Any]:
    return {"rows": batch[0]}


class Engine(Trainer):
    """Trainer with the step described above. Evaluation, logging and saving are left to its callbacks."""

    def __init__(
        self,
        model: Any,
        arguments: TrainingArguments,
        callbacks: list[TrainerCallback],
        *,
        data: Rows,
        plan: StepPlan,
        objective: Objective,
        size: MicroSize,
        recovery: Recovery,
    ) -> None:
        self.data, self.plan, self.objective, self.size = data, plan, objective, size
        self.recovery = recovery
        self.last_rows: list[int] = []
        self.last_loss: Any = None
        self.last_grad_norm: Any = None
        self.last_counts = (0, 0)
        self.last_parts: list[MicroBatch] = []  # the forward passes of this process
        self.last_metrics: Mapping[str, Any] = {}
        self.passes = Passes()
        self.last_rate = 0.0
        self.skip_bad = False
        self.rate_scale = 1.0
        self._ahead = Ahead(self._lay) if objective.way.filled else None
        super().__init__(model=model, args=arguments, callbacks=callbacks, train_dataset=Steps(plan))
        self._scale_watch = ScaleWatch(self.accelerator.scaler)

    def get_train_dataloader(self) -> DataLoader:
        # A generator of its own: a DataLoader draws a number from the global one each epoch otherwise.
        return DataLoader(
            Steps(self.plan),
            batch_sampler=StepOrder(self.plan),
            collate_fn=_one,
            generator=torch.Generator(),
        )

    def floating_point_ops(self, inputs: Any) -> int:
        return 0

    def training_step(self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None) -> Any:
        """Forward and backward of one whole optimizer step; returns its loss, on the device.

        Raises:
            OutOfMemoryError: one sequence alone does not fit.
        """
        if not model.training:
            model.train()  # walks through all modules: milliseconds
        rows = inputs["rows"]
        self.last_rows = rows
        weight = self.objective.weight(self.data, rows)
        mine = self.plan.share(rows)
        before = RngState.now(self.args.device)
        while True:
            try:
                loss = self._accumulate(model, mine, weight)
                break
            except Exception as error:
                out_of_memory = self.recovery.is_out_of_memory(error)
                if not out_of_memory:
                    before.restore()  # so that the state before this step can still be saved
                    raise
                place = self.recovery.place
                self._clean(model, error)
            before.restore()
            self.size = self.recovery.smaller(self._tried(), place, self.state.global_step + 1)
        self._prepare_next()
        self.last_loss = loss
        self.last_metrics = self.objective.metrics()
        trained = int(self.data.trained_tokens[rows].sum())
        self.last_counts = (trained, sum(int(self.data.lengths[row]) for row in rows))
        return loss

    def _accumulate(self, model: Any, rows: list[int], weight: float) -> Any:
        """Gradients of all micro-batches of a step. The loss is the sum over devices of what they return.

        Args:
            weight: Of the whole effective batch, over all devices.
        """
        objective = self.objective
        objective.begin_step()
        total = torch.zeros((), device=self.args.device)
        # DDP averages the gradients of the devices, and the loss is a sum over them
        scale = self.plan.world / (weight or 1)
        self.recovery.enter("copying", rows)
        self.last_parts = parts = self._parts(rows)
        accumulating = False
        for place, part in enumerate(parts):
            if not objective.weight(self.data, part.rows):
                continue
            self.recovery.enter("forward", part.rows)
            self._remember(part, accumulating)
            accumulating = True
            micro = part if self._ahead is not None else part.to(self.args.device)
            last = place == len(parts) - 1
            synced = contextlib.nullcontext() if last else self.accelerator.no_sync(model)
            with objective.around(micro), synced:
                loss = objective.loss(model, micro) * scale
                self.recovery.enter("backward", part.rows)
                self.accelerator.backward(loss)
            total += loss.detach() / self.plan.world
        self.recovery.enter("")
        if self.plan.world > 1:
            torch.distributed.all_reduce(total)
        return total

    def _parts(self, rows: list[int]) -> list[MicroBatch]:
        """The forward passes of a step: on the device where they were made ahead, else still on the host."""
        if self._ahead is not None:
            return self._ahead.take(rows, self.size)
        return self.objective.batches(self.data, rows, self.size)

    def _lay(self, rows: Sequence[int], size: MicroSize) -> list[MicroBatch]:
        """The forward passes of a step, on the device."""
        return [part.to(self.args.device) for part in self.objective.batches(self.data, rows, size)]

    def _prepare_next(self) -> None:
        """Lay out the next step while the device still computes this one."""
        step = self.state.global_step + 1
        if self._ahead is not None and step < self.args.max_steps:
            batch = self.plan.batch(*divmod(step, self.plan.steps_per_epoch))
            self._ahead.prepare(self.plan.share(batch), self.size)

    def _tried(self) -> MicroSize:
        """What did not fit; a step that is one pass may be far less than the size allows for."""
        if not self.objective.way.filled:
            return self.size
        tokens = sum(int(self.data.lengths[row]) for row in self.recovery.rows)
        return MicroSize(
            min(self.size.sequences, max(1, len(self.recovery.rows))), min(self.size.tokens, max(1, tokens))
        )

    def _remember(self, part: MicroBatch, accumulating: bool) -> None:
        """Keep the sizes of the fullest forward passes, with filler and padding: they decide about memory."""
        sequences, length = part.input_ids.shape
        states = bool(getattr(self.optimizer, "state", None))
        self.passes.remember(Pass(sequences, length, part.trained_tokens, states, accumulating))

    def _clean(self, model: Any, error: Exception) -> None:
        """Forget the gradients and activations of a failed attempt, and give cached memory back."""
        for parameter in model.parameters():
            parameter.grad = None
        self.recovery.free(error)

    def _clip_grad_norm(self, model: Any) -> Any:
        # Trainer looks through all parameters of the model, which takes longer than clipping an adapter's
        trained = [parameter for group in self.optimizer.param_groups for parameter in group["params"]]
        return self.accelerator.clip_grad_norm_(trained, self.args.max_grad_norm)

    def _get_grad_norm(self, model: Any, grad_norm: Any = None) -> Any:
        norm = super()._get_grad_norm(model, grad_norm=grad_norm)
        self.last_grad_norm = norm.detach() if isinstance(norm, torch.Tensor) else norm
        if self.skip_bad:
            self._leave_out_bad(model)
        return norm

    def _leave_out_bad(self, model: Any) -> None:
        """Let the optimizer pass over this step where its loss or its gradient is not finite."""
        finite = torch.isfinite(torch.as_tensor(self.last_grad_norm)) & torch.isfinite(self.last_loss)
        inner: Any = getattr(self.optimizer, "optimizer", self.optimizer)
        if self.accelerator.scaler is None and all(group.get("fused") for group in inner.param_groups):
            # Its kernel reads this and changes nothing, as for a loss scaler; so the device is not asked
            inner.found_inf = (~finite).float()
        elif not bool(finite):
            for parameter in model.parameters():
                parameter.grad = None  # the optimizer passes over a parameter without a gradient

    def create_optimizer(self, model: Any = None) -> Any:
        optimizer = super().create_optimizer() if model is None else super().create_optimizer(model)
        self.recovery.guard(optimizer, lambda: self.state.global_step + 1)
        return optimizer

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        load_trained(self.model if model is None else model, Path(resume_from_checkpoint))

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is not None and self.rate_scale != 1.0:
            scale_rate(self.lr_scheduler, self.optimizer, self.rate_scale)

    def step_was_skipped(self) -> Any:
        """Whether the loss scaler skipped the last step, as its gradients overflowed; ask once a step.

        A bool, or a tensor with one, still on the device.
        """
        return self._scale_watch.skipped()

    def save_state(self, folder: Path) -> None:
        """Write what a resumed run needs into a folder: weights, optimizer, schedule, random states, step."""
        save_trained(self.model, folder)
        self._save_optimizer_and_scheduler(str(folder))
        self._save_scaler(str(folder))
        self._save_rng_state(str(folder))
        self.state.save_to_json(str(folder / "trainer_state.json"))


def scale_rate(scheduler: Any, optimizer: Any, scale: float) -> None:
    """Multiply the learning rate, now and in all that the schedule still gives."""
    scheduler.base_lrs = [rate * scale for rate in scheduler.base_lrs]
    scheduler._last_lr = [rate * scale for rate in scheduler.get_last_lr()]
    for group in optimizer.param_groups:
        group["lr"] *= scale
        group["initial_lr"] *= scale


def save_trained(model: Any, folder: Path) -> None:
    """Write the trained parameters, under their own names, to `trained.safetensors`."""
    from safetensors.torch import save_file

    tensors = {
        name: parameter.detach().cpu().contiguous()
        for name, parameter in model.named_parameters()
        if parameter.requires_grad
    }
    save_file(tensors, folder / TRAINED)


def load_trained(model: Any, folder: Path) -> None:
    """Read `trained.safetensors` back in place.

    Raises:
        ValueError: its names are not the model's trained parameters.
    """
    from safetensors import safe_open

    wanted = {name: p for name, p in model.named_parameters() if p.requires_grad}
    with safe_open(folder / TRAINED, framework="pt") as file, torch.no_grad():
        if set(file.keys()) != set(wanted):
            raise ValueError("the checkpoint holds other weights than this run trains")
        for name, parameter in wanted.items():
            parameter.copy_(file.get_tensor(name))


def training_arguments(
    config: ResolvedConfig, folder: Path, total_steps: int, device: Device
) -> TrainingArguments:
    """Trainer's settings; everything that prints, evaluates or saves is off."""
    training = config.training
    warmup = round(training.warmup * total_steps)
    extras: dict[str, Any] = {}
    if training.schedule == "warmup_stable_decay":
        extras["lr_scheduler_kwargs"] = {"num_decay_steps": max(1, round(0.1 * total_steps))}
    arguments = TrainingArguments(
        output_dir=str(folder),
        max_steps=total_steps,
        learning_rate=training.learning_rate,
        lr_scheduler_type=SCHEDULES.get(training.schedule, training.schedule),
        warmup_steps=warmup,
        optim=trainer_optimizer(device, config),
        weight_decay=training.weight_decay,
        adam_beta1=training.adam_beta1,
        adam_beta2=training.adam_beta2,
        max_grad_norm=training.max_grad_norm,
        gradient_accumulation_steps=1,
        fp16=needs_scaler(device, config),
        seed=training.seed,
        full_determinism=False,
        use_cpu=device.kind == "cpu",
        use_cache=True,
        logging_strategy="no",
        eval_strategy="no",
        save_strategy="no",
        logging_nan_inf_filter=False,
        report_to="none",
        disable_tqdm=True,
        log_level="error",
        remove_unused_columns=False,
        ddp_find_unused_parameters=False,
        **extras,
    )
    arguments._n_gpu = min(1, arguments.n_gpu)  # several devices are torchrun's business, not DataParallel's
    return arguments
