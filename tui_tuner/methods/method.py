"""The interface of a method, which decides which weights are trained: implement this (see CONTRIBUTING)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tui_tuner.config.kinds.method_kind import MethodKind, Trait
from tui_tuner.config.kinds.methods import METHODS
from tui_tuner.errors import ModelError
from tui_tuner.locales import _
from tui_tuner.methods.numbers.method_numbers import MethodNumbers

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor
    from torch.nn import Module

    from tui_tuner.config.schema import RunConfig
    from tui_tuner.config.sections.method import MethodSection
    from tui_tuner.methods.stored import Stored
    from tui_tuner.models.facts import ModelFacts


@dataclass(frozen=True)
class FirstPass:
    """A forward pass of the run's own first rows.

    Args:
        run: Computes it, without gradients.
        read: [positions] bool: which positions are text, not padding or filler.
        trained: [positions] bool: those that have a label.
    """

    run: Callable[[], object]
    read: Tensor
    trained: Tensor


FirstPasses = Sequence[FirstPass]


class Method(MethodNumbers):
    """One method of `config.kinds.methods.METHODS`. Importing its module imports no training library.

    Its module lists it in a tuple `METHODS`. It keeps no state: one object serves all runs.

    Args:
        name: Its name in the registry.

    Attributes:
        library: The library that loads its final models: `transformers`, `peft`, or `tui-tuner` itself.
        standalone: A file in the folder of a final model, `load_adapter.py`, loads it without this program.
        carried_numbers: Numbers that `save_state` writes for each trained one.
    """

    library = "transformers"
    standalone = False
    carried_numbers = 0

    def __init__(self, name: str) -> None:
        self.name = name

    @property
    def kind(self) -> MethodKind:
        """Return its entry in the registry: words, traits and fields."""
        return METHODS[self.name]

    def has(self, trait: Trait) -> bool:
        """Return whether it has a trait."""
        return self.kind.has_trait(trait)

    def attach(self, model: Module, config: RunConfig, peft_type: str) -> Module:
        """Freeze the weights that are not trained, and add the new ones. Draws from the global seed.

        Args:
            peft_type: PEFT's name for the task (`Task.peft_type`).

        Raises:
            ConfigError: the method does not fit this model.
        """
        raise NotImplementedError

    def check_model(self, config: RunConfig, facts: ModelFacts) -> None:
        """Check before a run, by shapes alone, that a model can carry it.

        Raises:
            ConfigError: it cannot, or a field of the section `method` does not go with the model.
        """

    def after_step(self, model: Module, step: int, total: int) -> None:
        """Adjust the trained weights after an optimizer step, before gradients are cleared.

        Args:
            step: Optimizer steps taken so far, including this one.
            total: Optimizer steps of the whole run.
        """

    def reads_rows(self, section: MethodSection) -> bool:
        """Return whether what is trained begins with what the model makes of the run's rows."""
        return False

    def begin_with_rows(self, model: Module, passes: FirstPasses) -> None:
        """Give what is trained its first values by the run's rows; a resumed run has them already.

        Raises:
            ConfigError: these rows do not suffice.
        """

    def check_steps(self, section: MethodSection, total: int) -> None:
        """Raise `ConfigError` where a run of so many optimizer steps is too short for the method."""

    def save_state(self, model: Module, folder: Path) -> None:
        """Write what carries over from one optimizer step to the next, beside trained weights, into a
        checkpoint.
        """

    def load_state(self, model: Module, folder: Path | None) -> None:
        """Go on with what `save_state` wrote; None for the beginning of a run."""

    def trains_faster(self, name: str) -> bool:
        """Return whether a parameter learns at a rate that is `training.lora_plus_ratio` times as high.

        Args:
            name: Its full name in the model.
        """
        return False

    def extra_loss(self, model: Module) -> Tensor | None:
        """Return a term to add to the loss of an optimizer step: a scalar with a gradient, or None."""
        return None

    def save_model(self, model: Module, folder: Path) -> None:
        """Write the trained weights into a new folder in the format that `library` loads."""
        model.save_pretrained(str(folder), safe_serialization=True)

    def export_size(self, model: Module) -> float:
        """Return the size of a saved adapter, as a multiple of the trained weights."""
        return 1.0

    def load_adapter(self, base: Module, folder: Path) -> Module:
        """Load the adapter that `save_model` wrote onto a base model, and return the result. Adapters only.

        Raises:
            ModelError: the adapter is damaged, or was made for another model.
        """
        raise NotImplementedError

    def can_load(self, settings: Mapping[str, Any]) -> bool:
        """Return whether an adapter with this `adapter_config.json` is of this method."""
        return False

    def can_stack(self, settings: Mapping[str, Any]) -> bool:
        """Return whether a new adapter of this method works on top of a frozen one with these settings."""
        return False

    def explain_end(self, settings: Mapping[str, Any]) -> str:
        """Explain why an adapter of this method cannot be trained on; empty if it can."""
        return ""

    def read_fields(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Return the fields of the section `method` that an adapter was made with, by name."""
        return {}

    def continue_adapter(self, base: Module, folder: Path) -> Module:
        """Return a base model with a saved adapter that is trained on. Draws from the global seed.

        Raises:
            ModelError: the adapter is damaged, or made for another model.
        """
        raise NotImplementedError

    def leaves_base(self, stored: Stored) -> bool:
        """Return whether `load_adapter` changes no tensor of the base model, so that models can share it."""
        return False

    def merge_weights(self, model: Module) -> Module:
        """Return the model with its adapter merged into its weights; a whole model is returned as it is.

        Raises:
            ModelError: this method, or this model, cannot be merged.
        """
        return model

    def unwrap_model(self, model: Module) -> Module:
        """Return the transformers model inside a wrapper, if calling that applies the trained weights too."""
        return model

    def note_revision(self, model: Module, revision: str) -> None:
        """Store the commit of the base model, if it has one, for `save_model` to write. Adapters only."""

    def count_virtual_tokens(self, model: Module) -> int:
        """Return the number of trained tokens before each sequence, which take up places in the context."""
        return 0

    def count_virtual_positions(self, model: Module) -> int:
        """Return how many positions the model gives logits for before those of the text."""
        return 0


def refuse_quantised_merging(base: Module) -> None:
    """Raise `ModelError` for weights in 4 or 8 bits, which merging would round again."""
    if getattr(base, "is_quantized", False):
        raise ModelError(
            _("an adapter cannot be merged into quantised weights without rounding them again."),
            where="model.quantization",
            hint=_("Load the model in 16 or 32 bits, and merge the adapter into that."),
        )
