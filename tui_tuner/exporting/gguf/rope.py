"""Rotary embeddings as GGUF describes them: keys, and factors of frequencies as tensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tui_tuner.errors import ModelError
from tui_tuner.locales import _
from tui_tuner.text import one_line

if TYPE_CHECKING:
    from torch import Tensor

_YARN_DEFAULTS = {"beta_fast": (None, 32, 32.0), "beta_slow": (None, 1, 1.0), "truncate": (None, True)}


@dataclass
class Rope:
    """What a file says about positions.

    Args:
        values: Key below `ARCHITECTURE.rope.` -> value.
        factors: Name of a tensor -> divisors of the frequencies [head size / 2].
    """

    values: dict[str, Any] = field(default_factory=dict)
    factors: dict[str, Tensor] = field(default_factory=dict)


def describe_rope(config: Any, where: str) -> Rope:
    """Describe the rotary embedding of a model; empty for one without.

    Raises:
        ModelError: it is scaled in a way that llama.cpp does not compute.
    """
    told = getattr(config, "rope_parameters", None)
    if not told:
        return Rope()
    # models with windows have two: one for the layers that see the whole text, one for the others
    whole = told.get("full_attention", told)
    rope = Rope({"freq_base": float(whole["rope_theta"])})
    local = told.get("sliding_attention")
    if local:
        if str(local.get("rope_type", "default")) != "default":
            raise _refuse(where, _("the positions of its layers with a window are scaled."))
        rope.values["freq_base_swa"] = float(local["rope_theta"])
    kind = str(whole.get("rope_type", "default"))
    describe = _KINDS.get(kind)
    if describe is None:
        raise _refuse(where, _("its positions are scaled by {kind}.", kind=one_line(kind, 40)))
    describe(rope, config, whole, where)
    return rope


def _describe_default(rope: Rope, config: Any, told: Mapping[str, Any], where: str) -> None:
    return None


def _describe_linear(rope: Rope, config: Any, told: Mapping[str, Any], where: str) -> None:
    rope.values |= {"scaling.type": "linear", "scaling.factor": float(told["factor"])}


def _describe_yarn(rope: Rope, config: Any, told: Mapping[str, Any], where: str) -> None:
    unusual = [name for name, usual in _YARN_DEFAULTS.items() if told.get(name) not in usual]
    # llama.cpp derives the factor of attention from the scale, as transformers does where none is given
    unusual += [
        name for name in ("attention_factor", "mscale", "mscale_all_dim") if told.get(name) is not None
    ]
    if unusual:
        raise _refuse(where, _("its YaRN has a {name} of its own.", name=unusual[0]))
    original = told.get("original_max_position_embeddings") or config.max_position_embeddings
    rope.values |= {
        "scaling.type": "yarn",
        "scaling.factor": float(told["factor"]),
        "scaling.original_context_length": int(original),
    }


def _describe_llama3(rope: Rope, config: Any, told: Mapping[str, Any], where: str) -> None:
    # llama.cpp does not know this kind by name: it divides each frequency by a number from the file
    rope.factors["rope_freqs.weight"] = _divide_frequencies(config, told, "llama3")


def _divide_frequencies(config: Any, told: Mapping[str, Any], kind: str) -> Tensor:
    """Return by what transformers divides each frequency: unscaled / scaled [head size / 2]."""
    import torch
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    scaled, _factor = ROPE_INIT_FUNCTIONS[kind](config, "cpu")
    size = 2 * len(scaled)
    steps = torch.arange(0, size, 2, dtype=torch.int64).float() / size
    return (1.0 / told["rope_theta"] ** steps / scaled.float()).contiguous()


_KINDS = {
    "default": _describe_default,
    "linear": _describe_linear,
    "yarn": _describe_yarn,
    "llama3": _describe_llama3,
}


def _refuse(where: str, problem: str) -> ModelError:
    return ModelError(
        _("llama.cpp would compute this model differently: {problem}", problem=problem),
        where=one_line(where),
        hint=_("Export it with `--to merged`; transformers and vLLM compute it as it was trained."),
    )
