"""The journal's vocabulary: one class for each kind of event. `runs/wire.py` turns them into lines.

A class's `KIND` is its name in the journal, and its fields are the line's, in this order. Floats may be NaN
or infinite: that is written as "nan", "inf" or "-inf", and read back as such a float.

To add a kind: a class here, with its fields and units, and a handler in the readers that have a use for it
(`runs/view.py`, `runs/tally.py`, `headless.py`, `ui/loglines.py`). A new field of a kind needs a default, for
older journals lack it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

from tui_tuner.config.advice import fixes_of, on_screen
from tui_tuner.errors import RowsError, TunerError
from tui_tuner.locales import _

VERSION = 1


def advice_of(hint: str) -> str:
    """A hint for a screen, where it differs from that for a command line."""
    shown = on_screen(hint)
    return shown if shown != hint else ""


class Body:
    """What an event says, of whatever kind."""

    __slots__ = ()
    KIND: ClassVar[str] = ""


def sparse(**more: Any) -> Any:
    """A field that a line only has where it holds something."""
    return field(metadata={"sparse": True}, **more)


@dataclass(frozen=True, slots=True)
class RunStarted(Body):
    """A process has taken the run."""

    KIND = "run_started"
    config: Mapping[str, Any] = field(default_factory=dict)  # as it was asked for, in plain values
    versions: Mapping[str, Any] = field(default_factory=dict)  # of Python and the libraries
    device: str = ""  # in words; begins with "CPU" where it is none but the processor
    process: int = 0  # its pid
    resumed_from: int | None = None  # the step that was whole; None for a run that is new
    total_steps: int | None = None  # None where it is not known yet
    metrics: Mapping[str, Any] = sparse(
        default_factory=dict
    )  # {name: {label, higher_is_better}}: the task's own


@dataclass(frozen=True, slots=True)
class Phase(Body):
    """What is going on, and how far it is."""

    KIND = "phase"
    name: str  # fetching, loading, tokenizing, training, evaluating, sampling, saving or paused
    done: int = 0  # of what `unit` says
    total: int | None = 0  # of the same; 0 or None where it is not known
    note: str = ""
    unit: str = sparse(default="")  # bytes, rows, prompts, files, steps, ... (`runs.phases.progress`)


@dataclass(frozen=True, slots=True)
class ModelSource(Body):
    """Where the model, or a tokenizer that is not its own, was taken from."""

    KIND = "model_source"
    what: str = "model"  # or tokenizer
    name: str = ""  # as the config has it
    place: str = ""  # package, folder, hub or random (no weights were loaded)
    path: str = ""  # of the folder, or of the snapshot in the hub's cache
    revision: str = ""  # of a hub: the commit

    @property
    def text(self) -> str:
        """In words."""
        said = {"name": self.name, "path": self.path, "revision": self.revision or _("unknown")}
        match self.place:
            case "package":
                return _("{name}, of this package", **said)
            case "folder":
                return _("folder {path}", **said)
            case "random":
                return _("{name}, with random weights", **said)
            case _:
                return _("hub {name}, revision {revision}, in {path}", **said)


@dataclass(frozen=True, slots=True)
class Resolved(Body):
    """What an `auto` of the config became."""

    KIND = "resolved"
    field: str  # its dotted name in the config
    value: Any
    why: str = ""


@dataclass(frozen=True, slots=True)
class RowLedger(Body):
    """What became of every row that was read: the fields of `data.ledger.Ledger.to_json`."""

    KIND = "ledger"
    read: int = 0  # rows
    outcomes: Mapping[str, Any] = field(default_factory=dict)  # {outcome: rows}; they sum to `read`
    pieces: int = 0  # training rows they became
    splits: Mapping[str, Any] = field(default_factory=dict)  # {training_pieces: n, validation_pieces: n}
    closes: bool = True  # whether the sums hold
    reasons: Sequence[Any] = field(default_factory=list)  # {outcome, reason, count, samples}, by count
    steps: Sequence[Any] = field(default_factory=list)  # {step, count, samples}: done to rows on their way
    notes: Sequence[Any] = field(default_factory=list)  # remarks on the whole data set
    validation: Mapping[str, Any] | None = None  # the ledger of a validation file, if there is one


@dataclass(frozen=True, slots=True)
class Step(Body):
    """One optimizer step."""

    KIND = "step"
    step: int  # steps done, with this one
    epoch: float = 0.0
    loss: float | None = None  # mean over the trained tokens; None where there is none
    learning_rate: float = 0.0
    grad_norm: float | None = None  # before clipping; None where there is none
    supervised_tokens: int = 0  # that were trained
    tokens: int = 0  # that went through the model
    tokens_per_second: float = 0.0  # of the trained ones
    memory_allocated: int = 0  # peak [bytes] on the device
    memory_reserved: int = 0  # peak [bytes] held by the allocator
    seconds: float = 0.0
    metrics: Mapping[str, float | None] = sparse(default_factory=dict)  # the objective's own {name: value}
    # Model FLOP utilisation: the model's own operations (`planning.flops`: nothing that is computed twice) by
    # the seconds that the device took and its peak in these numbers; None where no data sheet tells the peak
    mfu: float | None = sparse(default=None)
    # Share of the time of the steps read together with this one in which the device computed: the driver's
    # (NVML's) share of time with a kernel running, held within what two device events a step prove (idle from
    # the end of a step to the beginning of the next, busy from the last launch to the end). Without the
    # driver's word, or where others use the device, only where the events leave no more than 10 points open
    gpu_busy: float | None = sparse(default=None)


@dataclass(frozen=True, slots=True)
class Memory(Body):
    """Measured memory beside the predicted one [bytes]; once, on a GPU, after the first steps."""

    KIND = "memory"
    predicted_allocated: int | None = None
    predicted_reserved: int | None = None
    allocated: int | None = None  # peak of what tensors take
    reserved: int | None = None  # peak of what the allocator holds
    predicted_device: int | None = None
    device: int | None = None  # as the driver counts; None if others use the device too
    difference: float | None = None  # measured by predicted, allocated, less 1
    verified: bool = False  # whether the prediction is of a kind that was held against measurements
    predicted_cache: int | None = None
    cache: int | None = None  # what the allocator holds beyond tensors: reserved less allocated
    predicted_context: int | None = None
    context: int | None = None  # outside of the allocator: device less reserved; None as for `device`


@dataclass(frozen=True, slots=True)
class Kernels(Body):
    """What computes the parts of the model; once, after it was loaded."""

    KIND = "kernels"
    # {part, kernel, why, layers}, as `compute.kernels.chosen.Chosen` has them
    chosen: Sequence[Any] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Bottleneck(Body):
    """What limits the speed of the steps, when it is seen first and when it changes."""

    KIND = "bottleneck"
    what: str = ""  # processor, data or memory; empty where nothing does any more
    message: str = ""  # in words, with the figures
    hint: str = ""
    step: int = 0  # the last of those it rests on
    gpu_busy: float | None = None  # over those steps, as in `step`
    mfu: float | None = None
    waiting: float | None = None  # share of their time that went for it; with memory, of the arithmetic
    advice: str = sparse(default="")  # the hint for a screen, where it differs
    fixes: Sequence[Any] = sparse(default=())  # the ways that the hint tells: each {field: value}


@dataclass(frozen=True, slots=True)
class RunDuration(Body):
    """How long the whole run takes [seconds] and what it costs [the currency of the price]."""

    KIND = "duration"
    seconds: float
    low: float
    high: float
    spent: float = 0.0  # so far
    cost: float | None = None  # None without a price
    cost_high: float | None = None
    cost_spent: float | None = None
    corrected_by: int = 0  # steps of this run it rests on; 0 as planned before the first
    basis: str = ""  # what it rests on, in words


@dataclass(frozen=True, slots=True)
class Evaluation(Body):
    """What was measured on held-out rows."""

    KIND = "evaluation"
    step: int
    stage: str = ""  # validation for losses; before or after for generated answers
    metrics: Mapping[str, float | None] = field(default_factory=dict)  # {name: value}
    rows: int | None = sparse(default=None)  # answers that were scored


@dataclass(frozen=True, slots=True)
class HeldOutRows(Body):
    """The losses of single held-out rows, the same rows in the same order in each evaluation of a run.

    So the difference between two evaluations can be taken row by row. Of many rows these are some, evenly
    chosen.
    """

    KIND = "held_out_rows"
    step: int
    losses: Sequence[Any] = field(default_factory=list)  # mean over the labels of each row
    labels: Sequence[Any] = field(default_factory=list)  # how many labels each has


@dataclass(frozen=True, slots=True)
class Verdict(Body):
    """What the curves of a run say so far, in a word and sentences. When the word changes, and at the end."""

    KIND = "verdict"
    step: int  # the last one it rests on
    verdict: str = "unclear"  # one of `verdicts.words.VERDICTS`
    since_step: int | None = None  # from where on it holds
    confidence: float | None = None  # 0 to 1; None where nothing could be drawn anew
    evidence: Sequence[Any] = field(default_factory=list)  # sentences with their figures
    advice: Sequence[Any] = field(
        default_factory=list
    )  # {words, values: {field: value}}, the likeliest first
    final: bool = False  # whether the run was over


@dataclass(frozen=True, slots=True)
class EvaluationTable(Body):
    """A table of an evaluation on held-out rows, such as a confusion matrix; after its `evaluation`."""

    KIND = "table"
    step: int
    name: str = ""  # confusion (rows are true classes, columns predicted ones), classes or thresholds
    rows: Sequence[Any] = field(default_factory=list)  # names, from the data
    columns: Sequence[Any] = field(default_factory=list)  # names: classes, or of metrics
    values: Sequence[Any] = field(default_factory=list)  # [rows][columns], None where there is nothing


@dataclass(frozen=True, slots=True)
class CheckpointSaved(Body):
    """A checkpoint is whole and has its name."""

    KIND = "checkpoint"
    step: int
    path: str = ""
    best: bool = False  # whether its evaluation is the best so far
    bytes: int | None = None  # on the disk
    seconds: float = 0.0  # until it was whole
    held: float = 0.0  # of these, training stood still


@dataclass(frozen=True, slots=True)
class Sample(Body):
    """An answer that was generated during a run."""

    KIND = "sample"
    step: int
    index: int = 0  # of the prompt
    stage: str = "during"  # before, during or after
    prompt: str = ""
    text: str = ""
    reference: str = ""  # the answer in the data, if there is one
    stopped: bool = False  # by a stop token, not by the limit
    passage: str = sparse(default="")  # the text in which spans lie; the prompt where it is empty
    # {start, end, label, score} in characters of it, as `evaluation.samples.Span` has them
    found: Sequence[Any] = sparse(default=())
    wanted: Sequence[Any] = sparse(default=())  # the same, of the data
    scores: Sequence[Any] = sparse(default=())  # [text, probability], the best first


@dataclass(frozen=True, slots=True)
class Warned(Body):
    """Something the user should know. `code` is for programs."""

    KIND = "warning"
    code: str
    message: str
    hint: str = ""
    advice: str = sparse(default="")  # the hint for a screen, where it differs
    fixes: Sequence[Any] = sparse(default=())  # the ways that the hint tells: each {field: value}


@dataclass(frozen=True, slots=True)
class OutOfMemory(Body):
    """Memory ran out, and what was done about it."""

    KIND = "out_of_memory"
    step: int = 0
    place: str = ""  # copying, forward, backward, optimizer, loading, evaluation, generation or saving
    micro_batch: tuple[int, int] = (0, 0)  # sequences before and after
    message: str = ""


@dataclass(frozen=True, slots=True)
class Log(Body):
    """A remark."""

    KIND = "log"
    message: str
    level: str = "info"


@dataclass(frozen=True, slots=True)
class Heartbeat(Body):
    """The process is there; every 5 s."""

    KIND = "heartbeat"
    step: int = 0  # steps done
    memory_host: int = 0  # resident memory of the process [bytes]


@dataclass(frozen=True, slots=True)
class RolledBack(Body):
    """What came after `step` is void, and is done again with a lower learning rate."""

    KIND = "rolled_back"
    step: int


@dataclass(frozen=True, slots=True)
class CommandDone(Body):
    """A control command was carried out."""

    KIND = "command"
    command: str  # one of `runs.control.COMMANDS`


@dataclass(frozen=True, slots=True)
class Finished(Body):
    """The end; exactly once per process."""

    KIND = "finished"
    status: str = "failed"  # completed, stopped or failed
    exit_code: int | None = None  # of the process
    message: str = ""
    hint: str = ""
    field: str = sparse(default="")  # of the config, by its dotted name: where a failure comes from
    advice: str = sparse(default="")  # the hint for a screen, where it differs
    fixes: Sequence[Any] = sparse(default=())  # the ways that the hint tells: each {field: value}
    rows_seen: bool = sparse(default=False)  # a failure over rows that were read, and not over their file

    @classmethod
    def failed(cls, error: TunerError) -> Finished:
        """The end that an error makes."""
        what = f"{error.where}: {error.what}" if error.where else error.what
        advice = advice_of(error.hint)
        from tui_tuner.config.options import field_of

        field, seen = field_of(error), isinstance(error, RowsError)
        return cls("failed", error.exit_code, what, error.hint, field, advice, fixes_of(error.hint), seen)


@dataclass(frozen=True, slots=True)
class Unknown(Body):
    """An event of a newer version; or one of which a number that has no default (its step) cannot be read."""

    kind: str
    fields: Mapping[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Event:
    """A body, and the head of its line: which run, which line of its journal, when, and by which process.

    `seq` counts from 0. `time`: Unix seconds. `rank`: of several processes of one run. `line`: as it was
    read, without its newline; empty for an event that was not. Not frozen, for one is made for each line of a
    long journal, and a frozen one takes three times as long.
    """

    body: Body
    run: str = ""
    seq: int = 0
    time: float = 0.0
    rank: int = 0
    version: int = VERSION
    line: bytes = field(default=b"", repr=False, compare=False)


class Sink(Protocol):
    """Where the training core speaks to. `emit` never blocks for long and never raises."""

    def emit(self, body: Body) -> None: ...


def kind_of(body: Body) -> str:
    """The name of an event's kind in the journal."""
    return body.kind if isinstance(body, Unknown) else body.KIND
