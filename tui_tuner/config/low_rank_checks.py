"""Values of the LoRA family's fields that are valid alone and cannot be combined."""

from __future__ import annotations

from tui_tuner.config.kinds.method_kind import Trait
from tui_tuner.config.kinds.methods import METHODS
from tui_tuner.config.sections.method import MethodSection
from tui_tuner.config.sections.model import ModelSection
from tui_tuner.config.sections.name_patterns import list_expert_targets
from tui_tuner.locales import _


def list_low_rank_problems(method: MethodSection, model: ModelSection) -> list[str]:
    """Return each as `field: sentence`; a field that the method does not read is none."""
    found = []
    if method.reads_field("init"):
        found += [f"method.init: {said}" for said in _list_init_problems(method.init, model.quantization)]
    if method.reads_field("final_rank") and method.kept_rank >= method.rank:
        if method.final_rank is None:
            said = _("a rank of {rank} leaves nothing to take away; use 2 or more", rank=method.rank)
            return [*found, f"method.rank: {said}"]
        said = _(
            "{final} is not below method.rank {rank}, so that there is nothing to take away",
            final=method.final_rank,
            rank=method.rank,
        )
        found.append(f"method.final_rank: {said}")
    if method.reads_field("targets") and list_expert_targets(method.targets):
        found += _list_expert_problems(method, model)
    return found


def _list_expert_problems(method: MethodSection, model: ModelSection) -> list[str]:
    """Return what peft's adapters of fused experts, three-dimensional weights, cannot be combined with."""
    if not method.has_trait(Trait.EXPERTS):
        able = ", ".join(name for name, kind in METHODS.items() if kind.has_trait(Trait.EXPERTS))
        said = _(
            "peft puts {kind} on linear layers only, and a mixture's experts are fused in weights of three "
            "dimensions; use {able}, or leave the experts out",
            kind=method.kind,
            able=able,
        )
        return [f"method.targets: {said}"]
    found = []
    if method.dropout:
        said = _("experts with an adapter take no dropout, as it is added to their weights; use 0")
        found.append(f"method.dropout: {said}")
    if method.init != "default":
        found.append("method.init: " + _("adapters of experts begin at random; use default"))
    for field in ("rank_pattern", "alpha_pattern"):
        if getattr(method, field):
            said = _("with experts among method.targets all adapters have one rank and alpha; leave it out")
            found.append(f"method.{field}: {said}")
    if model.quantization != "none":
        said = _("an adapter of experts is added to their weights, which {bits} does not allow; use none",
                 bits=model.quantization)  # fmt: skip
        found.append(f"model.quantization: {said}")
    if model.adapter is not None and model.adapter_use == "stack":
        said = _("peft carries one adapter on an expert's weights; use merge or continue")
        found.append(f"model.adapter_use: {said}")
    return found


def _list_init_problems(init: str, quantization: str) -> list[str]:
    if init in ("pissa", "olora") and quantization != "none":
        return [
            _(
                "{init} takes a part out of the weights, and {quantization} weights would be rounded anew by "
                "that; use loftq for a model in 4 bits, or quantization none",
                init=init,
                quantization=quantization,
            )
        ]
    if init == "loftq" and quantization != "nf4":
        return [
            _(
                "loftq gives back what weights in 4 bits have lost, and here there are none; set "
                "model.quantization to nf4, or use default"
            )
        ]
    return []
