"""What becomes of each field of a config that was edited between two processes of one run.

A resumed run is to be the run that it was. A field is taken where the whole run is then what it would have
been with the new value from its beginning, or where the field decides nothing that is trained; it is refused
where one half of the run would differ from the other. `tests/unit/test_continuing.py` holds `RULES` to the
schema.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from tui_tuner.config import notices
from tui_tuner.config.kinds import METHOD_FIELDS
from tui_tuner.config.options import get_value, options
from tui_tuner.config.schema import RunConfig
from tui_tuner.locales import N_, _

Verdict = Literal["taken", "refused", "no effect"]
Rule = tuple[Verdict, str]  # and why, a sentence marked by `N_`
Judge = Callable[[RunConfig, RunConfig, str], Rule]

# What an `auto` becomes on each machine anew: a run that began on a CPU may be resumed on a GPU.
ANEW = ("hardware.devices",)


@dataclass(frozen=True)
class Edit:
    """A field that was edited: its value in the run, the new one, what becomes of it, and why."""

    field: str
    before: Any
    now: Any
    verdict: Verdict
    why: str

    def sentence(self) -> str:
        """The edit in one line."""
        said = {
            "field": self.field,
            "before": shown(self.before),
            "now": shown(self.now),
            "why": _(self.why),
        }
        match self.verdict:
            case "taken":
                return _("{field} was {before} and is {now} from here on: {why}.", **said)
            case "no effect":
                return _("{field} was {before}; {now} has no effect: {why}.", **said)
            case _:
                return _("{field} was {before} and cannot become {now}: {why}.", **said)


def shown(value: Any) -> str:
    """A value as it stands in YAML, on one line."""
    import yaml

    plain = value.model_dump(mode="json") if hasattr(value, "model_dump") else value
    if isinstance(plain, list):
        plain = [item.model_dump(mode="json") if hasattr(item, "model_dump") else item for item in plain]
    text = yaml.safe_dump(plain, default_flow_style=True, allow_unicode=True, width=10_000, sort_keys=False)
    return text.removesuffix("\n").removesuffix("\n...")


def edits(before: RunConfig, asked: RunConfig | None, now: RunConfig) -> list[Edit]:
    """Every field that was edited, in the order of the schema.

    Args:
        before: The config the run was trained with, without any `auto`.
        asked: The same as it was asked for, or None where that is not known.
        now: As it is asked for now.
    """
    found = []
    for path in options():
        new, had = _told_value(now, path), _told_value(before, path)
        known = had if asked is None else _told_value(asked, path)
        if new == known or (asked is None and new == "auto"):
            continue
        verdict, why = _judge(before, now, path)
        found.append(Edit(path, had, new, verdict, why))
    return found


def _told_value(config: RunConfig, path: str) -> Any:
    """A value as it is told of: what a checkpoint knows, and a journal says, holds no addresses."""
    value = get_value(config, path)
    told = path == notices.FIELD and isinstance(value, list)
    return notices.shown_entries(value) if told else value


def _judge(before: RunConfig, now: RunConfig, path: str) -> Rule:
    new, had = _told_value(now, path), _told_value(before, path)
    if new == had:
        return "no effect", N_("the run has this value already")
    if new == "auto" and path not in ANEW:
        return "no effect", N_("what it became stays")
    rule = RULES.get(path, ("refused", N_("it is not known what it would do")))
    return rule(before, now, path) if callable(rule) else rule


# ---- rules that depend on values --------------------------------------------------------------------------


def _of_method(before: RunConfig, now: RunConfig, path: str) -> Rule:
    kind = before.method.kind
    if path.partition(".")[2] not in METHOD_FIELDS.get(kind, ()):
        return "no effect", N_("the method of this run does not read it")
    return "refused", N_("the trained weights have another shape or another meaning with it")


def _length(before: RunConfig, now: RunConfig, path: str) -> Rule:
    """Whether the steps that were done had the same learning rates in a run of the new length."""
    if path == "training.epochs" and before.training.max_steps and now.training.max_steps:
        return "no effect", N_("training.max_steps decides how long the run is")
    training = before.training
    if training.schedule not in ("constant", "inverse_sqrt"):
        return "refused", N_("the learning rate falls over all steps, so earlier ones had other rates")
    steps = before.training.max_steps, now.training.max_steps
    warmups = [round(training.warmup * total) for total in steps if total]
    if training.warmup and (len(warmups) < 2 or warmups[0] != warmups[1]):
        return "refused", N_("the warm-up is a share of all steps, so earlier ones had other rates")
    return "taken", N_("the steps that are done were the same in a run of this length")


def _path(before: RunConfig, now: RunConfig, path: str) -> Rule:
    return "taken", N_("files may move; what is read is held against what the run began with")


def _validation(before: RunConfig, now: RunConfig, path: str) -> Rule:
    if isinstance(get_value(before, path), str) and isinstance(get_value(now, path), str):
        return _path(before, now, path)
    if not get_value(before, path) and not get_value(now, path):
        return "no effect", N_("nothing is held out with either")
    return "refused", N_("other rows would be trained")


def _micro_batch(before: RunConfig, now: RunConfig, path: str) -> Rule:
    if now.training.micro_batch > before.training.micro_batch:  # type: ignore[operator]
        return "no effect", N_("the micro-batch of a run gets smaller where memory asks for it, never larger")
    if before.method.dropout and "dropout" in METHOD_FIELDS.get(before.method.kind, ()):
        return "refused", N_("dropout draws other random numbers where a batch is cut into other parts")
    return "taken", N_("a batch is the same in smaller parts")


def _vocabulary(before: RunConfig, now: RunConfig, path: str) -> Rule:
    if before.model.tokenizer == "train":
        return "refused", N_("the tokenizer is learnt already")
    return "no effect", N_("no tokenizer is learnt in this run")


# ---- the table --------------------------------------------------------------------------------------------

_MODEL: Rule = "refused", N_("what is trained so far belongs to another model")
_MOVED: Rule = (
    "refused",
    N_("what is trained so far belongs to that model; if it has only moved, link it to where it was"),
)
_NUMBERS: Rule = "refused", N_("the rest of the run would be computed in other numbers")
_COMPUTED: Rule = "no effect", N_("a run computes all its steps the way it began with")
_ROWS: Rule = "refused", N_("other rows or other tokens would be trained")
_OPTIMIZER: Rule = "refused", N_("the optimizer's state, or its steps so far, come from another setting")
_RATE: Rule = "refused", N_("the steps that are done had rates of another schedule")
_RANDOM: Rule = "refused", N_("rows would come in another order, and random numbers would be others")
_BATCH: Rule = "refused", N_("the steps that are done had batches of another size")
_STOPPING: Rule = "taken", N_("it decides when to stop and ask, and nothing that is trained")
_SHOWN: Rule = "taken", N_("it decides what is measured and shown, and nothing that is trained")
_KEPT: Rule = "taken", N_("it decides what is kept, and nothing that is trained")
_TROUBLE: Rule = "taken", N_("it decides what is done about trouble from here on")
_SPEED: Rule = "taken", N_("it decides how fast the same is computed")
_PLACE: Rule = "no effect", N_("the run stays in its folder")

RULES: dict[str, Rule | Judge] = {
    "task": ("refused", N_("another task is another run")),
    "model.name": _MOVED,
    "model.hub": _MODEL,
    "model.revision": _MODEL,
    "model.dtype": _NUMBERS,
    "model.quantization": _NUMBERS,
    "model.double_quant": _NUMBERS,
    "model.attention": _NUMBERS,
    "model.chat_template": _path,
    "model.trust_remote_code": ("refused", N_("other code would compute the model")),
    "model.architecture": _MODEL,
    "model.tokenizer": _path,
    "model.vocabulary": _vocabulary,
    "data.path": _path,
    "data.format": _path,
    "data.header": _path,
    "data.columns": _path,
    "data.field": _path,
    "data.encoding": _path,
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
    "data.validation": _validation,
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
    "method.kind": ("refused", N_("the trained weights are those of another method")),
    "method.rank": _of_method,
    "method.alpha": _of_method,
    "method.dropout": _of_method,
    "method.targets": _of_method,
    "method.layers": _of_method,
    "method.train_embeddings": _of_method,
    "method.virtual_tokens": _of_method,
    "method.encoder_size": _of_method,
    "method.initial_text": ("no effect", N_("it is where the training began")),
    "training.learning_rate": _RATE,
    "training.epochs": _length,
    "training.max_steps": _length,
    "training.batch_size": _BATCH,
    "training.micro_batch": _micro_batch,
    "training.gradient_checkpointing": _SPEED,
    "training.optimizer": _OPTIMIZER,
    "training.schedule": _RATE,
    "training.warmup": _RATE,
    "training.weight_decay": _OPTIMIZER,
    "training.max_grad_norm": _OPTIMIZER,
    "training.adam_beta1": _OPTIMIZER,
    "training.adam_beta2": _OPTIMIZER,
    "training.loss": _COMPUTED,
    "training.class_weights": ("refused", N_("the steps that are done weighed the classes otherwise")),
    "training.neftune_alpha": ("refused", N_("the steps that are done had other noise")),
    "training.autocast": _NUMBERS,
    "training.compile": _SPEED,
    "training.tf32": _NUMBERS,
    "training.deterministic": ("taken", N_("it decides which of equal kernels compute")),
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
    "evaluation.best": ("refused", N_("the best so far was chosen by the other metric")),
    "evaluation.null_threshold": _SHOWN,
    "evaluation.early_stopping": _TROUBLE,
    "output.folder": _PLACE,
    "output.name": _PLACE,
    "output.save_every": _KEPT,
    "output.save_minutes": _KEPT,
    "output.keep": _KEPT,
    "output.notify": ("taken", N_("it decides who is told, and nothing that is trained")),
    "hardware.devices": ("taken", N_("the same is computed elsewhere, equal up to rounding")),
    "hardware.budget": _STOPPING,
    "hardware.price_per_hour": _STOPPING,
}
