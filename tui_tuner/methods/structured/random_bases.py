"""RandLoRA (arXiv 2502.00987): trained mixtures of random low-rank products, through peft."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, ClassVar

from tui_tuner.errors import ConfigError
from tui_tuner.locales import _
from tui_tuner.methods.layers import is_transposed, name_inside, name_peft_targets
from tui_tuner.methods.numbers.target_names import list_targets
from tui_tuner.methods.numbers.update_shapes import RandomBasisNumbers
from tui_tuner.methods.peft_method import PeftMethod, wrap_peft_model
from tui_tuner.methods.structured.target_shapes import list_shapes

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

    from tui_tuner.config.schema import RunConfig
    from tui_tuner.models.facts import ModelFacts

SCALE = 20  # alpha / rank, of the paper's runs and peft's default


class RandLora(RandomBasisNumbers, PeftMethod):
    """Two trained matrices next to each linear layer that mix random ones; these follow from the seed."""

    peft_type = "RANDLORA"
    names: ClassVar[Mapping[str, str]] = {"rank": "r", "dropout": "randlora_dropout"}

    def check_model(self, config: RunConfig, facts: ModelFacts) -> None:
        if facts.verified:
            sides = [min(one.inputs, one.outputs) for one in list_targets(config.method, facts)]
            check_rank(config.method.rank, max(sides, default=config.method.rank))

    def attach(self, model: Module, config: RunConfig, peft_type: str) -> Module:
        from peft import RandLoraConfig

        method, targets = config.method, name_inside(model, name_peft_targets(model, config, peft_type))
        sides = [min(shape) for shape in list_shapes(model, targets)]
        check_rank(method.rank, max(sides, default=method.rank))
        settings = RandLoraConfig(
            r=method.rank,
            randlora_alpha=SCALE * method.rank,
            randlora_dropout=method.dropout,
            projection_prng_key=config.training.seed,
            # peft cannot promise that another version of torch draws the same matrices
            save_projection=True,
            fan_in_fan_out=is_transposed(model),
            **targets,
        )
        return wrap_peft_model(model, settings)

    @contextlib.contextmanager
    def settle_export(self, model: Module) -> Iterator[dict[str, Tensor] | None]:
        end = f".{model.active_adapter}"
        yield {
            name: value
            for name, value in model.state_dict().items()
            if not self.is_copy(name.removesuffix(end))
        }

    def is_copy(self, name: str) -> bool:
        # Every layer holds the shared random matrices under a name of its own. peft would write a copy for
        # each, 173 GiB for a model of 7B at rank 16, and needs only the shared ones to load an adapter.
        return name.endswith((".randlora_A", ".randlora_B")) and not name.startswith("base_model.randlora_")

    def export_size(self, model: Module) -> float:
        """The random matrices are saved with what is trained."""
        tuner, name = model.base_model, model.active_adapter
        random = sum(one[name].numel() for one in (tuner.randlora_A, tuner.randlora_B))
        trained = sum(one.numel() for one in model.parameters() if one.requires_grad)
        return 1.0 + random / max(1, trained)


def check_rank(rank: int, most: int) -> None:
    """Raise `ConfigError` for a rank above the smaller side of every matrix."""
    if rank > most:
        raise ConfigError(
            _("rank {rank} is above what any matrix can hold, which is {most}.", rank=rank, most=most),
            where="method.rank",
            field="method.rank",
            hint=_("Use at most {most}; 32 is usual, and a lower rank trains more.", most=most),
        )


METHODS = (RandLora("randlora"),)
