"""Train the embeddings of new tokens alone, beside a low-rank adapter (PEFT's `trainable_token_indices`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tui_tuner.errors import ConfigError
from tui_tuner.locales import _
from tui_tuner.methods.layers import name_embedding_layers
from tui_tuner.models.growing.new_rows import find_new_rows

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

    from tui_tuner.config.sections.model import ModelSection

FIELD = "model.new_tokens_train"


def trains_new_rows(section: ModelSection) -> bool:
    """Return whether a run trains the embeddings of its new tokens, and of no others."""
    return section.new_tokens is not None and section.new_tokens_train == "rows"


def name_trained_rows(model: Module, section: ModelSection) -> dict[str, list[int]] | None:
    """Return which rows of which layers are trained, as PEFT names them; None if none are.

    Raises:
        ConfigError: PEFT would leave out the bias of the model's head.
    """
    rows = list(find_new_rows(model))
    if not rows or not trains_new_rows(section):
        return None
    head = model.get_output_embeddings()
    if head is not None and getattr(head, "bias", None) is not None:
        raise ConfigError(
            _("the head of this model has a bias, beside which PEFT trains no single rows."),
            where=FIELD,
            field=FIELD,
            hint=_("Set model.new_tokens_train to all."),
        )
    names = name_embedding_layers(model)
    if len(names) > 1 and head.weight is model.get_input_embeddings().weight:
        # PEFT keeps tied embeddings together by itself
        names = [name for name, one in _list_named(model) if one is model.get_input_embeddings()]
    return {name: rows for name in names}


def _list_named(model: Module) -> list[tuple[str, Module]]:
    return [(name.rpartition(".")[2], one) for name, one in model.named_modules()]


def quicken_new_rows(model: Module) -> None:
    """Compute trained rows beside the frozen embeddings instead of in a copy of them; the result is the same.

    PEFT writes the rows into a copy of the whole matrix in every forward pass, and its backward pass makes a
    gradient for the whole matrix: gigabytes for large vocabularies.
    """
    from peft.tuners.trainable_tokens import TrainableTokensLayer

    for module in model.modules():
        if type(module) is TrainableTokensLayer:
            module.__class__ = _make_quick_class()


def find_quick_rows(head: Any) -> Any:
    """Return the layer with trained rows in a head, if its rows are active; else None."""
    layer = getattr(head, "token_adapter", None)
    return layer if layer is not None and _made and type(layer) is _made[0] and layer.is_quick else None


_made: list[Any] = []


def _make_quick_class() -> Any:
    """Return the class, which needs PEFT's as its base and is made when a model is."""
    if _made:
        return _made[0]
    import torch
    from peft.tuners.trainable_tokens import TrainableTokensLayer
    from torch.nn.functional import embedding, linear

    class QuickTokensLayer(TrainableTokensLayer):
        """PEFT's layer, with one active adapter whose rows follow one another."""

        @property
        def is_quick(self) -> bool:
            """Return whether what is computed is the plain layer with a block of other rows."""
            plain = type(self.base_layer) in (torch.nn.Embedding, torch.nn.Linear)
            return plain and self._find_block() is not None and not (self.disable_adapters or self.merged)

        def _find_block(self) -> tuple[str, int, int] | None:
            """Return adapter, first row and number of rows; None unless there is one block."""
            active = [name for name in self.active_adapters if name in self.token_indices]
            if len(active) != 1:
                return None
            indices = self.token_indices[active[0]]
            first, count = indices[0], len(indices)
            return (active[0], first, count) if indices[-1] - first == count - 1 else None

        @property
        def first_row(self) -> int:
            block = self._find_block()
            assert block is not None
            return block[1]

        def read_rows(self) -> Tensor:
            """Return the trained rows, [N, H]."""
            block = self._find_block()
            assert block is not None
            found: Tensor = self.trainable_tokens_delta[block[0]]
            return found

        def forward_adapters(self, x: Tensor, active_adapters: Any, *args: Any, **kwargs: Any) -> Tensor:
            if not self.is_quick:
                return super().forward_adapters(x, active_adapters, *args, **kwargs)
            first, rows = self.first_row, self.read_rows()
            if isinstance(self.base_layer, torch.nn.Embedding):
                found = self.base_layer(x)
                own = embedding((x - first).clamp(0, len(rows) - 1), rows.to(found.dtype))
                return torch.where(((x >= first) & (x < first + len(rows)))[..., None], own, found)
            logits = self.base_layer(x)
            # In place: a second tensor of logits would take as much memory as the first
            logits[..., first : first + len(rows)] = linear(x, rows.to(self.base_layer.weight.dtype))
            return logits

    _made.append(QuickTokensLayer)
    return QuickTokensLayer
