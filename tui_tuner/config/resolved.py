"""A config in which every `auto` that training needs a value for has one, with the types to match.

`planning.resolve` and `planning.fit.settle` make it. What their rooms decide later stays open: `data.format`,
`data.problem`, `data.workers`, `evaluation.metrics`, `evaluation.null_threshold`, `output.name` and
`training.loss`.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field

from tui_tuner.config.options import get_value
from tui_tuner.config.schema import RunConfig
from tui_tuner.config.sections.base import Section
from tui_tuner.config.sections.data import DataSection
from tui_tuner.config.sections.evaluation import EvaluationSection
from tui_tuner.config.sections.hardware import HardwareSection
from tui_tuner.config.sections.model import Attention, Dtype, ModelSection
from tui_tuner.config.sections.output import OutputSection
from tui_tuner.config.sections.training import Checkpointing, Optimizer, TrainingSection
from tui_tuner.config.values import validated
from tui_tuner.errors import ConfigError
from tui_tuner.locales import _n


def _settled(section: type[Section], name: str) -> Any:
    """The field of that section without its default: help and limits stay, `auto` is no value any more."""
    field = section.model_fields[name]
    return Field(description=field.description, json_schema_extra=field.json_schema_extra)


class ResolvedModel(ModelSection):
    dtype: Dtype = _settled(ModelSection, "dtype")
    attention: Attention = _settled(ModelSection, "attention")


class ResolvedData(DataSection):
    packing: bool = _settled(DataSection, "packing")


class ResolvedTraining(TrainingSection):
    learning_rate: float = _settled(TrainingSection, "learning_rate")
    micro_batch: int = _settled(TrainingSection, "micro_batch")
    gradient_checkpointing: Checkpointing = _settled(TrainingSection, "gradient_checkpointing")
    optimizer: Optimizer = _settled(TrainingSection, "optimizer")
    autocast: bool = _settled(TrainingSection, "autocast")
    compile: bool = _settled(TrainingSection, "compile")


class ResolvedEvaluation(EvaluationSection):
    every: int | float | None = _settled(EvaluationSection, "every")
    best: str = _settled(EvaluationSection, "best")


class ResolvedOutput(OutputSection):
    save_every: int | float | None = _settled(OutputSection, "save_every")


class ResolvedHardware(HardwareSection):
    devices: int | Literal["cpu"] = _settled(HardwareSection, "devices")


class ResolvedConfig(RunConfig):
    """A config that training can run as it is."""

    model: ResolvedModel = _settled(RunConfig, "model")
    data: ResolvedData = _settled(RunConfig, "data")
    training: ResolvedTraining = _settled(RunConfig, "training")
    evaluation: ResolvedEvaluation = _settled(RunConfig, "evaluation")
    output: ResolvedOutput = _settled(RunConfig, "output")
    hardware: ResolvedHardware = _settled(RunConfig, "hardware")

    @classmethod
    def of(cls, config: RunConfig) -> ResolvedConfig:
        """The same values as this type; what is one already stays the same object.

        Raises:
            ConfigError: a field that training needs a value for is still `auto`; it is named.
        """
        if isinstance(config, cls):
            return config
        still_auto = [path for path in SETTLED if get_value(config, path) == "auto"]
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
        return validated(cls, values)


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
