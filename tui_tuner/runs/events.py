"""Define the journal's events, one class for each kind. `runs/wire.py` converts them to lines.

A class's `KIND` is its name in the journal, and its fields are those of the line, in this order. Floats may
be NaN or infinite: they are written as "nan", "inf" or "-inf", and read back as such floats.

To add a kind, write a class here with its fields and units, and a handler in the readers that use it
(`runs/view.py`, `runs/journal_tally.py`, `headless.py`, `ui/loglines.py`). A new field of an existing kind
needs a default, because older journals lack it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

from tui_tuner.config.advice import format_screen_hint, list_hint_fixes
from tui_tuner.errors import RowsError, TunerError
from tui_tuner.locales import _

VERSION = 1


def find_screen_hint(hint: str) -> str:
    """Return the form of a hint for a screen, if it differs from that for a command line."""
    shown = format_screen_hint(hint)
    return shown if shown != hint else ""


class EventBody:
    """The content of an event of any kind."""

    __slots__ = ()
    KIND: ClassVar[str] = ""


def declare_sparse_field(**more: Any) -> Any:
    """Declare a field that is written only if it differs from its default."""
    return field(metadata={"sparse": True}, **more)


@dataclass(frozen=True, slots=True)
class RunStarted(EventBody):
    """A process has taken the run."""

    KIND = "run_started"
    config: Mapping[str, Any] = field(default_factory=dict)  # as requested, in plain values
    versions: Mapping[str, Any] = field(default_factory=dict)  # of Python and the libraries
    device: str = ""  # as text; begins with "CPU" if there is no GPU
    process: int = 0  # its pid
    resumed_from: int | None = None  # step of the checkpoint; None for a new run
    total_steps: int | None = None  # None while unknown
    metrics: Mapping[str, Any] = declare_sparse_field(
        default_factory=dict
    )  # {name: {label, higher_is_better}}: the task's own


@dataclass(frozen=True, slots=True)
class Phase(EventBody):
    """The phase that the run is in, and its progress."""

    KIND = "phase"
    name: str  # fetching, loading, tokenizing, training, evaluating, sampling, saving or paused
    done: int = 0  # in `unit`
    total: int | None = 0  # in the same unit; 0 or None if unknown
    note: str = ""
    unit: str = declare_sparse_field(
        default=""
    )  # bytes, rows, prompts, files, steps, ... (`runs.phases.progress`)


@dataclass(frozen=True, slots=True)
class ModelSource(EventBody):
    """The source of the model, or of a tokenizer from elsewhere."""

    KIND = "model_source"
    what: str = "model"  # or tokenizer
    name: str = ""  # as in the config
    place: str = ""  # package, folder, hub or random (no weights were loaded)
    path: str = ""  # of the folder, or of the snapshot in the hub's cache
    revision: str = ""  # of a hub: the commit

    @property
    def source_text(self) -> str:
        """Describe the source as text."""
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
class Resolved(EventBody):
    """The value chosen for a field that was `auto`."""

    KIND = "resolved"
    field: str  # its dotted name in the config
    value: Any
    why: str = ""


@dataclass(frozen=True, slots=True)
class RowLedger(EventBody):
    """The outcome of every row that was read: the fields of `data.ledger.Ledger.to_json`."""

    KIND = "ledger"
    read: int = 0  # rows
    outcomes: Mapping[str, Any] = field(default_factory=dict)  # {outcome: rows}; they sum to `read`
    pieces: int = 0  # training rows made of them
    splits: Mapping[str, Any] = field(default_factory=dict)  # {training_pieces: n, validation_pieces: n}
    closes: bool = True  # whether the sums hold
    reasons: Sequence[Any] = field(default_factory=list)  # {outcome, reason, count, samples}, by count
    steps: Sequence[Any] = field(default_factory=list)  # {step, count, samples}: changes to rows
    notes: Sequence[Any] = field(default_factory=list)  # remarks on the whole data set
    validation: Mapping[str, Any] | None = None  # the ledger of a validation file, if there is one


@dataclass(frozen=True, slots=True)
class VocabularyGrown(EventBody):
    """The new tokens of a run (`model.new_tokens`), and how many characters a token stands for."""

    KIND = "vocabulary"
    tokens: int = 0  # new ones
    rows: int = 0  # embeddings that the model needs at least
    before: float | None = None  # characters per token in the training rows, with the model's own tokenizer
    after: float | None = None
    held_before: float | None = None  # the same in held-out rows, which no word was learned from
    held_after: float | None = None
    samples: Sequence[Any] = field(default_factory=list)  # the longest new tokens, without spaces around them


@dataclass(frozen=True, slots=True)
class Step(EventBody):
    """One optimizer step."""

    KIND = "step"
    step: int  # steps done, including this one
    epoch: float = 0.0
    loss: float | None = None  # mean over the trained tokens; None if there is none
    learning_rate: float = 0.0
    grad_norm: float | None = None  # before clipping; None if there is none
    supervised_tokens: int = 0  # trained tokens
    tokens: int = 0  # all tokens that went through the model
    tokens_per_second: float = 0.0  # of the trained ones
    memory_allocated: int = 0  # peak [bytes] on the device
    memory_reserved: int = 0  # peak [bytes] held by the allocator
    seconds: float = 0.0
    metrics: Mapping[str, float | None] = declare_sparse_field(
        default_factory=dict
    )  # the objective's own {name: value}
    # Model FLOP utilisation: the model's own operations (`planning.flops`, without recomputation) divided by
    # the seconds that the device took and by its peak for this dtype; None if no data sheet states the peak
    mfu: float | None = declare_sparse_field(default=None)
    # Share of time in which the device computed, over the steps read together with this one: the driver's
    # (NVML's) share of time with a kernel running, limited to what two device events per step prove
    # (idle from the end of a step to the start of the next, busy from the last launch to the end).
    # Without the driver's figure, or if others use the device, only if the events leave at most 10
    # points open
    gpu_busy: float | None = declare_sparse_field(default=None)


@dataclass(frozen=True, slots=True)
class Memory(EventBody):
    """Measured and predicted memory [bytes]; once, on a GPU, after the first steps."""

    KIND = "memory"
    predicted_allocated: int | None = None
    predicted_reserved: int | None = None
    allocated: int | None = None  # peak used by tensors
    reserved: int | None = None  # peak held by the allocator
    predicted_device: int | None = None
    device: int | None = None  # as the driver counts; None if others use the device too
    difference: float | None = None  # measured / predicted - 1, of allocated memory
    verified: bool = False  # whether this kind of prediction was compared with measurements
    predicted_cache: int | None = None
    cache: int | None = None  # held by the allocator beyond tensors: reserved - allocated
    predicted_context: int | None = None
    context: int | None = None  # outside of the allocator: device - reserved; None as for `device`


@dataclass(frozen=True, slots=True)
class Kernels(EventBody):
    """The kernels that compute parts of the model; once, after loading."""

    KIND = "kernels"
    # {part, kernel, why, layers}, as `compute.kernels.chosen_kernel.ChosenKernel` has them
    chosen: Sequence[Any] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Bottleneck(EventBody):
    """The limit on the speed of the steps, when it is first seen and when it changes."""

    KIND = "bottleneck"
    what: str = ""  # processor, data or memory; empty if there is no limit any more
    message: str = ""  # as text, with the figures
    hint: str = ""
    step: int = 0  # last of the steps it is based on
    gpu_busy: float | None = None  # over those steps, as in `step`
    mfu: float | None = None
    waiting: float | None = None  # share of their time spent on it; for memory, of the arithmetic
    advice: str = declare_sparse_field(default="")  # the hint for a screen, if it differs
    fixes: Sequence[Any] = declare_sparse_field(
        default=()
    )  # the changes that the hint offers: each {field: value}


@dataclass(frozen=True, slots=True)
class RunDuration(EventBody):
    """How long the whole run takes [seconds] and what it costs [the currency of the price]."""

    KIND = "duration"
    seconds: float
    low: float
    high: float
    spent: float = 0.0  # so far
    cost: float | None = None  # None without a price
    cost_high: float | None = None
    cost_spent: float | None = None
    corrected_by: int = 0  # steps of this run it is based on; 0 before the first
    basis: str = ""  # what it is based on, as text


@dataclass(frozen=True, slots=True)
class Evaluation(EventBody):
    """Metrics measured on held-out rows."""

    KIND = "evaluation"
    step: int
    stage: str = ""  # validation for losses; before or after for generated answers
    metrics: Mapping[str, float | None] = field(default_factory=dict)  # {name: value}
    rows: int | None = declare_sparse_field(default=None)  # answers that were scored
    # {metric: sacrebleu's signature}: scores are comparable only if they were computed alike
    signatures: Mapping[str, Any] | None = declare_sparse_field(default=None)


@dataclass(frozen=True, slots=True)
class HeldOutRows(EventBody):
    """The losses of single held-out rows, the same rows in the same order in each evaluation of a run.

    So two evaluations can be compared row by row. Of many rows an evenly spaced selection is kept.
    """

    KIND = "held_out_rows"
    step: int
    losses: Sequence[Any] = field(default_factory=list)  # mean over the labels of each row
    labels: Sequence[Any] = field(default_factory=list)  # how many labels each has


@dataclass(frozen=True, slots=True)
class Verdict(EventBody):
    """The verdict on a run's curves so far, when it changes and at the end."""

    KIND = "verdict"
    step: int  # last step it is based on
    verdict: str = "unclear"  # one of `verdicts.verdict_words.VERDICTS`
    since_step: int | None = None  # first step for which it holds
    confidence: float | None = None  # 0 to 1; None if nothing could be resampled
    evidence: Sequence[Any] = field(default_factory=list)  # sentences with their figures
    advice: Sequence[Any] = field(
        default_factory=list
    )  # {words, values: {field: value}}, the likeliest first
    final: bool = False  # whether the run was over


@dataclass(frozen=True, slots=True)
class EvaluationTable(EventBody):
    """A table of an evaluation on held-out rows, such as a confusion matrix; after its `evaluation`."""

    KIND = "table"
    step: int
    name: str = ""  # confusion (rows are true classes, columns predicted ones), classes or thresholds
    rows: Sequence[Any] = field(default_factory=list)  # names, from the data
    columns: Sequence[Any] = field(default_factory=list)  # names: classes, or of metrics
    values: Sequence[Any] = field(default_factory=list)  # [rows][columns], None for no value


@dataclass(frozen=True, slots=True)
class CheckpointSaved(EventBody):
    """A checkpoint is complete and has its final name."""

    KIND = "checkpoint"
    step: int
    path: str = ""
    best: bool = False  # whether its evaluation is the best so far
    bytes: int | None = None  # on the disk
    seconds: float = 0.0  # until it was complete
    held: float = 0.0  # of these, seconds for which training stopped


@dataclass(frozen=True, slots=True)
class Sample(EventBody):
    """An answer that was generated during a run."""

    KIND = "sample"
    step: int
    index: int = 0  # of the prompt
    stage: str = "during"  # before, during or after
    prompt: str = ""
    text: str = ""
    reference: str = ""  # the answer in the data, if there is one
    stopped: bool = False  # by a stop token, not by the limit
    passage: str = declare_sparse_field(default="")  # the text that spans refer to; the prompt if empty
    # {start, end, label, score} in characters of it, as in `evaluation.samples.Span`
    found: Sequence[Any] = declare_sparse_field(default=())
    wanted: Sequence[Any] = declare_sparse_field(default=())  # the same, of the data
    scores: Sequence[Any] = declare_sparse_field(default=())  # [text, probability], the best first


@dataclass(frozen=True, slots=True)
class Warned(EventBody):
    """Something the user should know. `code` is for programs."""

    KIND = "warning"
    code: str
    message: str
    hint: str = ""
    advice: str = declare_sparse_field(default="")  # the hint for a screen, if it differs
    fixes: Sequence[Any] = declare_sparse_field(
        default=()
    )  # the changes that the hint offers: each {field: value}


@dataclass(frozen=True, slots=True)
class OutOfMemory(EventBody):
    """Memory ran out, and how the run reacted."""

    KIND = "out_of_memory"
    step: int = 0
    place: str = ""  # copying, forward, backward, optimizer, loading, evaluation, generation or saving
    micro_batch: tuple[int, int] = (0, 0)  # sequences before and after
    message: str = ""


@dataclass(frozen=True, slots=True)
class Log(EventBody):
    """A remark."""

    KIND = "log"
    message: str
    level: str = "info"


@dataclass(frozen=True, slots=True)
class Heartbeat(EventBody):
    """The process is alive; every 5 s."""

    KIND = "heartbeat"
    step: int = 0  # steps done
    memory_host: int = 0  # resident memory of the process [bytes]


@dataclass(frozen=True, slots=True)
class RolledBack(EventBody):
    """Steps after `step` are void, and are repeated with a lower learning rate."""

    KIND = "rolled_back"
    step: int


@dataclass(frozen=True, slots=True)
class CommandDone(EventBody):
    """A control command was carried out."""

    KIND = "command"
    command: str  # one of `runs.control.COMMANDS`


@dataclass(frozen=True, slots=True)
class Finished(EventBody):
    """The end; exactly once per process."""

    KIND = "finished"
    status: str = "failed"  # completed, stopped or failed
    exit_code: int | None = None  # of the process
    message: str = ""
    hint: str = ""
    field: str = declare_sparse_field(default="")  # dotted name of the config field that caused a failure
    advice: str = declare_sparse_field(default="")  # the hint for a screen, if it differs
    fixes: Sequence[Any] = declare_sparse_field(
        default=()
    )  # the changes that the hint offers: each {field: value}
    rows_seen: bool = declare_sparse_field(
        default=False
    )  # the failure is about rows that were read, not about their file

    @classmethod
    def from_error(cls, error: TunerError) -> Finished:
        """Make the event for a run that failed with this error."""
        what = f"{error.where}: {error.what}" if error.where else error.what
        advice = find_screen_hint(error.hint)
        from tui_tuner.config.options import find_error_field

        field, seen = find_error_field(error), isinstance(error, RowsError)
        return cls(
            "failed", error.exit_code, what, error.hint, field, advice, list_hint_fixes(error.hint), seen
        )


@dataclass(frozen=True, slots=True)
class Unknown(EventBody):
    """An event of a newer version, or one whose step or another number without a default is unreadable."""

    kind: str
    fields: Mapping[str, Any] = field(default_factory=dict)


# Not frozen: one is made for each line of a long journal, and a frozen one takes three times as long.
@dataclass(slots=True)
class Event:
    """A body, and the head of its line: the run, the line number, the time and the process.

    `seq` counts from 0. `time`: Unix seconds. `rank`: number of the process among those of one run. `line`:
    as it was read, without its newline; empty for an event that was not read.
    """

    body: EventBody
    run: str = ""
    seq: int = 0
    time: float = 0.0
    rank: int = 0
    version: int = VERSION
    line: bytes = field(default=b"", repr=False, compare=False)


class EventSink(Protocol):
    """Receives events from the training core. `emit` never blocks for long and never raises."""

    def emit(self, body: EventBody) -> None: ...


def name_event_kind(body: EventBody) -> str:
    """Return the name of an event's kind in the journal."""
    return body.kind if isinstance(body, Unknown) else body.KIND
