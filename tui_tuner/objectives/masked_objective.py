"""The objective of masked language modelling: the cross-entropy of each hidden token."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch.nn.functional import cross_entropy, pad

from tui_tuner.compute.encoders import unwrap_model
from tui_tuner.compute.forward import ForwardWay, MicroBatch, Rows, build_forward_inputs
from tui_tuner.config.schema import RunConfig
from tui_tuner.data.masking.hiding import HidingRule, make_hiding_rule
from tui_tuner.data.masking.masked_rows import MaskedRows
from tui_tuner.objectives.objective import Objective, Setup, SingleLosses
from tui_tuner.objectives.row_losses import compute_perplexity

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module


class MaskedObjective(Objective):
    """Sum of the cross-entropies of all hidden tokens, over their number in the effective batch.

    Attributes:
        rule: How tokens are hidden; set by `prepare_way`.
    """

    def __init__(self, config: RunConfig) -> None:
        super().__init__(config)
        self.rule: HidingRule | None = None

    # ---- rows ---------------------------------------------------------------------------------------------

    def read_rows(self, data: Rows, epoch: int | None) -> Rows:
        assert self.rule is not None
        # Held-out rows belong to the data: other runs on it, with other seeds, are judged by the same tokens.
        seed = self.config.data.seed if epoch is None else self.config.training.seed
        return MaskedRows(data, self.rule, seed, epoch)

    def prepare_way(self, setup: Setup) -> None:
        vocabulary = unwrap_model(setup.model).get_input_embeddings().num_embeddings
        self.rule = make_hiding_rule(self.config.data.masking.share, setup.tokenizer, vocabulary)
        super().prepare_way(replace(setup, rows=self.read_rows(setup.rows, 0)))

    def _share_beginnings(self, setup: Setup) -> None:
        # A token of an encoder depends on all of its text, also on what comes after a common beginning.
        return

    def store_states(self, setup: Setup, folder: Path, check: Callable[[], None]) -> None:
        # Each epoch hides other tokens, so that even frozen layers compute something else.
        return

    # ---- the loss -----------------------------------------------------------------------------------------

    def _guess_logits(self, model: Module, micro: MicroBatch, way: ForwardWay) -> Tensor:
        """Return [K, vocabulary] float32: the logits at hidden positions, in reading order."""
        keep = pad(micro.keep, (way.virtual, 0)) if way.virtual else micro.keep
        chosen: contextlib.AbstractContextManager[list[bool]] = contextlib.nullcontext([])
        if way.compact:
            chosen = keep_states(model, keep, micro.places)
        with way.open_autocast(), chosen as kept:
            logits = model(**build_forward_inputs(model, micro, way)).logits
        if kept:
            return logits[0].float()
        if micro.places is not None and not way.virtual:
            return logits.flatten(0, 1)[micro.places].float()
        return logits[keep].float()

    def compute_losses(self, model: Module, micro: MicroBatch, way: ForwardWay) -> Tensor:
        return cross_entropy(self._guess_logits(model, micro, way), micro.targets, reduction="none")

    def measure_batch(self, model: Module, micro: MicroBatch) -> dict[str, Any]:
        logits = self._guess_logits(model, micro, self.way)
        losses = cross_entropy(logits, micro.targets, reduction="none")
        losses, right = micro.weigh_losses(losses), micro.weigh_losses(logits.argmax(-1) == micro.targets)
        return {
            "loss": losses.double().sum(),
            "right": right.double().sum(),
            "each": SingleLosses(losses),
        }

    def summarise_sums(self, sums: Mapping[str, Any], weight: float) -> dict[str, float]:
        mean = sums["loss"] / weight
        return {"loss": mean, "perplexity": compute_perplexity(mean), "accuracy": sums["right"] / weight}


@contextlib.contextmanager
def keep_states(model: Module, keep: Tensor, places: Tensor | None) -> Iterator[list[bool]]:
    """Let the head see the states of some positions only; its logits are then [1, K, vocabulary].

    Every masked-LM head computes each position by itself, but not every model has its backbone apart from it:
    the list that is yielded is filled if this one has.

    Args:
        keep: [B, T] bool: the positions, virtual ones included.
        places: [K]: the same positions of a flat row without virtual ones, which need no device sync.
    """
    whole = unwrap_model(model)
    body = whole.base_model
    kept: list[bool] = []

    def shorten(_module: Module, _inputs: Any, output: Any) -> Any:
        states = output[0]
        if places is not None and states.shape[1] == keep.shape[1] and len(states) == 1:
            chosen = states[0].index_select(0, places)[None]
        else:
            chosen = states[keep][None]
        kept.append(True)
        if isinstance(output, tuple):
            return (chosen, *output[1:])
        output["last_hidden_state"] = chosen
        return output

    hook = body.register_forward_hook(shorten) if body is not whole else None
    try:
        yield kept
    finally:
        if hook is not None:
            hook.remove()
