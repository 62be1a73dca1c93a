"""Make the parts of one run's training in order, and run its steps from the first to the last."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from tui_tuner.compute.forward import MicroSize
from tui_tuner.compute.kernels.chosen_kernel import ChosenKernel
from tui_tuner.compute.rows.row_sizes import fills_rows
from tui_tuner.data.examples.prepare import PreparedRows
from tui_tuner.locales import _
from tui_tuner.methods import find_method
from tui_tuner.methods.attached import is_adapter_model
from tui_tuner.objectives.objective import Objective
from tui_tuner.objectives.setup import Setup
from tui_tuner.planning.data_facts import count_optimizer_steps
from tui_tuner.planning.learning_rate import find_model_rate
from tui_tuner.planning.traps.stack_traps import check_stacks
from tui_tuner.runs.events import Phase
from tui_tuner.training.base_model import RECORD, keep_base_record, read_base_record
from tui_tuner.training.context import LEDGER, RunContext
from tui_tuner.training.evaluator import EvaluationInterrupt, Evaluator
from tui_tuner.training.interruptions import StopHere
from tui_tuner.training.keeping.disk import check_disk_room
from tui_tuner.training.keeping.model_card import CardFacts, read_card_ledger, write_card
from tui_tuner.training.keeping.progress import choose_micro_size
from tui_tuner.training.keeping.rollback import train_with_rollback
from tui_tuner.training.keeping.saving import Saver
from tui_tuner.training.loop import Loop
from tui_tuner.training.model_loading import load_trainable
from tui_tuner.training.origin import find_model_sources
from tui_tuner.training.resuming import keep_resumed_choices
from tui_tuner.training.row_preparation import load_run_tokenizer, prepare_rows
from tui_tuner.training.settling import SettledConfig, settle_config
from tui_tuner.training.starting import begin_with_adapter, find_start, merge_start
from tui_tuner.training.step.engine import Engine
from tui_tuner.training.step.first_passes import begin_method
from tui_tuner.training.step.plan import StepPlan
from tui_tuner.training.step.random_states import seed_everything
from tui_tuner.training.step.recovery import Recovery
from tui_tuner.training.surroundings import name_training_device, read_package_versions
from tui_tuner.training.watching.curve_watch import CurveWatch
from tui_tuner.training.watching.idle import make_idle_watch
from tui_tuner.training.watching.kernels import (
    describe_chosen_attention,
    make_kernels_event,
    warn_of_kernel_failures,
)
from tui_tuner.training.watching.memory_check import MemoryCheck
from tui_tuner.training.watching.number_watch import NumberWatch
from tui_tuner.training.watching.pace import Pace
from tui_tuner.training.watching.reporting import StepReports, make_memory_reader
from tui_tuner.training.watching.step_meter import make_step_meter

SAMPLED_STEPS = 16  # their rows show whether sequences share a prefix
USUAL_STEPS = 256  # their tokens show how long rows usually are


def prepare_training(context: RunContext) -> Training:
    """Load and check everything; nothing is trained yet.

    Raises:
        TunerError: a part of it is missing, damaged or too large.
        StopRequested: a stop was requested meanwhile.
    """
    config = begin_with_adapter(context, keep_resumed_choices(context))
    check_stacks(config)
    tokenizer = load_run_tokenizer(context, config)
    context.commands.check_stop()
    # Rows before the model: many values of `auto` depend on them, and their faults show up early.
    prepared = prepare_rows(context, config, tokenizer)
    context.commands.check_stop()
    settled = settle_config(context, config, prepared)
    merged = merge_start(context, settled.config, tokenizer, prepared.learned)
    settled = replace(settled, config=merged)
    retry = settled.config.training.on_out_of_memory == "retry"
    recovery = Recovery(context.reporter, retry, lambda row: str(prepared.train.example_origin(row)))
    kernels: list[ChosenKernel] = []
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
        find_start(context.folder.path, settled.config),
    )
    context.commands.check_stop()
    keep_base_record(context, settled.config.model)
    # Only now, because the size of a checkpoint follows from the weights that are trained.
    check_disk_room(model, settled.config, context.folder.path, context.reporter)
    return Training(context, settled, prepared, tokenizer, model, recovery, kernels)


class Training:
    """A model, its rows, and everything that is needed to train it on them."""

    def __init__(
        self,
        context: RunContext,
        settled: SettledConfig,
        prepared: PreparedRows,
        tokenizer: Any,
        model: Any,
        recovery: Recovery,
        kernels: Sequence[ChosenKernel] = (),
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
        self.total = count_optimizer_steps(
            self.plan.units, training.batch_size, training.epochs, training.max_steps
        )
        find_method(self.config.method.kind).check_steps(self.config.method, self.total)
        self.size = self._first_size()
        context.task.keep_metrics(model, context.progress.newest_metrics)
        self.objective = context.task.make_objective(self.config)
        self.objective.prepare_way(self.objective_setup)
        warn_of_kernel_failures(context.reporter)
        attention = describe_chosen_attention(model, self.objective.way, self.device)
        context.reporter.emit(make_kernels_event([*attention, *kernels]))
        self.recovery.random = context.progress.random = self.objective.is_random
        # No way proved exact with several sequences in a forward pass; alone, a sequence needs no padding.
        if not self.objective.exact:
            self.size = MicroSize(1, self.size.tokens)
        self.loop = self._make_loop()
        self.engine = self._make_engine()

    def _first_size(self) -> MicroSize:
        """Return the first micro-batch: smaller than planned if memory ran out before the run was resumed."""
        micro = self.config.training.micro_batch
        planned = MicroSize(micro, micro * self.config.data.max_length)
        return choose_micro_size(self.context.progress, planned)

    @cached_property
    def objective_setup(self) -> Setup:
        """Return the model, rows and settings that the objective is prepared with."""
        plan, context = self.plan, self.context
        first = range(min(SAMPLED_STEPS, plan.steps_per_epoch))
        pad, held_out = self.tokenizer.pad_token_id, self.prepared.validation
        return Setup(
            model=self.model,
            rows=self.prepared.train,
            batches=[plan.find_share(plan.find_batch(0, step)) for step in first],
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
            torch.device(self.device.torch_name),
            self.objective,
            self.prepared.validation,
            context.task.make_samples(config, self.tokenizer, self.prepared.validation)
            if context.ranks.is_main
            else None,
            context.progress,
            context.commands.stop_wanted,
            context.task.decides_by_answers(config),
        )
        meter = make_step_meter(
            context.asked,
            config,
            self.device,
            self.settled.facts,
            lambda: self.objective.stored_layers,
            reporter.emit,
            reporter.report_log,
        )
        every = config.training.report_every
        progress, peak = context.progress, float(config.training.learning_rate)
        clipped = bool(config.training.max_grad_norm)
        usual = find_model_rate(context.asked, self.settled.facts)
        reports = StepReports(
            reporter,
            every,
            make_memory_reader(self.device.torch_name),
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
            context.ranks.is_main,
            self._describe_model,
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

    def _describe_model(self, folder: Path, model: Any, step: int) -> None:
        """Write the card of a final model and, next to an adapter, the record of its base model."""
        context, config = self.context, self.config
        if is_adapter_model(model):
            (folder / RECORD).write_text(
                read_base_record(context.folder.path).format_record(), encoding="utf-8"
            )
        source = find_model_sources(config.model)[0]
        facts = CardFacts(
            config=config,
            label=config.task_kind.label,
            peft_type=context.task.peft_type,
            step=step,
            total=self.total,
            measured={int(name): metrics for name, metrics in context.progress.measured.items()},
            ledger=read_card_ledger(context.folder.path / LEDGER),
            revision=source.revision,
            origin=source.place,
            device=name_training_device(config),
            versions=read_package_versions(),
        )
        write_card(folder, model, self.tokenizer, facts)

    def _make_engine(self) -> Engine:
        context, config = self.context, self.config
        engine = Engine(
            self.model,
            config,
            self.device,
            self.total,
            data=self.prepared.train,
            plan=self.plan,
            objective=self.objective,
            size=self.size,
            recovery=self.recovery,
            ranks=context.ranks,
            method=find_method(config.method.kind),
        )
        # The saver gets its engine below: it had to exist first, because the loop is made with it.
        saver = self.loop.saver
        pace = Pace(
            context.asked,
            config,
            self.settled.facts,
            self.settled.data,
            context.reporter,
            lambda: saver.spent_seconds,
            lambda: context.commands.waited,
            self.total,
            self.loop.interludes,
            context.progress.told,
        )
        if self.device.kind == "cuda":
            place, fullest = self.device.torch_name, engine.passes.list_fullest
            self.loop.watchers.append(MemoryCheck(config, place, context.reporter, fullest))
        self.loop.watchers.append(pace)
        saver.engine = engine
        return engine

    # ---- the steps ----------------------------------------------------------------------------------------

    def train_run(self) -> Loop:
        """Train to the end, or to a stop."""
        engine, loop, context = self.engine, self.loop, self.context
        checkpoint = context.checkpoint
        start = checkpoint.step if checkpoint else 0
        if checkpoint is None and engine.method.reads_rows(self.config.method):
            context.reporter.report_phase("loading", note=_("looking at the first rows"))
            begin_method(engine)
        context.reporter.emit(Phase("training", start, loop.total))
        if checkpoint is None:
            loop.saver.begin_again()
            loop.evaluate_before()
            self._show_samples(0, "before")
            context.commands.check_stop()
            # The answers above may have drawn random numbers; the steps must not depend on them.
            seed_everything(self.config.training.seed)
        ended = start >= loop.total or context.progress.early
        if checkpoint is not None and not loop.saver.restore_best() and ended:
            context.progress.owed = True  # only an evaluation can write another `best`
        if checkpoint is not None and ended:
            # All steps are taken and only the end is missing, which needs no optimizer.
            engine.load_weights(checkpoint.path)
            loop.finish_owed(checkpoint)
        else:
            if checkpoint is not None:
                context.reporter.report_phase("loading", note=_("the checkpoint of step {step}", step=start))
            self._take_steps()
        loop.finish_run(context.reporter.step)
        if not loop.stopped and not self._show_samples(context.reporter.step, "after"):
            loop.stopped = "asked"  # not complete, so that a resumed run shows them
        return loop

    def _take_steps(self) -> None:
        """Take all optimizer steps; try to save a checkpoint if one of them fails."""
        self._store_states(self.objective)
        reporter = self.context.reporter
        idle = make_idle_watch(self.device.torch_name, reporter.emit, lambda: reporter.is_resting)
        if idle is not None and self.context.ranks.is_main:
            idle.start_idle_watch()
        try:
            train_with_rollback(self.loop, self.context.checkpoint)
        except StopHere:
            return
        except Exception:
            self.loop.rescue_checkpoint()
            raise
        finally:
            # A run that is resumed removes half-written checkpoints, so none may still be in the making.
            self.loop.saver.wait_for_writer()
            self.loop.reports.meter.stop_meter()
            if idle is not None:
                idle.stop_idle_watch()
            self.objective.close()

    def _store_states(self, objective: Objective) -> None:
        """Store what the frozen layers below the first trained one compute, if there are several epochs."""
        if self.plan.world == 1 and self.total >= 2 * self.plan.steps_per_epoch:
            objective.store_states(
                self.objective_setup, self.context.folder.path, self.context.commands.check_stop
            )

    def _show_samples(self, step: int, stage: Any) -> bool:
        """Show the model's answers to samples; return False if that was interrupted."""
        try:
            with self.engine.show_result():
                self.loop.evaluator.show_samples(self.model, step, stage)
        except EvaluationInterrupt:
            return False
        return True
