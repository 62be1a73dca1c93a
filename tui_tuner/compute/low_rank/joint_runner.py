"""Layers of one module with the same input: the first one that is called computes all of them.

One small pass of the model finds these layers (`find_sibling_layers`), not their names. The outputs that the
first layer computes for the others are kept only during the call of the module that holds them: hooks of that
module begin and end this, also if a pass fails. A layer takes its output only for the very same tensor,
unchanged, in the same dtype and the same thread; otherwise it computes by itself.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from tui_tuner.compute.low_rank.joint import LoraGroup, LoraMember

if TYPE_CHECKING:
    from torch import Tensor

Calls = list[list[tuple[Any, Any]]]  # for each call of a module: the layers called in it, with their inputs


@dataclass
class WaitingOutputs:
    """The input that was computed in one call of the module, and the outputs not taken yet."""

    x: Tensor | None = None
    key: tuple[Any, ...] = ()
    found: dict[int, Tensor] = field(default_factory=dict)


@dataclass(eq=False)
class JointRunner:
    """Runs a group of layers together, or each of them alone.

    Attributes:
        waiting: Outputs not taken yet, by thread, during a call of the module that holds the layers.
    """

    group: LoraGroup
    alone: list[LoraGroup]
    waiting: dict[int, WaitingOutputs] = field(default_factory=dict)

    def begin_call(self, *_unused: Any) -> None:
        """Start to keep outputs: a forward pre-hook of the module that holds the layers."""
        if not torch.compiler.is_compiling():
            self.waiting[threading.get_ident()] = WaitingOutputs()

    def end_call(self, *_unused: Any) -> None:
        """Drop outputs that were not taken: a forward hook, also called if the module failed."""
        if not torch.compiler.is_compiling():
            self.waiting.pop(threading.get_ident(), None)

    def forward_member(self, place: int, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Compute the layer at `place` in the group."""
        # Within a compiled region the compiler fuses peft's own operations.
        if torch.compiler.is_compiling():
            return self.group.members[place].stock(x, *args, **kwargs)
        waiting = self.waiting.get(threading.get_ident())
        if args or kwargs or waiting is None:
            return forward_group_alone(self.alone[place], x, *args, **kwargs)
        if waiting.x is None:
            dtype = self.group.find_dtype(x)
            if dtype is None:
                return forward_group_alone(self.alone[place], x)
            waiting.x, waiting.key = x, _make_key(x)
            waiting.found = dict(enumerate(self.group.compute_outputs(x, dtype)))
        # `pop`: a layer that is called twice with one tensor must compute its second output.
        if waiting.x is x and place in waiting.found and waiting.key == _make_key(x):
            return waiting.found.pop(place)
        return forward_group_alone(self.alone[place], x)


def forward_group_alone(group: LoraGroup, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """Compute a group of a single layer, by peft if our step does not fit the call."""
    dtype = None if args or kwargs else group.find_dtype(x)
    if dtype is None:
        return group.members[0].stock(x, *args, **kwargs)
    return group.compute_outputs(x, dtype)[0]


def _make_key(x: Tensor) -> tuple[Any, ...]:
    """Return the state, apart from the tensor's identity, that must match for an output to be taken."""
    place = x.device.type
    numbers = torch.get_autocast_dtype(place) if torch.is_autocast_enabled(place) else x.dtype
    # The version counts in-place changes. Inference tensors have none.
    return numbers, 0 if x.is_inference() else x._version, torch.is_grad_enabled()


def find_sibling_layers(
    model: torch.nn.Module, members: dict[str, LoraMember], half: torch.dtype
) -> list[tuple[str, list[LoraMember]]]:
    """Find layers of one module that get the same tensor, in a pass of the model over two tokens.

    Args:
        members: By the names of their modules.
        half: The 16-bit dtype of the run, or of its device.

    Returns:
        The name of each such module, and its layers in the order of their calls.

    Raises:
        Exception: the model's own code fails on such a pass.
    """
    calls: dict[str, Calls] = {}
    with contextlib.ExitStack() as hooks:
        for name, member in members.items():
            holder = name.rpartition(".")[0]
            if holder not in calls:
                calls[holder] = []
                module = model.get_submodule(holder)
                hooks.callback(module.register_forward_pre_hook(_make_begin_hook(calls[holder])).remove)
            hooks.callback(member.layer.register_forward_pre_hook(_make_note_hook(calls[holder])).remove)
        hooks.enter_context(_rest_modules(model))
        place = model.get_input_embeddings().weight.device
        tokens = torch.zeros((1, 2), dtype=torch.long, device=place)
        with torch.no_grad(), torch.autocast(place.type, dtype=half):
            if getattr(model.config, "is_encoder_decoder", False):
                model(input_ids=tokens, decoder_input_ids=tokens)
            else:
                model(input_ids=tokens)
    by_layer = {id(member.layer): member for member in members.values()}
    found = []
    for holder, of_holder in calls.items():
        for group in _find_same_input(of_holder):
            found.append((holder, [by_layer[id(layer)] for layer in group]))
    return found


def _make_begin_hook(calls: Calls) -> Any:
    return lambda *_unused: calls.append([])


def _make_note_hook(calls: Calls) -> Any:
    def note(layer: torch.nn.Module, args: Any) -> None:
        if calls and args:
            calls[-1].append((layer, args[0]))

    return note


@contextlib.contextmanager
def _rest_modules(model: torch.nn.Module) -> Iterator[None]:
    """Switch modules to evaluation within the context, and restore the mode of each."""
    # Quantised layers stay in training mode: on a CPU, bitsandbytes repacks their weights in evaluation mode.
    modes = [(module, module.training) for module in model.modules()]
    for module, _unused in modes:
        module.training = type(module).__module__.startswith("bitsandbytes.")
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def _find_same_input(calls: Calls) -> list[list[torch.nn.Module]]:
    """Return layers with the same input, each called once, if all calls of the module agree on them."""
    partitions = []
    for called in calls:
        by_input: dict[int, list[Any]] = {}
        for layer, x in called:
            by_input.setdefault(id(x), []).append(layer)
        once = [layer for layer, _unused in called]
        parts = [part for part in by_input.values() if all(once.count(layer) == 1 for layer in part)]
        partitions.append([part for part in parts if len(part) > 1])
    first = partitions[0] if partitions else []
    alike = all(
        [list(map(id, part)) for part in one] == [list(map(id, part)) for part in first] for one in partitions
    )
    return first if alike else []
