"""Which tensors a GGUF file has, from which weights each is made, and how; nothing is read here."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tui_tuner.errors import ModelError
from tui_tuner.exporting.gguf.families import Family
from tui_tuner.locales import _
from tui_tuner.text import one_line

if TYPE_CHECKING:
    from torch import Tensor

Shape = tuple[int, ...]
_EXPERT = re.compile(r"(.*\.mlp\.experts)\.(\d+)\.(gate_proj|up_proj|down_proj)\.weight")
# Numbers that transformers computes from the config, and masks that old checkpoints hold
_DERIVED = (".rotary_emb.inv_freq", ".attn.bias", ".attn.masked_bias", ".attention.bias")
_HEAD = "lm_head.weight"


@dataclass(frozen=True)
class PlannedTensor:
    """A tensor of the file.

    Args:
        name: Its name in GGUF.
        shape: Its shape as torch counts, rows first.
        sources: The weights that it is made of, by their names in safetensors.
        make: Makes it of them.
    """

    name: str
    shape: Shape
    sources: tuple[str, ...]
    make: Callable[[Sequence[Tensor]], Tensor]


def plan_tensors(family: Family, config: Any, shapes: Mapping[str, Shape], where: str) -> list[PlannedTensor]:
    """Plan the tensors of a file in the order of its layers.

    Args:
        config: Of the part that writes text.
        shapes: Name of a weight in safetensors -> its shape.

    Raises:
        ModelError: a weight has no place in GGUF, or one is missing that ties or heads need.
    """
    from gguf import MODEL_ARCH_NAMES, get_tensor_name_map

    arch = next(one for one, name in MODEL_ARCH_NAMES.items() if name == family.architecture)
    names = get_tensor_name_map(arch, config.num_hidden_layers)
    tied = bool(config.tie_word_embeddings)
    kept = {name: shape for name, shape in shapes.items() if not name.endswith(_DERIVED)}
    if tied:
        # llama.cpp takes the embeddings where there is no head
        kept.pop(_HEAD, None)
    elif _HEAD not in kept:
        raise ModelError(_("has no lm_head.weight, and its config ties none."), where=one_line(where))
    planned: list[PlannedTensor] = []
    for name, sources, shape, make in _group_weights(family, config, kept):
        found = names.get_name(_strip_prefix(name, family), try_suffixes=(".weight", ".bias"))
        if found is None:
            raise ModelError(
                _("GGUF has no place for the weight {name}.", name=one_line(name, 120)),
                where=one_line(where),
                hint=_("Export it with `--to merged`."),
            )
        planned.append(PlannedTensor(found, shape, sources, make))
    return sorted(planned, key=_order_tensor)


def _strip_prefix(name: str, family: Family) -> str:
    # GPT-2's own files name weights without the model's prefix
    if family.architecture == "gpt2" and not name.startswith(("transformer.", "lm_head")):
        return f"transformer.{name}"
    return name


def _order_tensor(tensor: PlannedTensor) -> tuple[int, int, str]:
    """Sort embeddings first, then layers, then what follows them: as a model is computed."""
    found = re.match(r"blk\.(\d+)\.", tensor.name)
    if found:
        return 1, int(found[1]), tensor.name
    return (2 if tensor.name.startswith("output") else 0), 0, tensor.name


_Group = tuple[str, tuple[str, ...], Shape, Callable[[Sequence["Tensor"]], "Tensor"]]


def _group_weights(family: Family, config: Any, shapes: Mapping[str, Shape]) -> Iterable[_Group]:
    """Yield (name that leads to the GGUF name, weights it is made of, shape, how)."""
    experts: dict[str, dict[int, str]] = {}
    for name, shape in shapes.items():
        found = _EXPERT.fullmatch(name) if family.experts else None
        if found:
            experts.setdefault(f"{found[1]}.{found[3]}.weight", {})[int(found[2])] = name
        elif family.experts and name.endswith((".mlp.experts.gate_up_proj", ".mlp.experts.down_proj")):
            yield from _split_fused(name, shape)
        else:
            yield _plan_weight(family, config, name, shape)
    for name, members in experts.items():
        ordered = tuple(members[number] for number in sorted(members))
        yield name, ordered, (len(ordered), *shapes[ordered[0]]), _stack


def _split_fused(name: str, shape: Shape) -> Iterable[_Group]:
    """Split what may be stored as one weight for all experts: gates and ups [experts, 2 * inner, hidden]."""
    if name.endswith("down_proj"):
        yield f"{name}.weight", (name,), shape, _take_first
        return
    base = name.removesuffix("gate_up_proj")
    half = (shape[0], shape[1] // 2, shape[2])
    yield f"{base}gate_proj.weight", (name,), half, lambda weights: weights[0].chunk(2, dim=1)[0]
    yield f"{base}up_proj.weight", (name,), half, lambda weights: weights[0].chunk(2, dim=1)[1]


def _plan_weight(family: Family, config: Any, name: str, shape: Shape) -> _Group:
    if family.transposed and name.endswith(family.transposed):
        return name, (name,), (shape[1], shape[0]), lambda weights: weights[0].T
    if family.norm_offset and name.endswith("norm.weight"):
        # added in float32: near 1, 16 bits would lose most of what the weight says
        return name, (name,), shape, lambda weights: weights[0].float() + family.norm_offset
    if family.interleaved and name.endswith(("q_proj.weight", "q_proj.bias")):
        return name, (name,), shape, _make_interleaver(config.num_attention_heads)
    if family.interleaved and name.endswith(("k_proj.weight", "k_proj.bias")):
        return name, (name,), shape, _make_interleaver(config.num_key_value_heads)
    return name, (name,), shape, _take_first


def _make_interleaver(heads: int) -> Callable[[Sequence[Tensor]], Tensor]:
    def interleave(weights: Sequence[Tensor]) -> Tensor:
        # row i of a head's first half and row i of its second half turn together, and become neighbours
        (weight,) = weights
        halves = weight.reshape(heads, 2, weight.shape[0] // heads // 2, *weight.shape[1:])
        return halves.transpose(1, 2).reshape(weight.shape)

    return interleave


def _stack(weights: Sequence[Tensor]) -> Tensor:
    import torch

    return torch.stack(list(weights))


def _take_first(weights: Sequence[Tensor]) -> Tensor:
    return weights[0]
