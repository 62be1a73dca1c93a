"""What is predicted: which model, which rows, how they are asked, and where the answers go."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from tui_tuner.config.kinds import RECORD_FORMATS, TASKS, TaskKind
from tui_tuner.errors import UsageError
from tui_tuner.inference.origin import Origin
from tui_tuner.inference.predicting.parsing import plain_label
from tui_tuner.inference.sampling import MOST_NEW_TOKENS
from tui_tuner.locales import _
from tui_tuner.text import one_line

RETRY_TEMPERATURE = 0.7  # of another attempt where the first one took the likeliest tokens
STATE = ".state.json"  # behind the name of the output
# How each option is called where a person gives it
FLAGS = {
    "format": "--format",
    "part": "--part",
    "columns": "--column",
    "field": "--field",
    "prompt": "--prompt",
    "labels": "--labels",
    "json_keys": "--json-keys",
    "retries": "--retries",
    "system": "--system",
    "max_new_tokens": "--max-new-tokens",
    "temperature": "--temperature",
    "seed": "--seed",
}
_WRITING = ("prompt", "labels", "json_keys", "retries", "system", "temperature")


@dataclass(frozen=True)
class Job:
    """Everything that is asked, in plain values: it goes to a helper process and into the state of a file.

    Args:
        model: Which model answers.
        path: File, folder, glob or hub data set, as `data.path`.
        out: The JSONL file that is written.
        format: As `data.format`; `part` as `data.field`: key, table or member that holds the rows.
        columns: Role -> column, where the user says so.
        field: The column that is added.
        prompt: Text of a template with {column} places, `carp`, or empty: what the rows ask by themselves.
        labels: What an answer must be one of; empty for anything.
        json_keys: Keys of the JSON object that an answer must be; empty for any text.
        retries: How often a row is asked again that got no valid answer.
        system: System prompt of rows that have none.
        batch_size: Rows in one forward pass; 0 leaves it to the program.
        force: Begin anew where the output exists.
    """

    model: Origin
    path: str
    out: str
    format: str = "auto"
    part: str = ""
    columns: Mapping[str, str] = field(default_factory=dict)
    field: str = "prediction"
    prompt: str = ""
    labels: tuple[str, ...] = ()
    json_keys: tuple[str, ...] = ()
    retries: int = 0
    system: str = ""
    max_new_tokens: int = 256
    temperature: float = 0.0
    seed: int = 0
    batch_size: int = 0
    device: str = "auto"
    force: bool = False

    @property
    def kind(self) -> TaskKind:
        """The task of the model."""
        return TASKS[self.model.task]

    @property
    def state(self) -> Path:
        """The file that says what the output is made of."""
        target = Path(self.out).expanduser()
        return target.with_name(target.name + STATE)

    def plain(self) -> dict[str, Any]:
        """For another process."""
        return {**asdict(self), "model": self.model.plain()}

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Job:
        """What `plain` gave, or as much of it as a screen fills in."""
        known = {one.name: values[one.name] for one in fields(cls) if one.name in values}
        for name in ("labels", "json_keys"):
            known[name] = tuple(known.get(name, ()))
        known["model"] = Origin.of(known["model"])
        return cls(**known)

    def options(self) -> dict[str, Any]:
        """What decides what is predicted, beside the model and the rows."""
        return {
            name: list(value) if isinstance(value, tuple) else dict(value) if name == "columns" else value
            for name in FLAGS
            for value in (getattr(self, name),)
        }

    def check(self) -> Job:
        """Raise `UsageError` where options are out of range, or do not fit the model or each other."""
        _check_numbers(self)
        if self.format not in RECORD_FORMATS:
            raise UsageError(
                _("unknown format {name!r}.", name=one_line(self.format, 60)),
                where="--format",
                hint=_("Known are {names}.", names=", ".join(RECORD_FORMATS)),
            )
        if not self.field.strip():
            raise UsageError(_("the name of the column is empty."), where="--field")
        if not self.kind.writes:
            given = [name for name in _WRITING if getattr(self, name)]
            if given:
                raise UsageError(
                    _("the model writes no text (task {task}), so nothing is asked.", task=self.model.task),
                    where=FLAGS[given[0]],
                    hint=_("Leave it out: the output has what the task finds in each row."),
                )
        _check_labels(self)
        return self


def _check_numbers(job: Job) -> None:
    limits: dict[str, tuple[float, float]] = {
        "max_new_tokens": (1, MOST_NEW_TOKENS),
        "temperature": (0, 100),
        "retries": (0, 100),
        "batch_size": (0, 1 << 16),
        "seed": (0, 2**63 - 1),
    }
    for name, (low, high) in limits.items():
        value = getattr(job, name)
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise UsageError(
                _(
                    "expected a number from {low:,} to {high:,}, got {value}.",
                    low=low,
                    high=high,
                    value=value,
                ),
                where=f"--{name.replace('_', '-')}",
            )


def _check_labels(job: Job) -> None:
    plain: dict[str, str] = {}
    for label in job.labels:
        key = plain_label(label)
        if not key:
            raise UsageError(
                _("a label is empty."), where="--labels", hint=_("Give them as --labels good,bad.")
            )
        if key in plain:
            raise UsageError(
                _(
                    "{first!r} and {second!r} cannot be told apart in an answer.",
                    first=plain[key],
                    second=label,
                ),
                where="--labels",
                hint=_("Name each label once."),
            )
        plain[key] = label
    if job.prompt == "carp" and not job.labels:
        raise UsageError(
            _("needs labels to choose from."), where="--prompt carp", hint=_("Add --labels good,bad.")
        )
    if job.labels and len(job.labels) < 2:
        raise UsageError(
            _("a single label is no choice."), where="--labels", hint=_("Give two labels or more.")
        )
    if job.json_keys and (job.prompt == "carp" or (job.labels and "label" not in job.json_keys)):
        raise UsageError(
            _("an answer is a label, or JSON."),
            where="--json-keys",
            hint=_("With --labels, one of the keys is `label`; with --prompt carp leave --json-keys out."),
        )
    if len(set(job.json_keys)) < len(job.json_keys) or not all(key.strip() for key in job.json_keys):
        raise UsageError(
            _("a key is empty, or there twice."), where="--json-keys", hint=_("Give --json-keys name,price.")
        )
    if job.retries and not (job.labels or job.json_keys):
        raise UsageError(
            _("asks again where an answer is not valid, and every text is."),
            where="--retries",
            hint=_("Give --labels or --json-keys, or leave it out."),
        )
