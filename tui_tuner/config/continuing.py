"""Rules for config fields that were edited between two processes of one run.

A resumed run must give the result of an uninterrupted one. An edit is taken if the whole run is as it would
have been with the new value from the start, or if the field does not affect training. It is refused if one
part of the run would differ from the other. `tests/unit/test_continuing.py` checks `RULES` against the
schema.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from tui_tuner.config import notices
from tui_tuner.config.kinds.optimizers import find_optimizer
from tui_tuner.config.options import get_config_value, list_options
from tui_tuner.config.schema import RunConfig
from tui_tuner.locales import N_, _

Verdict = Literal["taken", "refused", "no effect"]
Rule = tuple[Verdict, str]  # and why, a sentence marked by `N_`
Judge = Callable[[RunConfig, RunConfig, str], Rule]

# Fields whose `auto` is decided again on each machine: a run started on a CPU may be resumed on a GPU.
ANEW = ("hardware.devices",)


@dataclass(frozen=True)
class Edit:
    """An edited field: its value in the run, the new one, the verdict on it, and the reason."""

    field: str
    before: Any
    now: Any
    verdict: Verdict
    why: str

    def describe_edit(self) -> str:
        """Return the edit as one sentence."""
        said = {
            "field": self.field,
            "before": format_edited_value(self.before),
            "now": format_edited_value(self.now),
            "why": _(self.why),
        }
        match self.verdict:
            case "taken":
                return _("{field} was {before} and is {now} from here on: {why}.", **said)
            case "no effect":
                return _("{field} was {before}; changing it to {now} has no effect: {why}.", **said)
            case _:
                return _("{field} was {before} and cannot become {now}: {why}.", **said)


def format_edited_value(value: Any) -> str:
    """Return a value as YAML on one line."""
    import yaml

    plain = value.model_dump(mode="json") if hasattr(value, "model_dump") else value
    if isinstance(plain, list):
        plain = [item.model_dump(mode="json") if hasattr(item, "model_dump") else item for item in plain]
    text = yaml.safe_dump(plain, default_flow_style=True, allow_unicode=True, width=10_000, sort_keys=False)
    return text.removesuffix("\n").removesuffix("\n...")


def list_config_edits(before: RunConfig, asked: RunConfig | None, now: RunConfig) -> list[Edit]:
    """Return every field that was edited, in the order of the schema.

    Args:
        before: The config that the run was trained with, without any `auto`.
        asked: The same config as the user wrote it, or None if that is not known.
        now: The config as the user has written it now.
    """
    found = []
    for path in list_options():
        new, had = _told_value(now, path), _told_value(before, path)
        known = had if asked is None else _told_value(asked, path)
        if new == known or (asked is None and new == "auto"):
            continue
        verdict, why = _judge_edit(before, now, path)
        found.append(Edit(path, had, new, verdict, why))
    return found


def _told_value(config: RunConfig, path: str) -> Any:
    """Return a value as checkpoints and journals hold it: without secret addresses."""
    value = get_config_value(config, path)
    told = path == notices.FIELD and isinstance(value, list)
    return notices.mask_notify_entries(value) if told else value


def _judge_edit(before: RunConfig, now: RunConfig, path: str) -> Rule:
    new, had = _told_value(now, path), _told_value(before, path)
    if new == had:
        return "no effect", N_("the run already has this value")
    if new == "auto" and path not in ANEW:
        return "no effect", N_("the value chosen when the run began is kept")
    rule = RULES.get(path, ("refused", N_("its effect on a resumed run is not known")))
    return rule(before, now, path) if callable(rule) else rule


# ---- rules that depend on values --------------------------------------------------------------------------


def _judge_method_field(before: RunConfig, now: RunConfig, path: str) -> Rule:
    if not before.method.reads_field(path.partition(".")[2]):
        return "no effect", N_("the method of this run does not read it")
    return "refused", N_("it would change the shape or the meaning of the trained weights")


def _judge_length(before: RunConfig, now: RunConfig, path: str) -> Rule:
    """Accept a new length if the finished steps would have had the same learning rates in such a run."""
    if path == "training.epochs" and before.training.max_steps and now.training.max_steps:
        return "no effect", N_("training.max_steps decides how long the run is")
    training = before.training
    falls = training.schedule not in ("constant", "inverse_sqrt")
    if falls and find_optimizer(training.optimizer).scheduled:
        return "refused", N_(
            "the learning rate falls over all steps, so the finished ones would have had other rates"
        )
    steps = before.training.max_steps, now.training.max_steps
    warmups = [round(training.warmup * total) for total in steps if total]
    if training.warmup and (len(warmups) < 2 or warmups[0] != warmups[1]):
        return "refused", N_(
            "the warm-up is a share of all steps, so the finished ones would have had other rates"
        )
    return "taken", N_("the finished steps are the same in a run of this length")


def _judge_path(before: RunConfig, now: RunConfig, path: str) -> Rule:
    return "taken", N_("files may move; their content is checked against the data that the run began with")


def _judge_validation(before: RunConfig, now: RunConfig, path: str) -> Rule:
    if isinstance(get_config_value(before, path), str) and isinstance(get_config_value(now, path), str):
        return _judge_path(before, now, path)
    if not get_config_value(before, path) and not get_config_value(now, path):
        return "no effect", N_("neither value holds any rows out")
    return "refused", N_("the run would train on other rows")


def _judge_micro_batch(before: RunConfig, now: RunConfig, path: str) -> Rule:
    if now.training.micro_batch > before.training.micro_batch:  # type: ignore[operator]
        return "no effect", N_("the micro-batch of a run can shrink if memory runs out, but never grow")
    if before.method.dropout and before.method.reads_field("dropout"):
        return "refused", N_("dropout draws other random numbers if a batch is split differently")
    return "taken", N_("splitting a batch into smaller parts gives the same result")


def _judge_vocabulary(before: RunConfig, now: RunConfig, path: str) -> Rule:
    if before.model.tokenizer == "train":
        return "refused", N_("the tokenizer is already trained")
    return "no effect", N_("this run trains no tokenizer")


# ---- the table --------------------------------------------------------------------------------------------

_MODEL: Rule = "refused", N_("the weights trained so far belong to another model")
_MOVED: Rule = (
    "refused",
    N_(
        "the weights trained so far belong to that model; if it has only moved, create a link at its old path"
    ),
)
_NUMBERS: Rule = "refused", N_("the rest of the run would be computed with other numerics")
_COMPUTED: Rule = "no effect", N_("a run computes all its steps in the way in which it began")
_ROWS: Rule = "refused", N_("the run would train on other rows or tokens")
_OPTIMIZER: Rule = "refused", N_("the optimizer's state and its finished steps depend on the old setting")
_RATE: Rule = "refused", N_("the finished steps had learning rates of another schedule")
_RANDOM: Rule = "refused", N_("the order of rows and all random numbers would change")
_BATCH: Rule = "refused", N_("the finished steps had batches of another size")
_STOPPING: Rule = "taken", N_("it decides when to stop and ask, and does not affect training")
_SHOWN: Rule = "taken", N_("it decides what is measured and shown, and does not affect training")
_KEPT: Rule = "taken", N_("it decides what is kept, and does not affect training")
_TROUBLE: Rule = "taken", N_("it decides how problems are handled from here on")
_SPEED: Rule = "taken", N_("it changes the speed, not the result")
_PLACE: Rule = "no effect", N_("the run stays in its folder")

RULES: dict[str, Rule | Judge] = {
    "task": ("refused", N_("another task needs a new run")),
    "model.name": _MOVED,
    "model.hub": _MODEL,
    "model.revision": _MODEL,
    "model.dtype": _NUMBERS,
    "model.quantization": _NUMBERS,
    "model.double_quant": _NUMBERS,
    "model.attention": _NUMBERS,
    "model.adapter": ("refused", N_("what is trained so far began with that adapter")),
    "model.adapter_use": ("refused", N_("what is trained so far began with that adapter")),
    "model.chat_template": _judge_path,
    "model.trust_remote_code": ("refused", N_("the model would be computed by other code")),
    "model.architecture": _MODEL,
    "model.tokenizer": _judge_path,
    "model.vocabulary": _judge_vocabulary,
    "model.new_tokens": ("refused", N_("the run has its new tokens already")),
    "model.new_tokens_train": (
        "refused",
        N_("it would change the shape or the meaning of the trained weights"),
    ),
    "data.path": _judge_path,
    "data.format": _judge_path,
    "data.header": _judge_path,
    "data.columns": _judge_path,
    "data.field": _judge_path,
    "data.encoding": _judge_path,
    "data.system": _ROWS,
    "data.max_length": _ROWS,
    "data.max_source": _ROWS,
    "data.max_target": _ROWS,
    "data.prefix": _ROWS,
    "data.source_language": _ROWS,
    "data.target_language": _ROWS,
    "data.overlong": _ROWS,
    "data.stride": _ROWS,
    "data.names": _ROWS,
    "data.problem": _ROWS,
    "data.label_separator": _ROWS,
    "data.train_on": _ROWS,
    "data.loss_weight": _ROWS,
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
    "data.masking.share": _ROWS,
    "data.masking.whole_words": _ROWS,
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
    "method.kind": ("refused", N_("the trained weights belong to another method")),
    "method.rank": _judge_method_field,
    "method.alpha": _judge_method_field,
    "method.dropout": _judge_method_field,
    "method.targets": _judge_method_field,
    "method.layers": _judge_method_field,
    "method.pattern": _judge_method_field,
    "method.train_embeddings": _judge_method_field,
    "method.virtual_tokens": _judge_method_field,
    "method.encoder_size": _judge_method_field,
    "method.initial_text": ("no effect", N_("it only sets where training started")),
    "method.style": _judge_method_field,
    "method.reduction": _judge_method_field,
    "method.non_linearity": _judge_method_field,
    "method.layer_norm": _judge_method_field,
    "method.adapters": _judge_method_field,
    "method.init": ("refused", N_("the initialisation may have changed the base model's weights")),
    "method.final_rank": _judge_method_field,
    "method.rank_pattern": _judge_method_field,
    "method.alpha_pattern": _judge_method_field,
    "method.rotation_block": _judge_method_field,
    "method.decompose_factor": _judge_method_field,
    "method.decompose_both": _judge_method_field,
    "method.frequencies": _judge_method_field,
    "training.learning_rate": _RATE,
    "training.epochs": _judge_length,
    "training.max_steps": _judge_length,
    "training.batch_size": _BATCH,
    "training.micro_batch": _judge_micro_batch,
    "training.gradient_checkpointing": _SPEED,
    "training.optimizer": _OPTIMIZER,
    "training.optimizer_rank": _OPTIMIZER,
    "training.optimizer_interval": _OPTIMIZER,
    "training.lora_plus_ratio": _RATE,
    "training.schedule": _RATE,
    "training.warmup": _RATE,
    "training.weight_decay": _OPTIMIZER,
    "training.max_grad_norm": _OPTIMIZER,
    "training.adam_beta1": _OPTIMIZER,
    "training.adam_beta2": _OPTIMIZER,
    "training.loss": _COMPUTED,
    "training.label_smoothing": ("refused", N_("the finished steps smoothed their labels otherwise")),
    "training.class_weights": ("refused", N_("the finished steps used other class weights")),
    "training.neftune_alpha": ("refused", N_("the finished steps used another amount of noise")),
    "training.autocast": _NUMBERS,
    "training.compile": _SPEED,
    "training.tf32": _NUMBERS,
    "training.deterministic": ("taken", N_("it chooses between equivalent kernels")),
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
    "evaluation.best": ("refused", N_("the best checkpoint so far was chosen by the old metric")),
    "evaluation.null_threshold": _SHOWN,
    "evaluation.early_stopping": _TROUBLE,
    "output.folder": _PLACE,
    "output.name": _PLACE,
    "output.save_every": _KEPT,
    "output.save_minutes": _KEPT,
    "output.keep": _KEPT,
    "output.notify": ("taken", N_("it decides who is notified, and does not affect training")),
    "hardware.devices": ("taken", N_("other devices give the same result up to rounding")),
    "hardware.budget": _STOPPING,
    "hardware.price_per_hour": _STOPPING,
}
