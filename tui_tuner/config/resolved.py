"""The config that training uses: every `auto` that it depends on has a value, and the types say so.

`planning.resolve` and `planning.fit.fit_config_to_machine` make it. Fields that are decided later may still
be `auto`: `data.format`, `data.problem`, `data.workers`, `evaluation.metrics`, `evaluation.null_threshold`,
`output.name` and `training.loss`.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field

from tui_tuner.config.options import get_config_value
from tui_tuner.config.schema import RunConfig
from tui_tuner.config.sections.data import DataSection
from tui_tuner.config.sections.evaluation import EvaluationSection
from tui_tuner.config.sections.field_options import Section
from tui_tuner.config.sections.hardware import HardwareSection
from tui_tuner.config.sections.model import Attention, Dtype, ModelSection
from tui_tuner.config.sections.output import OutputSection
from tui_tuner.config.sections.training import Checkpointing, Optimizer, TrainingSection
from tui_tuner.config.values import validate_values
from tui_tuner.errors import ConfigError
from tui_tuner.locales import _n


def _settle_field(section: type[Section], name: str) -> Any:
    """Return the field of a section without its default, so that it must be given; help and limits stay."""
    field = section.model_fields[name]
    return Field(description=field.description, json_schema_extra=field.json_schema_extra)


class ResolvedModel(ModelSection):
    dtype: Dtype = _settle_field(ModelSection, "dtype")
    attention: Attention = _settle_field(ModelSection, "attention")


class ResolvedData(DataSection):
    packing: bool = _settle_field(DataSection, "packing")


class ResolvedTraining(TrainingSection):
    learning_rate: float = _settle_field(TrainingSection, "learning_rate")
    micro_batch: int = _settle_field(TrainingSection, "micro_batch")
    gradient_checkpointing: Checkpointing = _settle_field(TrainingSection, "gradient_checkpointing")
    optimizer: Optimizer = _settle_field(TrainingSection, "optimizer")
    autocast: bool = _settle_field(TrainingSection, "autocast")
    compile: bool = _settle_field(TrainingSection, "compile")


class ResolvedEvaluation(EvaluationSection):
    every: int | float | None = _settle_field(EvaluationSection, "every")
    best: str = _settle_field(EvaluationSection, "best")


class ResolvedOutput(OutputSection):
    save_every: int | float | None = _settle_field(OutputSection, "save_every")


class ResolvedHardware(HardwareSection):
    devices: int | Literal["cpu"] = _settle_field(HardwareSection, "devices")


class ResolvedConfig(RunConfig):
    """A config without any `auto` that training depends on."""

    model: ResolvedModel = _settle_field(RunConfig, "model")
    data: ResolvedData = _settle_field(RunConfig, "data")
    training: ResolvedTraining = _settle_field(RunConfig, "training")
    evaluation: ResolvedEvaluation = _settle_field(RunConfig, "evaluation")
    output: ResolvedOutput = _settle_field(RunConfig, "output")
    hardware: ResolvedHardware = _settle_field(RunConfig, "hardware")

    @classmethod
    def from_config(cls, config: RunConfig) -> ResolvedConfig:
        """Convert a config to this type; one that already has it is returned as the same object.

        Raises:
            ConfigError: fields that training needs are still `auto`; the message names them.
        """
        if isinstance(config, cls):
            return config
        still_auto = [path for path in SETTLED if get_config_value(config, path) == "auto"]
        if still_auto:
            what = _n(
                "{fields} is still auto, but training needs a value.",
                "{fields} are still auto, but training needs a value.",
                len(still_auto),
                fields=", ".join(still_auto),
            )
            raise ConfigError(what)
        values = {
            name: dict(value) if name in _NARROWED and isinstance(value, BaseModel) else value
            for name, value in config
        }
        return validate_values(cls, values)


_NARROWED: dict[str, type[Section]] = {
    name: info.annotation
    for name, info in ResolvedConfig.model_fields.items()
    if info.annotation is not RunConfig.model_fields[name].annotation
    and isinstance(info.annotation, type)
    and issubclass(info.annotation, Section)
}
SETTLED: tuple[str, ...] = tuple(
    f"{section}.{name}" for section, kind in _NARROWED.items() for name in kind.__annotations__
)  # the fields that cannot be `auto` here
