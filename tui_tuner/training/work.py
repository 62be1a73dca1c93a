"""The parts of one run, made in order: tokenizer, rows, resolved config, model, engine; then the training."""

from __future__ import annotations

import hashlib
import json
import os
from typing import Any

import numpy as np
import torch
from transformers import set_seed

from tui_tuner.compute import attention, low_rank
from tui_tuner.compute.batches import MicroSize, StepPlan
from tui_tuner.compute.gradient_checkpointing import checkpoint_layers
from tui_tuner.compute.noise import EmbeddingNoise
from tui_tuner.config.load import build_config, dump_config, read_yaml
from tui_tuner.config.options import get_value, options
from tui_tuner.config.schema import RunConfig
from tui_tuner.errors import DataError, ModelError, OutOfMemoryError, TunerError
from tui_tuner.methods import attach, trainable_parameters
from tui_tuner.models.loading import check_device, load_tokenizer
from tui_tuner.planning.data_facts import steps_of
from tui_tuner.runs.events import Body, Log, Phase, Resolved, RowLedger
from tui_tuner.runs.store import RunFolder
from tui_tuner.runs.wire import fields_of
from tui_tuner.tasks import TASKS
from tui_tuner.text import one_line
from tui_tuner.training.commands import Commands, Stopped
from tui_tuner.training.evaluating import Evaluator, Interrupted
from tui_tuner.training.keeping.checkpoints import Checkpoint
from tui_tuner.training.keeping.disk import check_room
from tui_tuner.training.keeping.rollback import train_steps
from tui_tuner.training.keeping.saving import Progress, Saver, micro_size, read_progress
from tui_tuner.training.loop import Loop
from tui_tuner.training.positions import check_positions
from tui_tuner.training.step.engine import Engine, training_arguments
from tui_tuner.training.step.recovery import Recovery
from tui_tuner.training.watching.memory_check import MemoryCheck
from tui_tuner.training.watching.pace import Pace
from tui_tuner.training.watching.reporting import Reporter, StepReports, device_memory
from tui_tuner.training.ways import Ways

RESOLVED = "config.resolved.yaml"
TOKENIZER = "tokenizer"
LEDGER = "ledger.json"


class Work:
    """Everything one run holds while it lasts."""

    def __init__(
        self,
        config: RunConfig,
        folder: RunFolder,
        reporter: Reporter,
        commands: Commands,
        checkpoint: Checkpoint | None,
    ) -> None:
        self.asked = config
        self.config = config
        self.folder = folder
        self.reporter = reporter
        self.commands = commands
        self.checkpoint = checkpoint
        self.task = TASKS[config.task]
        self.world = int(os.environ.get("WORLD_SIZE", "1"))
        self.rank = int(os.environ.get("RANK", "0"))
        self.progress = read_progress(checkpoint.path) if checkpoint else Progress()
        self.recovery = Recovery(reporter, config.training.on_out_of_memory == "retry", self._origin)

    # ---- before the first step -----------------------------------------------------------------------

    def prepare(self) -> None:
        """Load and check everything; nothing is trained yet."""
        self._known_choices()
        self.tokenizer = self._tokenizer()
        self.commands.check()
        self.prepared = self._data()
        self.commands.check()
        self._resolve()
        self.model = self._model()
        self.commands.check()
        check_room(self.model, self.config, self.folder.path, self.reporter)
        self._engine()

    def _known_choices(self) -> None:
        """In a resumed run, what an `auto` became before stays what it is."""
        path = self.folder.path / RESOLVED
        if self.checkpoint is None or not path.is_file():
            return
        values, lines = read_yaml(path)
        before = build_config(values, where=one_line(path), lines=lines)
        chosen = self.asked.model_copy(deep=True)
        for name in options():
            if get_value(chosen, name) == "auto":
                section, _, field = name.rpartition(".")
                if "." not in section and section:
                    setattr(getattr(chosen, section), field, get_value(before, name))
        self.config = chosen

    def _tokenizer(self) -> Any:
        self.reporter.phase("loading", note="tokenizer")
        if self.config.model.tokenizer != "train":
            return load_tokenizer(self.config.model)
        kept = self.folder.path / TOKENIZER
        if (kept / "tokenizer.json").is_file():
            section = self.config.model.model_copy(update={"tokenizer": str(kept)})
            return load_tokenizer(section)
        from tui_tuner.data.examples.prepare import texts
        from tui_tuner.models.tokenizer_training import train_tokenizer

        self.reporter.phase("tokenizing", note="learning a tokenizer")
        tokenizer = train_tokenizer(texts(self.config), self.config.model.vocabulary)
        tokenizer.save_pretrained(str(kept))
        return tokenizer

    def _data(self) -> Any:
        from tui_tuner.data.examples.prepare import Cancelled, prepare

        self.reporter.phase("tokenizing")
        try:
            prepared = prepare(self.config, self.tokenizer, sink=self, cancelled=self.commands.stop_wanted)
        except Cancelled:
            raise Stopped from None
        if not len(prepared.train):
            raise DataError("nothing is left to train on.", where=one_line(self.config.data.path))
        return prepared

    def emit(self, body: Body) -> None:
        """What preparing the data says, to the journal; the row ledger is kept in the run folder too."""
        if isinstance(body, RowLedger) and self.rank == 0:
            self.folder.write(LEDGER, json.dumps(fields_of(body), indent=1))
        self.reporter.emit(body)

    def _resolve(self) -> None:
        from tui_tuner.planning import hardware
        from tui_tuner.planning.data_facts import counted_facts
        from tui_tuner.planning.fit import settle

        facts = _model_facts(self.config)
        data = counted_facts(self.prepared.train, self.prepared.validation)
        self.facts, self.shapes = data, facts
        parts = (self.prepared.train, self.prepared.validation)
        longest = max(int(rows.lengths.max()) for rows in parts if rows is not None and len(rows))
        check_positions(facts, longest, self.reporter, self.config.method.prompt_length)
        found = settle(self.config, hardware=hardware.detect(), model_facts=facts, data_facts=data)
        for reason in found.reasons:
            self.reporter.emit(Resolved(reason.field, reason.value, reason.why))
        self.config = found.config
        self.folder.write(RESOLVED, dump_config(self.config))
        self.device = _device(self.config)
        check_device(self.device)

    def _model(self) -> Any:
        self.reporter.phase("loading", note="model")
        if self.config.training.deterministic:
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(self.config.training.deterministic)
        tf32 = self.config.training.tf32 and self.device != "cpu"
        torch.set_float32_matmul_precision("high" if tf32 else "highest")
        attention.register()
        try:
            self.recovery.enter("loading")
            model = self.task.load(self.config, self.device, self.tokenizer)
        except Exception as error:
            if not self.recovery.is_out_of_memory(error):
                raise
            raise OutOfMemoryError(
                "memory ran out while the model was loaded.",
                where="model",
                hint="Quantise it (model.quantization: nf4), or choose a smaller one.",
            ) from error
        rows = model.get_input_embeddings().weight.shape[0]
        if len(self.tokenizer) > rows:
            raise ModelError(
                f"the tokenizer has {len(self.tokenizer)} tokens, the model only {rows}.",
                where="model.tokenizer",
                hint="Use the tokenizer that belongs to the model.",
            )
        self._stop_tokens(model)
        set_seed(self.config.training.seed)
        model = attach(model, self.config)
        low_rank.quicken(model)
        if self.config.training.gradient_checkpointing is True:
            checkpoint_layers(model)
        trained, total = trainable_parameters(model)
        self.reporter.emit(Log(f"{trained:,} of {total:,} parameters are trained ({trained / total:.2%})."))
        return model

    def _stop_tokens(self, model: Any) -> None:
        """Tokens that end the trained answers end generation too, also in what is saved."""
        known = getattr(model.generation_config, "eos_token_id", None)
        known = [known] if isinstance(known, int) else list(known or [])
        stops = known + [token for token in self.prepared.stop_ids if token not in known]
        if stops:
            model.generation_config.eos_token_id = stops if len(stops) > 1 else stops[0]

    def _same_rows(self) -> None:
        """Raise `DataError` if a resumed run would see other rows than before."""
        train = self.prepared.train
        found = hashlib.sha256()
        for array in (train.lengths, train.supervised):
            found.update(np.ascontiguousarray(array).tobytes())
        digest = found.hexdigest()[:16]
        if self.progress.rows and self.progress.rows != digest:
            raise DataError(
                "the training rows are not those the run began with, so it cannot go on exactly.",
                where=one_line(self.config.data.path),
                hint="Put the old file back, or start a new run.",
            )
        self.progress.rows = digest

    def _origin(self, row: int) -> str:
        return str(self.prepared.train.origin(row))

    def _engine(self) -> None:
        config, train = self.config, self.prepared.train
        training = config.training
        self._same_rows()
        plan = StepPlan(train.lengths, training.batch_size, training.seed, self.world, self.rank)
        total = steps_of(len(train), training.batch_size, training.epochs, training.max_steps)
        micro = int(training.micro_batch) if training.micro_batch != "auto" else 1
        size = micro_size(self.progress, MicroSize(micro, micro * config.data.max_length))
        pad = self.tokenizer.pad_token_id
        pad = 0 if pad is None else pad
        self.ways = Ways(self.model, train, plan, config, self.device, self.reporter)
        found = self.ways.choose(self.progress.path, size.tokens, pad)
        if not found.exact:
            size = MicroSize(1, size.tokens)
        evaluator = Evaluator(
            config,
            self.tokenizer,
            self.reporter,
            self.recovery,
            torch.device(self.device),
            pad,
            self.prepared.validation,
            self.prepared.held_out,
            self.task.generates,
            self.commands.stop_wanted,
        )
        reports = StepReports(self.reporter, training.report_every, device_memory(self.device))
        saver = Saver(config, self.folder, self.reporter, self.recovery, self.tokenizer, total, self.progress)
        self.loop = Loop(
            config, self.reporter, self.commands, reports, evaluator, saver, total, self.progress
        )
        _forget_accelerator()
        self.engine = Engine(
            self.model,
            training_arguments(config, self.folder.path, total, self.device),
            [self.loop],
            data=train,
            plan=plan,
            path=found.path,
            size=size,
            recovery=self.recovery,
            pad=pad,
        )
        from transformers import PrinterCallback

        self.engine.remove_callback(PrinterCallback)
        if self.device != "cpu":
            self.engine.add_callback(
                MemoryCheck(config, self.device, self.reporter, lambda: self.engine.fullest)
            )
        pace = Pace(
            self.asked,
            config,
            self.shapes,
            self.facts,
            self.reporter,
            lambda: saver.spent,
            lambda: self.commands.waited,
            total,
        )
        self.engine.add_callback(pace)
        self.engine.skip_bad = training.on_bad_numbers == "skip"
        if training.neftune_alpha:
            self.engine.noise = EmbeddingNoise(self.model, training.neftune_alpha)
        saver.engine = self.engine

    # ---- training ------------------------------------------------------------------------------------

    def train(self) -> Loop:
        """Train to the end, or to a stop."""
        engine, loop = self.engine, self.loop
        start = self.checkpoint.step if self.checkpoint else 0
        self.reporter.emit(Phase("training", start, loop.total))
        if self.checkpoint is None:
            self._answer(0, "before")
            self.commands.check()
            set_seed(self.config.training.seed)
        if self.checkpoint is not None and (start >= loop.total or self.progress.early):
            engine._load_from_checkpoint(str(self.checkpoint.path))  # only the end is missing
            self.reporter.step = start
        else:
            self._steps()
        loop.finish(self.reporter.step)
        if not loop.stopped:
            self._answer(self.reporter.step, "after")
        return loop

    def _steps(self) -> None:
        """All optimizer steps; what is whole is saved if one of them fails."""
        engine = self.engine
        engine.below = self.ways.states_below(
            engine.path, self.loop.total, self.folder.path, self.commands.check
        )
        try:
            train_steps(self.engine, self.loop, self.checkpoint)
        except Exception:
            self.loop.rescue()
            raise
        finally:
            self.loop.saver.wait()  # whoever resumes clears half-written checkpoints away
            if self.engine.below is not None:
                self.engine.below.close()

    def _answer(self, step: int, stage: str) -> None:
        try:
            self.loop.evaluator.answer(self.model, self.engine.path, step, stage)
        except Interrupted:
            return


def _device(config: RunConfig) -> str:
    if config.hardware.devices == "cpu":
        return "cpu"
    if config.hardware.devices == "auto":
        return "cuda:0" if torch.cuda.is_available() else "cpu"
    return f"cuda:{os.environ.get('LOCAL_RANK', '0')}"


def _model_facts(config: RunConfig) -> Any:
    """Shapes of the model for choosing; None where they cannot be read (loading will say why)."""
    try:
        from tui_tuner.models.facts import load_facts

        return load_facts(config.model, network=False)
    except (TunerError, ImportError):
        return None


def _forget_accelerator() -> None:
    """accelerate keeps one state for each process; a second run in it may compute otherwise."""
    from accelerate.state import AcceleratorState, GradientState

    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        AcceleratorState._reset_state(reset_partial_state=True)
        GradientState._reset_state()
