"""Layers of one module that read the same tensor: the first that is called computes all of them.

Which layers those are is seen in one small pass of the model (`siblings`), not told by names. What the first
has computed for the others waits inside the call of the module that holds them and nowhere else: hooks of
that module begin and end it, also when a pass fails. A layer takes what waits for it only for that very
tensor, unchanged, in the same numbers and the same thread; otherwise it computes by itself.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch

from tui_tuner.compute.low_rank.joint import Group, Member

Calls = list[list[tuple[Any, Any]]]  # by call of a module: its layers that were called, with their input


@dataclass
class Waiting:
    """Inside one call of the module: the input that was computed, and what nobody has taken yet."""

    x: Any = None
    key: tuple[Any, ...] = ()
    found: dict[int, Any] = field(default_factory=dict)


@dataclass(eq=False)
class Together:
    """A group, and a group for each of its layers alone.

    Attributes:
        waiting: By thread, while the module that holds the layers is called.
    """

    group: Group
    alone: list[Group]
    waiting: dict[int, Waiting] = field(default_factory=dict)

    def begin(self, *_unused: Any) -> None:
        """The module that holds the layers is called: a forward pre-hook."""
        if not torch.compiler.is_compiling():
            self.waiting[threading.get_ident()] = Waiting()

    def end(self, *_unused: Any) -> None:
        """It has returned or failed: a forward hook."""
        if not torch.compiler.is_compiling():
            self.waiting.pop(threading.get_ident(), None)

    def forward(self, place: int, x: Any, *args: Any, **kwargs: Any) -> Any:
        """The forward pass of the layer at that place in the group."""
        if torch.compiler.is_compiling():  # a region's compiler fuses what peft does by itself
            return self.group.members[place].stock(x, *args, **kwargs)
        waiting = self.waiting.get(threading.get_ident())
        if args or kwargs or waiting is None:
            return forward_alone(self.alone[place], x, *args, **kwargs)
        if waiting.x is None:
            dtype = self.group.takes(x)
            if dtype is None:
                return forward_alone(self.alone[place], x)
            waiting.x, waiting.key = x, _key(x)
            waiting.found = dict(enumerate(self.group.compute(x, dtype)))
        if waiting.x is x and place in waiting.found and waiting.key == _key(x):
            return waiting.found.pop(place)
        return forward_alone(self.alone[place], x)


def forward_alone(group: Group, x: Any, *args: Any, **kwargs: Any) -> Any:
    """The forward pass of a layer that is computed by itself."""
    dtype = None if args or kwargs else group.takes(x)
    if dtype is None:
        return group.members[0].stock(x, *args, **kwargs)
    return group.compute(x, dtype)[0]


def _key(x: Any) -> tuple[Any, ...]:
    """What else must be the same for an output to be taken."""
    place = x.device.type
    numbers = torch.get_autocast_dtype(place) if torch.is_autocast_enabled(place) else x.dtype
    return numbers, 0 if x.is_inference() else x._version, torch.is_grad_enabled()


def siblings(model: Any, members: dict[str, Member], half: Any) -> list[tuple[str, list[Member]]]:
    """Layers of one module that a small pass of the model gave the same tensor.

    Args:
        members: By the names of their modules.
        half: The 16-bit dtype of the run, or of its device.

    Returns:
        The name of the module, and its layers in the order of their calls.

    Raises:
        Exception: whatever a model's own code makes of two tokens.
    """
    calls: dict[str, Calls] = {}
    with contextlib.ExitStack() as hooks:
        for name, member in members.items():
            holder = name.rpartition(".")[0]
            if holder not in calls:
                calls[holder] = []
                module = model.get_submodule(holder)
                hooks.callback(module.register_forward_pre_hook(_beginning(calls[holder])).remove)
            hooks.callback(member.layer.register_forward_pre_hook(_noting(calls[holder])).remove)
        hooks.enter_context(_resting(model))
        place = model.get_input_embeddings().weight.device
        tokens = torch.zeros((1, 2), dtype=torch.long, device=place)
        with torch.no_grad(), torch.autocast(place.type, dtype=half):
            model(input_ids=tokens)
    by_layer = {id(member.layer): member for member in members.values()}
    found = []
    for holder, of_holder in calls.items():
        for group in _same_input(of_holder):
            found.append((holder, [by_layer[id(layer)] for layer in group]))
    return found


def _beginning(calls: Calls) -> Any:
    return lambda *_unused: calls.append([])


def _noting(calls: Calls) -> Any:
    def note(layer: Any, args: Any) -> None:
        if calls and args:
            calls[-1].append((layer, args[0]))

    return note


@contextlib.contextmanager
def _resting(model: Any) -> Iterator[None]:
    """Nothing random, and every module's mode as it was afterwards.

    Quantised layers are left out: bitsandbytes packs their weights anew on a processor that is not training.
    """
    modes = [(module, module.training) for module in model.modules()]
    for module, _unused in modes:
        module.training = type(module).__module__.startswith("bitsandbytes.")
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def _same_input(calls: Calls) -> list[list[Any]]:
    """Layers with the same input, each called once, if it was so in every call of the module."""
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
