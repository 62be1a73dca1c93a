"""A model remembers the method that was put on it; how the model is made gives no answer for all methods."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tui_tuner.config.kinds.method_kind import Trait
from tui_tuner.methods.own_weights import WHOLE

if TYPE_CHECKING:
    from torch.nn import Module

    from tui_tuner.methods.method import Method

_ATTACHED = "attached_method"  # an attribute of models; a copy of a model has it too


@dataclass
class Attached:
    """What a model remembers.

    Args:
        method: What was attached to it, or loaded onto it.
        settings: What a method of this package writes into its adapter's config. Methods of peft keep theirs
            in the model.
    """

    method: Method
    settings: dict[str, Any] = field(default_factory=dict)


def remember_method(model: Module, method: Method, settings: dict[str, Any] | None = None) -> None:
    """Keep on a model which method was put on it. Settings that are there stay, unless others are given."""
    if settings is None:
        found = find_attached(model)
        settings = found.settings if found is not None else {}
    setattr(model, _ATTACHED, Attached(method, settings))


def forget_method(model: Module) -> None:
    """Take the memory of a method from a model that has become an ordinary one, by merging for example."""
    vars(model).pop(_ATTACHED, None)


def find_attached(model: Module) -> Attached | None:
    """Return what a model remembers; None for a model that nothing was put on."""
    # not getattr: a wrapper of peft would answer for the model inside it
    found: Attached | None = vars(model).get(_ATTACHED)
    return found


def method_of(model: Module) -> Method:
    """Return the method that was attached to a model or loaded onto it; without one it is a whole model."""
    found = find_attached(model)
    return WHOLE if found is None else found.method


def is_adapter(model: Module) -> bool:
    """Return whether a model is a base model with an adapter, which is saved without that base model."""
    return method_of(model).has(Trait.ADAPTER)


def count_virtual_tokens(model: Module) -> int:
    """Return the virtual tokens before each sequence of a model: places in its context that texts lack."""
    return method_of(model).count_virtual_tokens(model)


def count_virtual_positions(model: Module) -> int:
    """Return the positions that a model gives logits for before those of the text."""
    return method_of(model).count_virtual_positions(model)
