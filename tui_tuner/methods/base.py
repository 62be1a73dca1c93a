"""A method: which weights are trained. Implement this; see CONTRIBUTING, "How to add a method"."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tui_tuner.config.kinds.methods import METHODS, MethodKind, Trait
from tui_tuner.methods.numbers.base import MethodNumbers

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

    from tui_tuner.config.schema import RunConfig


class Method(MethodNumbers):
    """One method of `config.kinds.methods.METHODS`. Importing its module imports no training library.

    Its module has it in a tuple `METHODS`. It keeps no state: one object serves all runs.

    Args:
        name: As in the registry.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    @property
    def kind(self) -> MethodKind:
        """Its entry in the registry: words, traits and fields."""
        return METHODS[self.name]

    def has(self, trait: Trait) -> bool:
        """Return whether it has a trait."""
        return self.kind.has(trait)

    def attach(self, model: Module, config: RunConfig, peft_type: str) -> Module:
        """Freeze what is not trained, and add what is. Draws from the global seed.

        Args:
            peft_type: PEFT's name for the task (`Task.peft_type`).

        Raises:
            ConfigError: the method does not fit this model.
        """
        raise NotImplementedError

    def after_step(self, model: Module, step: int, total: int) -> None:
        """Change what is trained after an optimizer step, before gradients are cleared.

        Args:
            step: Optimizer steps taken, this one included.
            total: Optimizer steps of the whole run.
        """

    def extra_loss(self, model: Module) -> Tensor | None:
        """Return what is added to the loss of an optimizer step: a scalar with a gradient, or None."""
        return None

    def merge(self, model: Any) -> Any:
        """Return the model with what was trained folded into its weights.

        Raises:
            ModelError: this method, or this model, cannot be merged.
        """
        raise NotImplementedError
