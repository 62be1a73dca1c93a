"""NEFTune (arXiv 2310.05914): uniform noise on the embeddings while training.

The noise of a token is drawn from [-1, 1] and scaled by alpha / sqrt(L * d), L being the tokens of its own
sequence and d the hidden size. Transformers' hook takes L from the whole row, which is another number once
sequences lie side by side.
"""

from __future__ import annotations

from typing import Any

from tui_tuner.compute.forward import MicroBatch
from tui_tuner.compute.transfer import send_numbers


class EmbeddingNoise:
    """A forward hook on the embeddings; `micro` is the forward pass that is under way, or None."""

    def __init__(self, model: Any, alpha: float) -> None:
        self.alpha = alpha
        self.micro: MicroBatch | None = None
        model.get_input_embeddings().register_forward_hook(self._add)

    def _add(self, module: Any, inputs: Any, output: Any) -> Any:
        import torch

        if self.micro is None or not module.training:
            return output
        lengths = send_numbers(self.micro.segments, output.device)
        if self.micro.attention_mask is None:
            lengths = lengths.repeat_interleave(lengths, output_size=output.shape[1])[None, :, None]
        else:
            lengths = lengths[:, None, None]
        scale = (self.alpha / (lengths * output.shape[-1]).sqrt()).to(output.dtype)
        return output + torch.empty_like(output).uniform_(-1, 1) * scale
