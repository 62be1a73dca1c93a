"""The options of a prediction job: model, rows, prompt and output."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from tui_tuner.config.kinds.formats import RECORD_FORMATS
from tui_tuner.config.kinds.tasks import TASKS, TaskKind
from tui_tuner.errors import UsageError
from tui_tuner.inference.origin import Origin
from tui_tuner.inference.predicting.parsing import normalise_answer_label
from tui_tuner.inference.sampling import MOST_NEW_TOKENS
from tui_tuner.locales import _
from tui_tuner.text import one_line

RETRY_TEMPERATURE = 0.7  # of a retry, if the first attempt always took the most likely token
STATE = ".state.json"  # appended to the name of the output
# The command-line flag of each option, for messages
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
    """All options of a job as plain values, for a helper process and for the output's state file.

    Args:
        model: The model that predicts.
        path: File, folder, glob or hub data set, as `data.path`.
        out: The JSONL file to write.
        format: As `data.format`; `part`: as `data.field`, the key, table or member with the rows.
        columns: Role -> column, as far as the user named them.
        field: The column to add.
        prompt: A template with {column} placeholders, `carp`, or empty to use the rows as they are.
        labels: The labels to choose from; empty for any answer.
        json_keys: Keys of the JSON object to answer with; empty for any text.
        retries: How often to ask again for a row without a valid answer.
        system: System prompt for rows that have none.
        batch_size: Rows per forward pass; 0 for automatic.
        force: Whether to overwrite an existing output.
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
    def task_kind(self) -> TaskKind:
        """Return the kind of the model's task."""
        return TASKS[self.model.task]

    @property
    def state_path(self) -> Path:
        """Return the path of the state file, which records what the output was made from."""
        target = Path(self.out).expanduser()
        return target.with_name(target.name + STATE)

    def list_job_values(self) -> dict[str, Any]:
        """Return plain values for another process."""
        return {**asdict(self), "model": self.model.list_origin_values()}

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> Job:
        """Rebuild a job from the values of `plain`; missing ones take their defaults."""
        known = {one.name: values[one.name] for one in fields(cls) if one.name in values}
        for name in ("labels", "json_keys"):
            # JSON has no tuples, and a frozen dataclass should not hold lists
            known[name] = tuple(known.get(name, ()))
        known["model"] = Origin.from_values(known["model"])
        return cls(**known)

    def list_options(self) -> dict[str, Any]:
        """Return the options that the predictions depend on, in addition to model and rows."""
        return {
            name: list(value) if isinstance(value, tuple) else dict(value) if name == "columns" else value
            for name in FLAGS
            for value in (getattr(self, name),)
        }

    def check_options(self) -> Job:
        """Raise `UsageError` if options are out of range or do not fit the model or each other."""
        _check_numbers(self)
        if self.format not in RECORD_FORMATS:
            raise UsageError(
                _("unknown format {name!r}.", name=one_line(self.format, 60)),
                where="--format",
                hint=_("Known are {names}.", names=", ".join(RECORD_FORMATS)),
            )
        if not self.field.strip():
            raise UsageError(_("the name of the column is empty."), where="--field")
        if not self.task_kind.writes:
            given = [name for name in _WRITING if getattr(self, name)]
            if given:
                raise UsageError(
                    _(
                        "the model does not write text (task {task}), so this option has no effect.",
                        task=self.model.task,
                    ),
                    where=FLAGS[given[0]],
                    hint=_("Leave it out: the output contains what the task finds in each row."),
                )
        elif self.system and not self.task_kind.talks:
            raise UsageError(
                _("the model reads one text without turns (task {task}).", task=self.model.task),
                where="--system",
                hint=_("Leave it out, or write it into the file of --prompt."),
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
        # Labels are compared as answers are: ignoring case, quotes and punctuation
        key = normalise_answer_label(label)
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
            _("a single label leaves no choice."), where="--labels", hint=_("Give at least two labels.")
        )
    if job.json_keys and (job.prompt == "carp" or (job.labels and "label" not in job.json_keys)):
        raise UsageError(
            _("an answer is either a label or JSON."),
            where="--json-keys",
            hint=_(
                "With --labels, one of the keys must be `label`; with --prompt carp, leave out --json-keys."
            ),
        )
    if len(set(job.json_keys)) < len(job.json_keys) or not all(key.strip() for key in job.json_keys):
        raise UsageError(
            _("a key is empty or a duplicate."), where="--json-keys", hint=_("Give --json-keys name,price.")
        )
    if job.retries and not (job.labels or job.json_keys):
        raise UsageError(
            _("only applies to invalid answers, and without labels or JSON every answer is valid."),
            where="--retries",
            hint=_("Give --labels or --json-keys, or leave it out."),
        )
