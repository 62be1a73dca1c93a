"""FourierFT (arXiv 2405.03003): updates made of a few trained frequencies, through peft."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from tui_tuner.errors import ConfigError
from tui_tuner.locales import _
from tui_tuner.methods.layers import HEADED, is_transposed, name_peft_targets
from tui_tuner.methods.numbers.target_names import list_targets
from tui_tuner.methods.numbers.update_shapes import SpectrumNumbers
from tui_tuner.methods.peft_method import PeftMethod, wrap_peft_model
from tui_tuner.methods.structured.target_shapes import list_shapes

if TYPE_CHECKING:
    from torch.nn import Module

    from tui_tuner.config.schema import RunConfig
    from tui_tuner.models.facts import ModelFacts

WRITING, DECIDING = 300.0, 150.0  # of the paper's runs on instructions, and on GLUE


class FourierFt(SpectrumNumbers, PeftMethod):
    """The strengths of waves next to each linear layer; which waves follows from the seed."""

    peft_type = "FOURIERFT"
    names: ClassVar[Mapping[str, str]] = {"frequencies": "n_frequency"}

    def check_model(self, config: RunConfig, facts: ModelFacts) -> None:
        if facts.verified:
            sizes = [one.inputs * one.outputs for one in list_targets(config.method, facts)]
            check_frequencies(config.method.frequencies, min(sizes, default=config.method.frequencies))

    def attach(self, model: Module, config: RunConfig, peft_type: str) -> Module:
        from peft import FourierFTConfig

        method, targets = config.method, name_peft_targets(model, config, peft_type)
        sizes = [inputs * outputs for inputs, outputs in list_shapes(model, targets)]
        check_frequencies(method.frequencies, min(sizes, default=method.frequencies))
        settings = FourierFTConfig(
            n_frequency=method.frequencies,
            scaling=DECIDING if peft_type in HEADED else WRITING,
            random_loc_seed=config.training.seed,
            # The paper begins with noise; from zeros the run begins as the base model
            init_weights=True,
            fan_in_fan_out=is_transposed(model),
            **targets,
        )
        return wrap_peft_model(model, settings)


def check_frequencies(asked: int, most: int) -> None:
    """Raise `ConfigError` for more frequencies than the smallest matrix has numbers."""
    if asked > most:
        raise ConfigError(
            _(
                "{asked:,} frequencies are more than a matrix of {most:,} numbers has.",
                asked=asked,
                most=most,
            ),
            where="method.frequencies",
            field="method.frequencies",
            hint=_("Use at most {most:,}; 1,000 is usual.", most=most),
        )


METHODS = (FourierFt("fourierft"),)
