"""A method: which weights are trained. Implement this; see CONTRIBUTING, "How to add a method"."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

    from tui_tuner.config.schema import RunConfig


class Method:
    """One method of `config.methods.METHODS`. Importing its module imports no training library."""

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
