"""LoRA, DoRA and rank-stabilised LoRA, through peft."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from tui_tuner.config.sections.name_patterns import find_number, list_unmatched
from tui_tuner.errors import ConfigError
from tui_tuner.locales import _
from tui_tuner.methods.attached import find_attached
from tui_tuner.methods.first_values.beginnings import (
    NEEDS_ROWS,
    begin_low_rank,
    list_low_rank,
    write_for_original,
)
from tui_tuner.methods.layers import (
    ALL,
    choose_experts,
    is_transposed,
    list_expert_weights,
    list_linears,
    name_embedding_layers,
    name_linear_layers,
    name_peft_targets,
    refuse_target,
)
from tui_tuner.methods.new_rows import name_trained_rows, quicken_new_rows
from tui_tuner.methods.numbers.matrices import DORA, LORA, RSLORA, LowRankNumbers
from tui_tuner.methods.numbers.rates import Rates
from tui_tuner.methods.peft_method import PeftMethod
from tui_tuner.methods.refusals import refuse_rank
from tui_tuner.methods.stored import is_embedding
from tui_tuner.text import one_line

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

    from tui_tuner.config.schema import RunConfig
    from tui_tuner.config.sections.method import MethodSection
    from tui_tuner.methods.method import FirstPasses


class Lora(LowRankNumbers, PeftMethod):
    """Low-rank matrices next to linear layers.

    Args:
        rates: Customary learning rates.
        magnitudes: The length of each output's weights is trained separately from their direction: DoRA.
        stabilised: Updates are scaled by alpha / sqrt(rank) instead of alpha / rank: rsLoRA.
    """

    peft_type = "LORA"
    names: ClassVar[Mapping[str, str]] = {"rank": "r", "alpha": "lora_alpha", "dropout": "lora_dropout"}
    stacks = True

    def __init__(
        self, name: str, rates: Rates, *, magnitudes: bool = False, stabilised: bool = False
    ) -> None:
        super().__init__(name)
        self.rates = rates
        self.magnitudes = magnitudes
        self.stabilised = stabilised

    def is_made_by(self, settings: Mapping[str, Any]) -> bool:
        if not super().is_made_by(settings) or self.magnitudes != bool(settings.get("use_dora")):
            return False
        # peft supports both scales for DoRA, and the scale does not make it another method
        return self.magnitudes or self.stabilised == bool(settings.get("use_rslora"))

    def can_stack(self, settings: Mapping[str, Any]) -> bool:
        return super().can_stack(settings) and not self.magnitudes

    def read_fields(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        kept = [f"{name}.weight" for name in settings.get("modules_to_save") or ()]
        return {
            **super().read_fields(settings),
            "train_embeddings": any(map(is_embedding, kept)),
            # peft saves no pattern as an empty one
            "rank_pattern": settings.get("rank_pattern") or None,
            "alpha_pattern": settings.get("alpha_pattern") or None,
            "init": "default",  # matrices that are trained already begin as nothing else
        }

    def attach(self, model: Module, config: RunConfig, peft_type: str) -> Module:
        from peft import LoraConfig, get_peft_model

        method = config.method
        check_patterns(model, method)
        options = name_adapted(model, config, peft_type)
        options["target_modules"] = leave_taken(model, options["target_modules"], method.targets)
        experts = choose_experts(model, method.targets, method.layers)
        if experts:
            options["target_parameters"] = experts
        try:
            settings = LoraConfig(
                r=method.rank,
                lora_alpha=method.alpha,
                lora_dropout=method.dropout,
                rank_pattern=dict(method.rank_pattern or {}),
                alpha_pattern=dict(method.alpha_pattern or {}),
                use_dora=self.magnitudes,
                use_rslora=self.stabilised,
                **options,
            )
            adapted = get_peft_model(model, settings)
        except ValueError as error:
            raise ConfigError(one_line(error, 300), where="method", field="method.kind") from error
        check_ranks(adapted, method)
        quicken_new_rows(adapted)
        begin_low_rank(self, adapted, config)
        return adapted

    def reads_rows(self, section: MethodSection) -> bool:
        return section.init in NEEDS_ROWS

    def begin_with_rows(self, model: Module, passes: FirstPasses) -> None:
        from tui_tuner.methods.first_values.row_directions import begin_with_directions

        begin_with_directions(model, passes)

    def trains_faster(self, name: str) -> bool:
        return "lora_B" in name

    def export_size(self, model: Module) -> float:
        found = find_attached(model)
        return 2.0 if found is not None and found.taken else 1.0

    @contextlib.contextmanager
    def settle_export(self, model: Module) -> Iterator[dict[str, Tensor] | None]:
        with write_for_original(model, self.stabilised) as tensors:
            yield tensors


def leave_taken(model: Module, names: list[str], targets: str | list[str]) -> list[str]:
    """Return the names of target layers without those that peft would take for the experts of a mixture.

    Where transformers 5 has fused the experts of a mixture, peft reads `gate_proj`, `up_proj` and `down_proj`
    as them in any adapter's settings, although dense layers and shared experts have these names too.

    Raises:
        ConfigError: a name among them was asked for.
    """
    from peft import LoraConfig
    from peft.utils.transformers_weight_conversion import convert_peft_config_for_transformers

    if not list_expert_weights(model):
        return names
    left = set()
    for name in names:
        tried = LoraConfig(target_modules=[name])
        try:
            convert_peft_config_for_transformers(tried, model, None)
        except ValueError:  # peft wants all of what is fused together
            continue
        if not tried.target_parameters:
            left.add(name)
    asked = [targets] if isinstance(targets, str) else targets
    taken = [name for name in names if name not in left and (name in asked or ALL not in asked)]
    if taken:
        raise ConfigError(
            _(
                "peft takes {name} of this model for its fused experts, so that no other layer of that name "
                "can have an adapter.",
                name=one_line(taken[0], 80),
            ),
            where="method.targets",
            field="method.targets",
            hint=_("Name the experts themselves, such as experts.gate_up_proj, or leave the name out."),
        )
    return [name for name in names if name in left]


def name_adapted(model: Module, config: RunConfig, peft_type: str) -> dict[str, Any]:
    """Return the arguments of a config of peft that name the layers of a low-rank adapter, and what else is
    trained and saved with it.
    """
    method = config.method
    options = name_peft_targets(model, config, peft_type)
    options |= {"fan_in_fan_out": is_transposed(model), "bias": "none"}
    if method.train_embeddings:
        kept = options["modules_to_save"] or []
        more = [name for name in name_embedding_layers(model) if name not in kept]
        # Otherwise peft trains two separate copies of a matrix that embeddings and head share
        options |= {"modules_to_save": (kept + more) or None, "ensure_weight_tying": True}
    elif (rows := name_trained_rows(model, config.model)) is not None:
        options["trainable_token_indices"] = rows
    return options


def check_patterns(model: Module, method: MethodSection) -> None:
    """Raise `ConfigError` for a key of a pattern that stands for no linear layer of the model."""
    names = list_linears(model)
    for field in ("rank_pattern", "alpha_pattern"):
        unknown = list_unmatched(getattr(method, field), names)
        if unknown:
            raise refuse_target(unknown[0], name_linear_layers(model), f"method.{field}")


def check_ranks(model: Module, method: MethodSection) -> None:
    """Raise `ConfigError` for a rank above the smaller side of the matrices that its updates are added to.

    Some architectures have a few tiny matrices, which a usual rank more than fills: that does no harm where
    the adapter begins at random.
    """
    layers = list_low_rank(model)
    sides = [min(layer.in_features, layer.out_features) for _name, layer in layers]
    for (name, layer), side in zip(layers, sides, strict=True):
        rank, own = max(layer.r.values()), find_number(method.rank_pattern, name, 0)
        most = side if own or method.init != "default" else max(sides)
        if rank > most:
            raise refuse_rank(rank, most, name, "method.rank_pattern" if own else "method.rank", alone=True)


METHODS = (
    Lora("lora", LORA),
    Lora("dora", DORA, magnitudes=True),
    Lora("rslora", RSLORA, stabilised=True),
)
