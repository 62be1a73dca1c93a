"""One run's training: the parts it needs, made in order, and the steps from the first to the last."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from transformers import PrinterCallback, set_seed

from tui_tuner.compute.forward import MicroSize
from tui_tuner.compute.kernels.chosen import Chosen
from tui_tuner.compute.rows.sizes import fills_rows
from tui_tuner.data.examples.prepare import Prepared
from tui_tuner.locales import _
from tui_tuner.objectives.base import Objective
from tui_tuner.objectives.setup import Setup
from tui_tuner.planning.data_facts import steps_of
from tui_tuner.planning.learning_rate import usual_rate
from tui_tuner.runs.events import Phase
from tui_tuner.training.base_model import RECORD, keep_base, read_base
from tui_tuner.training.context import LEDGER, RunContext
from tui_tuner.training.evaluating import Evaluator, Interrupted
from tui_tuner.training.keeping.disk import check_room
from tui_tuner.training.keeping.model_card import Facts, read_ledger, write_card
from tui_tuner.training.keeping.progress import micro_size
from tui_tuner.training.keeping.rollback import train_steps
from tui_tuner.training.keeping.saving import Saver
from tui_tuner.training.loading import load_trainable
from tui_tuner.training.loop import Loop, StopHere
from tui_tuner.training.origin import sources
from tui_tuner.training.resuming import keep_choices
from tui_tuner.training.rows import load_run_tokenizer, prepare_rows
from tui_tuner.training.settling import Settled, settle_config
from tui_tuner.training.step.engine import Engine, training_arguments
from tui_tuner.training.step.plan import StepPlan
from tui_tuner.training.step.recovery import Recovery
from tui_tuner.training.surroundings import device_name, versions
from tui_tuner.training.watching.curve import CurveWatch
from tui_tuner.training.watching.idle import idle_watch
from tui_tuner.training.watching.kernels import attention_chosen, kernels_event, tell_of_failures
from tui_tuner.training.watching.memory_check import MemoryCheck
from tui_tuner.training.watching.meter import step_meter
from tui_tuner.training.watching.numbers import NumberWatch
from tui_tuner.training.watching.pace import Pace
from tui_tuner.training.watching.reporting import StepReports, device_memory

SAMPLED_STEPS = 16  # whose rows tell whether sequences share a prefix
USUAL_STEPS = 256  # whose tokens tell how long rows usually are


def prepare_training(context: RunContext) -> Training:
    """Load and check everything; nothing is trained yet.

    Raises:
        TunerError: something of it cannot be had.
        Stopped: a stop was asked for meanwhile.
    """
    config = keep_choices(context)
    tokenizer = load_run_tokenizer(context, config)
    context.commands.check()
    prepared = prepare_rows(context, config, tokenizer)
    context.commands.check()
    settled = settle_config(context, config, prepared)
    retry = settled.config.training.on_out_of_memory == "retry"
    recovery = Recovery(context.reporter, retry, lambda row: str(prepared.train.origin(row)))
    kernels: list[Chosen] = []
    model = load_trainable(
        settled.config,
        settled.device,
        tokenizer,
        context.task,
        prepared.learned,
        context.reporter,
        recovery,
        [part for part in (prepared.train, prepared.validation) if part is not None],
        kernels,
    )
    context.commands.check()
    keep_base(context, settled.config.model)
    check_room(model, settled.config, context.folder.path, context.reporter)
    return Training(context, settled, prepared, tokenizer, model, recovery, kernels)


class Training:
    """A model, the rows it is trained on, and everything that happens around its steps."""

    def __init__(
        self,
        context: RunContext,
        settled: Settled,
        prepared: Prepared,
        tokenizer: Any,
        model: Any,
        recovery: Recovery,
        kernels: Sequence[Chosen] = (),
    ) -> None:
        self.context, self.settled, self.prepared = context, settled, prepared
        self.config, self.device = settled.config, settled.device
        self.tokenizer, self.model, self.recovery = tokenizer, model, recovery
        training, train = self.config.training, prepared.train
        self.plan = StepPlan(
            train.lengths,
            training.batch_size,
            training.seed,
            context.ranks.world,
            context.ranks.rank,
            train.columns.get("group"),
        )
        self.total = steps_of(self.plan.units, training.batch_size, training.epochs, training.max_steps)
        self.size = self._first_size()
        context.task.keep(model, context.progress.newest)
        self.objective = context.task.objective(self.config)
        self.objective.prepare(self.setup)
        tell_of_failures(context.reporter)
        attention = attention_chosen(model, self.objective.way, self.device)
        context.reporter.emit(kernels_event([*attention, *kernels]))
        self.recovery.random = context.progress.random = self.objective.random
        if not self.objective.exact:
            self.size = MicroSize(1, self.size.tokens)
        self.loop = self._make_loop()
        self.engine = self._make_engine()

    def _first_size(self) -> MicroSize:
        """The micro-batch to begin with: smaller than planned where memory ran out in the run before."""
        micro = self.config.training.micro_batch
        planned = MicroSize(micro, micro * self.config.data.max_length)
        return micro_size(self.context.progress, planned)

    @cached_property
    def setup(self) -> Setup:
        """What the objective is prepared with."""
        plan, context = self.plan, self.context
        first = range(min(SAMPLED_STEPS, plan.steps_per_epoch))
        pad, held_out = self.tokenizer.pad_token_id, self.prepared.validation
        return Setup(
            model=self.model,
            rows=self.prepared.train,
            batches=[plan.share(plan.batch(0, step)) for step in first],
            config=self.config,
            device=self.device,
            pad=0 if pad is None else pad,
            tokens=self.size.tokens,
            voice=context.reporter,
            state=context.progress.path,
            longest_row=max(int(rows.lengths.max()) for rows in (self.prepared.train, held_out) if rows),
            usual=plan.tokens_of_steps(USUAL_STEPS) if fills_rows(self.device) else (),
            tokenizer=self.tokenizer,
        )

    def _make_loop(self) -> Loop:
        context, config = self.context, self.config
        reporter = context.reporter
        evaluator = Evaluator(
            reporter,
            self.recovery,
            torch.device(self.device.place),
            self.objective,
            self.prepared.validation,
            context.task.samples(config, self.tokenizer, self.prepared.validation)
            if context.ranks.main
            else None,
            context.progress,
            context.commands.stop_wanted,
        )
        meter = step_meter(
            context.asked,
            config,
            self.device,
            self.settled.facts,
            lambda: self.objective.stored_layers,
            reporter.emit,
            reporter.log,
        )
        every = config.training.report_every
        progress, peak = context.progress, float(config.training.learning_rate)
        clipped = bool(config.training.max_grad_norm)
        usual = usual_rate(context.asked, self.settled.facts)
        reports = StepReports(
            reporter,
            every,
            device_memory(self.device.place),
            meter,
            NumberWatch(progress.told, peak, clipped),
            CurveWatch(progress, self.total, peak, usual.low, usual.rate),
        )
        saver = Saver(
            config,
            context.folder,
            reporter,
            self.recovery,
            self.tokenizer,
            self.total,
            context.progress,
            context.ranks.main,
            self._describe,
        )
        return Loop(
            config,
            reporter,
            context.commands,
            reports,
            evaluator,
            saver,
            self.total,
            context.progress,
            context.task.metrics,
        )

    def _describe(self, folder: Path, model: Any, step: int) -> None:
        """Write the card of a final model and, beside an adapter, which weights it belongs to."""
        context, config = self.context, self.config
        if hasattr(model, "peft_config"):
            (folder / RECORD).write_text(read_base(context.folder.path).text(), encoding="utf-8")
        source = sources(config.model)[0]
        facts = Facts(
            config=config,
            label=config.task_kind.label,
            peft_type=context.task.peft_type,
            step=step,
            total=self.total,
            measured={int(name): metrics for name, metrics in context.progress.measured.items()},
            ledger=read_ledger(context.folder.path / LEDGER),
            revision=source.revision,
            origin=source.place,
            device=device_name(config),
            versions=versions(),
        )
        write_card(folder, model, self.tokenizer, facts)

    def _make_engine(self) -> Engine:
        context, config = self.context, self.config
        if context.ranks.world == 1:
            _forget_accelerator()
        engine = Engine(
            self.model,
            training_arguments(config, context.folder.path, self.total, self.device),
            [self.loop],
            data=self.prepared.train,
            plan=self.plan,
            objective=self.objective,
            size=self.size,
            recovery=self.recovery,
        )
        engine.remove_callback(PrinterCallback)
        if self.device.kind == "cuda":
            engine.add_callback(
                MemoryCheck(config, self.device.place, context.reporter, engine.passes.fullest)
            )
        saver = self.loop.saver
        pace = Pace(
            context.asked,
            config,
            self.settled.facts,
            self.settled.data,
            context.reporter,
            lambda: saver.spent,
            lambda: context.commands.waited,
            self.total,
            self.loop.interludes,
            context.progress.told,
        )
        engine.add_callback(pace)
        engine.skip_bad = config.training.on_bad_numbers == "skip"
        saver.engine = engine
        return engine

    # ---- the steps ----------------------------------------------------------------------------------------

    def train(self) -> Loop:
        """Train to the end, or to a stop."""
        engine, loop, context = self.engine, self.loop, self.context
        checkpoint = context.checkpoint
        start = checkpoint.step if checkpoint else 0
        context.reporter.emit(Phase("training", start, loop.total))
        if checkpoint is None:
            loop.saver.begin_again()
            loop.evaluate_before()
            self._show(0, "before")
            context.commands.check()
            set_seed(self.config.training.seed)
        ended = start >= loop.total or context.progress.early
        if checkpoint is not None and not loop.saver.restore_best() and ended:
            context.progress.owed = True  # only an evaluation makes another `best`
        if checkpoint is not None and ended:
            engine._load_from_checkpoint(str(checkpoint.path))  # only the end is missing
            loop.make_good(checkpoint)
        else:
            if checkpoint is not None:
                context.reporter.phase("loading", note=_("the checkpoint of step {step}", step=start))
            self._take_steps()
        loop.finish(context.reporter.step)
        if not loop.stopped and not self._show(context.reporter.step, "after"):
            loop.stopped = "asked"  # resumed, it shows them
        return loop

    def _take_steps(self) -> None:
        """All optimizer steps; what is whole is saved if one of them fails."""
        self._store_states(self.objective)
        reporter = self.context.reporter
        idle = idle_watch(self.device.place, reporter.emit, lambda: reporter.resting)
        if idle is not None and self.context.ranks.main:
            idle.start()
        try:
            train_steps(self.engine, self.loop, self.context.checkpoint)
        except StopHere:
            return
        except Exception:
            self.loop.rescue()
            raise
        finally:
            self.loop.saver.wait()  # whoever resumes clears half-written checkpoints away
            self.loop.reports.meter.stop()
            if idle is not None:
                idle.stop()
            self.objective.close()

    def _store_states(self, objective: Objective) -> None:
        """Below the first trained layer each epoch computes the same: with two of them it is stored."""
        if self.plan.world == 1 and self.total >= 2 * self.plan.steps_per_epoch:
            objective.store_states(self.setup, self.context.folder.path, self.context.commands.check)

    def _show(self, step: int, stage: Any) -> bool:
        """What the model makes of the samples; whether that was not interrupted."""
        try:
            self.loop.evaluator.answer(self.model, step, stage)
        except Interrupted:
            return False
        return True


def _forget_accelerator() -> None:
    """accelerate keeps one state for each process; a second run in it may compute otherwise."""
    from accelerate.state import AcceleratorState, GradientState

    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()
