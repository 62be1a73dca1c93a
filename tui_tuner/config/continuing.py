"""Decide about each field that was edited in the config of a run before resuming it.

A resumed run must remain the same run. An edit is taken if the whole run is then as it would have been with
the new value from the start, or if the field does not affect training; it is refused if the two parts of the
run would differ. `tests/unit/test_continuing.py` checks that `RULES` covers the schema.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from tui_tuner.config import notices
from tui_tuner.config.options import get_value, list_options
from tui_tuner.config.schema import RunConfig
from tui_tuner.locales import N_, _

Verdict = Literal["taken", "refused", "no effect"]
Rule = tuple[Verdict, str]  # with the reason, a sentence marked by `N_`
Judge = Callable[[RunConfig, RunConfig, str], Rule]

# Fields whose `auto` is resolved again by each process: a run that began on a CPU may be resumed on a GPU
ANEW = ("hardware.devices",)


@dataclass(frozen=True)
class Edit:
    """An edited field: its value in the run, the new one, the verdict, and the reason."""

    field: str
    before: Any
    now: Any
    verdict: Verdict
    why: str

    def describe_edit(self) -> str:
        """Describe the edit in one line."""
        said = {
            "field": self.field,
            "before": show_value(self.before),
            "now": show_value(self.now),
            "why": _(self.why),
        }
        match self.verdict:
            case "taken":
                return _("{field} was {before} and is {now} from now on: {why}.", **said)
            case "no effect":
                return _("{field} was {before}; {now} has no effect: {why}.", **said)
            case _:
                return _("{field} was {before} and cannot become {now}: {why}.", **said)


def show_value(value: Any) -> str:
    """Format a value as YAML on one line."""
    import yaml

    plain = value.model_dump(mode="json") if hasattr(value, "model_dump") else value
    if isinstance(plain, list):
        plain = [item.model_dump(mode="json") if hasattr(item, "model_dump") else item for item in plain]
    text = yaml.safe_dump(plain, default_flow_style=True, allow_unicode=True, width=10_000, sort_keys=False)
    return text.removesuffix("\n").removesuffix("\n...")


def list_edits(before: RunConfig, asked: RunConfig | None, now: RunConfig) -> list[Edit]:
    """List every field that was edited, in the order of the schema.

    Args:
        before: The config that the run was trained with, without any `auto`.
        asked: The config as the user wrote it then, or None if that is not known.
        now: The config as the user wrote it now.
    """
    found = []
    for path in list_options():
        new, had = _told_value(now, path), _told_value(before, path)
        known = had if asked is None else _told_value(asked, path)
        # Compared with what was asked, not with what it became: an `auto` that stays `auto` is no edit. In
        # runs of which only the resolved config is known, an `auto` cannot be told from one
        if new == known or (asked is None and new == "auto"):
            continue
        verdict, why = _judge_edit(before, now, path)
        found.append(Edit(path, had, new, verdict, why))
    return found


def _told_value(config: RunConfig, path: str) -> Any:
    """Return a value without the secret part of URLs, which checkpoints and journals do not contain."""
    value = get_value(config, path)
    told = path == notices.FIELD and isinstance(value, list)
    return notices.shown_entries(value) if told else value


def _judge_edit(before: RunConfig, now: RunConfig, path: str) -> Rule:
    new, had = _told_value(now, path), _told_value(before, path)
    if new == had:
        return "no effect", N_("the run already has this value")
    if new == "auto" and path not in ANEW:
        return "no effect", N_("the value chosen for auto stays")
    rule = RULES.get(path, ("refused", N_("its effect on a resumed run is not known")))
    return rule(before, now, path) if callable(rule) else rule


# ---- rules that depend on values --------------------------------------------------------------------------


def _judge_method_field(before: RunConfig, now: RunConfig, path: str) -> Rule:
    if not before.method.reads_field(path.partition(".")[2]):
        return "no effect", N_("the method of this run does not use it")
    return "refused", N_("the trained weights would have another shape or meaning")


def _judge_length(before: RunConfig, now: RunConfig, path: str) -> Rule:
    """Accept a new length if the steps so far would have had the same learning rates in such a run."""
    if path == "training.epochs" and before.training.max_steps and now.training.max_steps:
        return "no effect", N_("training.max_steps determines the length of the run")
    # These two schedules do not look at the length of the run; all others fall to zero at its end
    training = before.training
    if training.schedule not in ("constant", "inverse_sqrt"):
        return "refused", N_(
            "the learning rate depends on the number of steps, so earlier steps had other rates"
        )
    steps = before.training.max_steps, now.training.max_steps
    warmups = [round(training.warmup * total) for total in steps if total]
    if training.warmup and (len(warmups) < 2 or warmups[0] != warmups[1]):
        return "refused", N_("the warm-up is a share of all steps, so earlier steps had other rates")
    return "taken", N_("the steps so far would be the same in a run of this length")


def _judge_path(before: RunConfig, now: RunConfig, path: str) -> Rule:
    return "taken", N_("files may move; their content is compared with what the run started with")


def _judge_validation(before: RunConfig, now: RunConfig, path: str) -> Rule:
    # A file of held-out rows may have moved, whereas another share draws other rows for training
    if isinstance(get_value(before, path), str) and isinstance(get_value(now, path), str):
        return _judge_path(before, now, path)
    if not get_value(before, path) and not get_value(now, path):
        return "no effect", N_("no rows are held out either way")
    return "refused", N_("the run would train on other rows")


def _judge_micro_batch(before: RunConfig, now: RunConfig, path: str) -> Rule:
    if now.training.micro_batch > before.training.micro_batch:  # type: ignore[operator]
        return "no effect", N_("the micro-batch of a run may only become smaller, to save memory")
    if before.method.dropout and before.method.reads_field("dropout"):
        return "refused", N_("dropout would draw other random numbers for other micro-batches")
    return "taken", N_("the batch stays the same in smaller micro-batches")


def _judge_vocabulary(before: RunConfig, now: RunConfig, path: str) -> Rule:
    if before.model.tokenizer == "train":
        return "refused", N_("the tokenizer is already trained")
    return "no effect", N_("this run trains no tokenizer")


# ---- the table --------------------------------------------------------------------------------------------

_MODEL: Rule = "refused", N_("the weights trained so far belong to another model")
_MOVED: Rule = (
    "refused",
    N_(
        "the weights trained so far belong to that model; if its folder has moved, put a link in the old "
        "place"
    ),
)
_NUMBERS: Rule = "refused", N_("the rest of the run would be computed in another precision or way")
_COMPUTED: Rule = "no effect", N_("a run computes all its steps the way it started")
_ROWS: Rule = "refused", N_("the run would train on other rows or tokens")
_OPTIMIZER: Rule = "refused", N_("the optimizer's state and steps so far come from another setting")
_RATE: Rule = "refused", N_("the steps so far had the rates of another schedule")
_RANDOM: Rule = "refused", N_("the order of rows and the random numbers would change")
_BATCH: Rule = "refused", N_("the steps so far had batches of another size")
_STOPPING: Rule = "taken", N_("it only affects when the run stops and asks, not training")
_SHOWN: Rule = "taken", N_("it only affects what is measured and shown, not training")
_KEPT: Rule = "taken", N_("it only affects what is kept, not training")
_TROUBLE: Rule = "taken", N_("it only affects how problems are handled from now on")
_SPEED: Rule = "taken", N_("it only affects how fast the same result is computed")
_PLACE: Rule = "no effect", N_("the run stays in its folder and keeps its name")

RULES: dict[str, Rule | Judge] = {
    "task": ("refused", N_("another task needs a new run")),
    "model.name": _MOVED,
    "model.hub": _MODEL,
    "model.revision": _MODEL,
    "model.dtype": _NUMBERS,
    "model.quantization": _NUMBERS,
    "model.double_quant": _NUMBERS,
    "model.attention": _NUMBERS,
    "model.chat_template": _judge_path,
    "model.trust_remote_code": ("refused", N_("other code would compute the model's outputs")),
    "model.architecture": _MODEL,
    "model.tokenizer": _judge_path,
    "model.vocabulary": _judge_vocabulary,
    "data.path": _judge_path,
    "data.format": _judge_path,
    "data.header": _judge_path,
    "data.columns": _judge_path,
    "data.field": _judge_path,
    "data.encoding": _judge_path,
    "data.system": _ROWS,
    "data.max_length": _ROWS,
    "data.overlong": _ROWS,
    "data.stride": _ROWS,
    "data.names": _ROWS,
    "data.problem": _ROWS,
    "data.label_separator": _ROWS,
    "data.train_on": _ROWS,
    "data.system_turns": _ROWS,
    "data.media": _ROWS,
    "data.packing": _COMPUTED,
    "data.validation": _judge_validation,
    "data.limit": _ROWS,
    "data.pick": _ROWS,
    "data.max_dropped": _STOPPING,
    "data.preflight": _STOPPING,
    "data.seed": _ROWS,
    "data.workers": _SPEED,
    "data.cleaning.exact_duplicates": _ROWS,
    "data.cleaning.near_duplicates": _ROWS,
    "data.cleaning.refusals": _ROWS,
    "data.cleaning.html": _ROWS,
    "data.cleaning.control_characters": _ROWS,
    "data.cleaning.min_answer": _ROWS,
    "data.cleaning.languages": _ROWS,
    "data.cleaning.min_characters": _ROWS,
    "data.cleaning.max_characters": _ROWS,
    "data.cleaning.personal_data": _SHOWN,
    "data.cleaning.phrases": _ROWS,
    "method.kind": ("refused", N_("the weights trained so far belong to another method")),
    "method.rank": _judge_method_field,
    "method.alpha": _judge_method_field,
    "method.dropout": _judge_method_field,
    "method.targets": _judge_method_field,
    "method.layers": _judge_method_field,
    "method.train_embeddings": _judge_method_field,
    "method.virtual_tokens": _judge_method_field,
    "method.encoder_size": _judge_method_field,
    "method.initial_text": ("no effect", N_("it is only used at the start of training")),
    "training.learning_rate": _RATE,
    "training.epochs": _judge_length,
    "training.max_steps": _judge_length,
    "training.batch_size": _BATCH,
    "training.micro_batch": _judge_micro_batch,
    "training.gradient_checkpointing": _SPEED,
    "training.optimizer": _OPTIMIZER,
    "training.schedule": _RATE,
    "training.warmup": _RATE,
    "training.weight_decay": _OPTIMIZER,
    "training.max_grad_norm": _OPTIMIZER,
    "training.adam_beta1": _OPTIMIZER,
    "training.adam_beta2": _OPTIMIZER,
    "training.loss": _COMPUTED,
    "training.class_weights": ("refused", N_("the steps so far had other class weights")),
    "training.neftune_alpha": ("refused", N_("the steps so far had other noise")),
    "training.autocast": _NUMBERS,
    "training.compile": _SPEED,
    "training.tf32": _NUMBERS,
    "training.deterministic": ("taken", N_("it only affects which of several equivalent kernels are used")),
    "training.on_out_of_memory": _TROUBLE,
    "training.on_bad_numbers": _TROUBLE,
    "training.report_every": _SHOWN,
    "training.seed": _RANDOM,
    "evaluation.every": _SHOWN,
    "evaluation.samples": _SHOWN,
    "evaluation.prompts": _SHOWN,
    "evaluation.metrics": _SHOWN,
    "evaluation.metric_rows": _SHOWN,
    "evaluation.max_new_tokens": _SHOWN,
    "evaluation.best": ("refused", N_("the best checkpoint so far was chosen by the other metric")),
    "evaluation.null_threshold": _SHOWN,
    "evaluation.early_stopping": _TROUBLE,
    "output.folder": _PLACE,
    "output.name": _PLACE,
    "output.save_every": _KEPT,
    "output.save_minutes": _KEPT,
    "output.keep": _KEPT,
    "output.notify": ("taken", N_("it only affects who is notified, not training")),
    "hardware.devices": ("taken", N_("the same is computed on another device, equal up to rounding")),
    "hardware.budget": _STOPPING,
    "hardware.price_per_hour": _STOPPING,
}
