"""NEFTune (arXiv 2310.05914): uniform noise on the embeddings while training.

The noise of a token is drawn from [-1, 1] and scaled by alpha / sqrt(L * d), where L is the number of tokens
of its sequence and d the hidden size. The hook of transformers takes L from the whole row, which is wrong for
rows of several sequences.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tui_tuner.compute.forward import MicroBatch
from tui_tuner.compute.transfer import send_numbers

if TYPE_CHECKING:
    import torch
    from torch import Tensor


class EmbeddingNoise:
    """A forward hook on the embeddings; `micro` is the forward pass that is running, or None."""

    def __init__(self, model: torch.nn.Module, alpha: float) -> None:
        self.alpha = alpha
        self.micro: MicroBatch | None = None
        model.get_input_embeddings().register_forward_hook(self._add_noise)

    def _add_noise(self, module: torch.nn.Module, inputs: Any, output: Tensor) -> Tensor:
        import torch

        if self.micro is None or not module.training:
            return output
        lengths = send_numbers(self.micro.segment_lengths, output.device)
        if self.micro.attention_mask is None:
            # With the size given, a GPU need not report the sum of the lengths to the host.
            lengths = lengths.repeat_interleave(lengths, output_size=output.shape[1])[None, :, None]
        else:
            lengths = lengths[:, None, None]
        scale = (self.alpha / (lengths * output.shape[-1]).sqrt()).to(output.dtype)
        return output + torch.empty_like(output).uniform_(-1, 1) * scale
