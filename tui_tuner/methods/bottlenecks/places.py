"""Where bottleneck adapters sit in a model, found in the model itself: projections, norms, what is added to.

A layer has two branches, attention and feed-forward. What a branch computes, `h`, is added to what entered
it, the residual `r`. Encoders of BERT's kind norm the sum; decoders norm what enters the branch.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from torch.nn import Linear, Module
from transformers.pytorch_utils import Conv1D

from tui_tuner.locales import _
from tui_tuner.methods.layers import list_layers
from tui_tuner.models.architectures.encoder_decoders import ENCODER_DECODERS
from tui_tuner.models.architectures.family import Family

PFEIFFER, HOULSBY, PARALLEL = "pfeiffer", "houlsby", "parallel"
# What is computed at a place, of its module's output y and its adapter f
NORMED = "normed"  # the place is the norm of the sum s: norm(s + f(norm(s)))
SUMMED = "summed"  # y + f(r + y)
AFTER = "after"  # y + f(y)
BESIDE = "beside"  # y + f(r)
_ATTENTION = re.compile(r"attn|attention", re.IGNORECASE)


class UnfitModel(ValueError):
    """A model whose layers cannot carry these adapters; says why."""


@dataclass(frozen=True)
class Place:
    """One module that gets an adapter.

    Args:
        name: Of the module, in the model.
        role: One of NORMED, SUMMED, AFTER, BESIDE.
        source: The module that the residual enters; empty where it is not needed.
        width: Of the hidden states.
    """

    name: str
    role: str
    source: str
    width: int


def find_places(model: Module, style: str) -> list[Place]:
    """Return the places of a style in every layer, from the first layer on, seen through adapters of peft.

    Raises:
        UnfitModel: the layers of this model have no such places.
    """
    layers = list_layers(model)
    names = {id(module): name for name, module in model.named_modules()}
    if len({id(layer) for layer in layers}) != len(layers):
        raise UnfitModel(_("its layers share their weights"))
    expected = getattr(model.config.get_text_config(), "num_hidden_layers", len(layers))
    two_stacks = getattr(model.config, "is_encoder_decoder", False)
    if len(layers) != expected and not two_stacks:  # ALBERT
        raise UnfitModel(_("its layers share their weights, or are no plain stack"))
    if getattr(model.config, "do_layer_norm_before", True) is False:  # OPT of 350 million
        raise UnfitModel(_("the norm before its feed-forward block cannot be told from the others"))
    family = ENCODER_DECODERS.get(model.config.model_type) if two_stacks else None
    if two_stacks and family is None:
        raise UnfitModel(_("the layers of such encoder-decoders are not known here"))
    width = int(model.config.get_text_config().hidden_size)
    found: list[Place] = []
    for layer in layers:
        shape = _LayerShape(layer, width, family)
        for module, role, source in shape.list_places(style):
            found.append(Place(names[id(module)], role, names[id(source)] if source else "", width))
    return found


class _LayerShape:
    """The parts of one layer that adapters need.

    A decoder's attention to the source gets none, as in AdapterHub's own adapters.

    Args:
        family: Of an encoder-decoder.
    """

    def __init__(self, layer: Module, width: int, family: Family | None = None) -> None:
        self.layer, self.width, self.family = layer, width, family
        self.parts = dict(_list_parts(layer))
        if any("expert" in name for name in self.parts):
            raise UnfitModel(_("its feed-forward blocks are mixtures of experts"))
        self.attention = self._find_out("attention")
        self.feed = self._find_out("feed-forward")
        self.direct_norms = {
            name: one for name, one in self.parts.items() if "." not in name and _is_norm(one)
        }

    def _find_out(self, branch: str) -> str:
        """Return the name of the projection that leads out of a branch."""
        found = []
        for name, module in self.parts.items():
            sizes = find_sizes(module)
            inside = bool(_ATTENTION.search(name))
            if self.family is not None and name.startswith(_name_blocks(self.family.cross)):
                continue
            if sizes is None or sizes[1] != self.width or inside != (branch == "attention"):
                continue
            # queries and keys may be as wide as the model too; the projection out is written last
            if branch == "attention" or sizes[0] != self.width:
                found.append(name)
        if not found:
            raise UnfitModel(_("a layer has no projection out of its {branch}", branch=branch))
        if branch != "attention" and len(found) > 1:
            raise UnfitModel(_("a layer has more than one feed-forward block"))
        return found[-1]

    def list_places(self, style: str) -> Iterator[tuple[Module, str, Module | None]]:
        """Yield (module, role, source) of each place of a style."""
        norm = self._find_norm_of_sum()
        if style == HOULSBY:
            yield self.parts[self._leave_branch(self.attention, "post_attention_layernorm")], AFTER, None
            yield self.parts[self._leave_branch(self.feed, "post_feedforward_layernorm")], AFTER, None
        elif style == PFEIFFER and norm:
            yield self.parts[norm], NORMED, None
        else:
            place = self._leave_branch(self.feed, "post_feedforward_layernorm")
            role = SUMMED if style == PFEIFFER else BESIDE
            yield self.parts[place], role, self.parts[self._find_entry(norm)]

    def _leave_branch(self, projection: str, norm: str) -> str:
        """Return the module whose output is added to the residual: the projection, or a norm after it."""
        # Gemma 2 and OLMo 2 norm what a branch computes
        sandwiched = "post_feedforward_layernorm" in self.parts and norm in self.parts
        return norm if sandwiched else projection

    def _find_norm_of_sum(self) -> str:
        """Return the norm of the sum after the feed-forward block; empty for a model that norms before."""
        if self.family is not None:
            # What such a layer computes last is this norm, or the sum itself
            return list(self.direct_norms)[-1] if self.family.norm_sums else ""
        block = self.feed.rpartition(".")[0]
        beside = [
            name for name, one in self.parts.items() if _is_norm(one) and name.rpartition(".")[0] == block
        ]
        if block and beside:
            return beside[-1]
        return next((name for name in self.direct_norms if name.startswith("output_layer_norm")), "")

    def _find_entry(self, norm_of_sum: str) -> str:
        """Return the module that the residual of the feed-forward block enters."""
        if norm_of_sum:
            return self._find_first()
        norms = [name for name, one in self.parts.items() if _is_norm(one)]
        if self.family is not None:
            return norms[-1]
        if "pre_feedforward_layernorm" in self.parts:
            return "pre_feedforward_layernorm"
        if "post_feedforward_layernorm" in self.parts:  # nothing is normed before the block (OLMo 2)
            return self._find_first()
        names = list(self.direct_norms)
        if not names or len(names) > 2:
            raise UnfitModel(_("the norm before its feed-forward block cannot be told from the others"))
        told = [name for name in names if re.search(r"mlp|feed|ffn|ff_|final|post_att|_2$|2$", name)]
        return told[-1] if told else names[-1]

    def _find_first(self) -> str:
        """Return the first projection of the feed-forward block, which reads the residual itself."""
        for name, module in self.parts.items():
            sizes = find_sizes(module)
            if sizes and sizes[0] == self.width and name != self.feed and not _ATTENTION.search(name):
                return name
        raise UnfitModel(_("a layer has no projection into its feed-forward block"))


def _name_blocks(names: Sequence[str]) -> tuple[str, ...]:
    """Return how the names of the modules that hold these parts of a layer begin."""
    blocks = dict.fromkeys(name.rpartition(".")[0] for name in names)
    # The layers of a T5 are numbered lists
    return tuple(f"{front}{block}." for block in blocks for front in ("", *(f"layer.{n}." for n in range(3))))


def _list_parts(layer: Module, prefix: str = "") -> Iterator[tuple[str, Module]]:
    """Yield the modules of a layer by name; of an adapted module the adapter, and nothing inside it."""
    for name, module in layer.named_children():
        full = f"{prefix}{name}"
        yield full, module
        if not hasattr(module, "base_layer"):
            yield from _list_parts(module, f"{full}.")


def peel(module: Any) -> Any:
    """Return the module under the adapters of peft."""
    while hasattr(module, "base_layer"):
        module = module.base_layer
    return module


def _is_norm(module: Module) -> bool:
    return "norm" in type(peel(module)).__name__.lower()


def find_sizes(module: Module) -> tuple[int, int] | None:
    """Return (inputs, outputs) of a linear layer, quantised or not; None for any other module."""
    own = peel(module)
    if isinstance(own, Conv1D):
        return int(own.nx), int(own.nf)
    if isinstance(own, Linear) and not type(own).__module__.startswith("transformers.models."):
        return int(own.in_features), int(own.out_features)
    return None
