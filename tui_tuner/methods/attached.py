"""Remember on a model which method was put on it, since its structure does not show that for all methods."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tui_tuner.config.kinds.method_kind import Trait
from tui_tuner.methods.own_weights import WHOLE

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

    from tui_tuner.methods.method import Method

_ATTACHED = "attached_method"  # an attribute of models; a copy of a model has it too


@dataclass
class Attached:
    """The method of a model.

    Args:
        method: The method that was attached to the model, or loaded onto it.
        settings: The adapter's config as a method of this package writes it. Methods of peft keep theirs in
            the model.
        taken: Factors of products that were taken out of the base model's weights, by the layer's name.
    """

    method: Method
    settings: dict[str, Any] = field(default_factory=dict)
    taken: dict[str, tuple[Tensor, Tensor]] = field(default_factory=dict)


def remember_method(model: Module, method: Method, settings: dict[str, Any] | None = None) -> None:
    """Store the method on a model. Settings stored before are kept unless others are given."""
    found = find_attached(model) or Attached(method)
    kept = found.settings if settings is None else settings
    setattr(model, _ATTACHED, Attached(method, kept, found.taken))


def forget_method(model: Module) -> None:
    """Remove the stored method from a model that has become an ordinary one, for example by merging."""
    vars(model).pop(_ATTACHED, None)


def find_attached(model: Module) -> Attached | None:
    """Return the method and settings stored on a model; None if no method was put on it."""
    # Not getattr: a wrapper of peft would answer for the model inside it
    found: Attached | None = vars(model).get(_ATTACHED)
    return found


def find_model_method(model: Module) -> Method:
    """Return the method that was attached to a model or loaded onto it; without one it is a whole model."""
    found = find_attached(model)
    return WHOLE if found is None else found.method


def is_adapter_model(model: Module) -> bool:
    """Return whether a model is a base model with an adapter, which is saved without that base model."""
    return find_model_method(model).has(Trait.ADAPTER)


def count_virtual_tokens(model: Module) -> int:
    """Return the number of virtual tokens before each sequence, which take up places in the context."""
    return find_model_method(model).count_virtual_tokens(model)


def count_virtual_positions(model: Module) -> int:
    """Return how many positions a model gives logits for before those of the text."""
    return find_model_method(model).count_virtual_positions(model)
