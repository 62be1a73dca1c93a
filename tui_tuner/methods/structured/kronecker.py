"""LoKr (arXiv 2309.14859): updates that are Kronecker products of two small matrices, through peft."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from tui_tuner.errors import ConfigError
from tui_tuner.locales import _
from tui_tuner.methods.layers import name_peft_targets
from tui_tuner.methods.loha import never_leave_out
from tui_tuner.methods.numbers.target_names import list_targets
from tui_tuner.methods.numbers.update_shapes import KroneckerNumbers, split_side
from tui_tuner.methods.peft_method import PeftMethod, wrap_peft_model
from tui_tuner.methods.refusals import refuse_transposed
from tui_tuner.methods.structured.target_shapes import list_shapes

if TYPE_CHECKING:
    from pathlib import Path

    from torch.nn import Module

    from tui_tuner.config.schema import RunConfig
    from tui_tuner.config.sections.method import MethodSection
    from tui_tuner.models.facts import ModelFacts

SQUARE = -1  # peft's factor for as many parts as each is long


class LoKr(KroneckerNumbers, PeftMethod):
    """A small matrix next to each linear layer, and one as large as a block of it, whole or low-rank."""

    peft_type = "LOKR"
    names: ClassVar[Mapping[str, str]] = {
        "rank": "r",
        "alpha": "alpha",
        "decompose_factor": "decompose_factor",
        "decompose_both": "decompose_both",
    }
    stacks = True

    def check_model(self, config: RunConfig, facts: ModelFacts) -> None:
        refuse_transposed(self, facts)
        if facts.verified:
            found = list_targets(config.method, facts)
            check_rank(config.method, [(one.inputs, one.outputs) for one in found])

    def attach(self, model: Module, config: RunConfig, peft_type: str) -> Module:
        from peft import LoKrConfig

        method, targets = config.method, name_peft_targets(model, config, peft_type)
        check_rank(method, list_shapes(model, targets))
        settings = LoKrConfig(
            r=method.rank,
            alpha=method.alpha,
            decompose_factor=method.decompose_factor or SQUARE,
            decompose_both=method.decompose_both,
            **targets,
        )
        return never_leave_out(wrap_peft_model(model, settings))

    def read_fields(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        found = super().read_fields(settings)
        if found.get("decompose_factor") == SQUARE:
            found["decompose_factor"] = None
        return found

    def continue_adapter(self, base: Module, folder: Path) -> Module:
        return never_leave_out(super().continue_adapter(base, folder))


def check_rank(method: MethodSection, shapes: list[tuple[int, int]]) -> None:
    """Raise `ConfigError` for a rank above the largest block that LoKr makes.

    Args:
        shapes: [inputs, outputs] of each matrix that gets an adapter.
    """
    longest = [max(split_side(side, method.decompose_factor)[1] for side in sides) for sides in shapes]
    most = max(longest, default=method.rank)
    if method.rank <= most:
        return
    raise ConfigError(
        _(
            "rank {rank} is above what LoKr's blocks can hold, which is {most}.",
            rank=method.rank,
            most=most,
        ),
        where="method.rank",
        field="method.rank",
        hint=_(
            "From {half} on the largest blocks are trained whole; a lower method.decompose_factor makes them "
            "larger.",
            half=-(-most // 2),
        ),
    )


METHODS = (LoKr("lokr"),)
