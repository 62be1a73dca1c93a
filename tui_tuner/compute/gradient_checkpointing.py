"""Gradient checkpointing: which layers compute again in the backward pass what they did not keep."""

from __future__ import annotations

from typing import Any

from tui_tuner.methods.prompts import virtual_tokens
from tui_tuner.methods.weights import decoder_layers


def checkpoint_layers(model: Any) -> None:
    """Switch gradient checkpointing on for the layers that gradients reach, and no others.

    transformers makes the embeddings' output ask for a gradient, for the sake of reentrant checkpointing.
    Here it would only lead gradients through frozen layers, which then keep all they computed.
    """
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    layers = decoder_layers(model)
    embeddings = model.get_input_embeddings()
    if virtual_tokens(model) or any(parameter.requires_grad for parameter in embeddings.parameters()):
        return
    model.disable_input_require_grads()
    for layer in layers:
        if any(parameter.requires_grad for parameter in layer.parameters()):
            return
        layer.gradient_checkpointing = False
