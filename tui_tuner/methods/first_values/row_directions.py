"""EVA's beginning (arXiv 2410.07170): the directions in which a layer's inputs differ most.

Ranks stay as they are set: what is trained, and its number, are known before the rows are.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from tui_tuner.errors import ConfigError
from tui_tuner.locales import _
from tui_tuner.methods.peft_method import name_below

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

    from tui_tuner.methods.method import FirstPass, FirstPasses

_AS_IT_IS = 192  # passes after which the directions found so far are taken
_GIVE_UP = 200


def begin_with_directions(model: Module, passes: FirstPasses) -> None:
    """Give each layer's first matrix the principal directions of its inputs, and its second one zeros.

    Raises:
        ConfigError: the rows have too few tokens for the rank.
    """
    import torch
    from peft import EvaConfig
    from peft.tuners.lora.eva import SVDHook, get_eva_state_dict

    chosen = _choose_passes(model, passes)
    settings = copy.copy(model.active_peft_config)
    settings.eva_config, settings.init_lora_weights = EvaConfig(rho=1.0), "eva"
    count = 0

    def run(one: Module, current: _Pass) -> None:
        nonlocal count
        count += 1
        if count > _GIVE_UP:
            raise ConfigError(
                _("EVA found no directions for some layers in {count} passes.", count=_GIVE_UP),
                where="method.init",
                field="method.init",
            )
        if count > _AS_IT_IS:
            for module in one.modules():
                for hook in module._forward_hooks.values():
                    if isinstance(hook, SVDHook):
                        hook.sim_thresh = -2.0  # every direction counts as settled
        current.one.run()

    # hooks that come after a layer was compiled would not be called
    with torch.compiler.set_stance("force_eager"), _keep_below(model):
        found = get_eva_state_dict(
            model,
            chosen,
            settings,
            forward_fn=run,
            prepare_model_inputs_fn=lambda current, _settings: current.kept,
            prepare_layer_inputs_fn=_choose_positions,
            show_progress_bar=False,
        )
    modules = dict(model.named_modules())
    adapter = model.active_adapter  # not a frozen one below it
    with torch.no_grad():
        for name, directions in found.items():
            layer: Any = modules[name]
            layer.lora_A[adapter].weight.copy_(directions)
            layer.lora_B[adapter].weight.zero_()


@contextlib.contextmanager
def _keep_below(model: Any) -> Iterator[None]:
    """Within it, peft leaves the adapters of a model on where there are frozen ones.

    Otherwise it turns all of them off, measures the base model's inputs, and leaves the frozen ones to be
    trained. The new one adds nothing to what is measured.
    """
    if not name_below(model):
        yield
        return
    model.disable_adapter = contextlib.nullcontext
    try:
        yield
    finally:
        del model.disable_adapter


class _Pass:
    """A forward pass as peft carries it around; `to` is how it moves one to a device.

    Args:
        kept: [positions] bool: the positions whose inputs count.
    """

    def __init__(self, one: FirstPass, kept: Tensor) -> None:
        self.one, self.kept = one, kept

    def to(self, _device: Any) -> _Pass:
        return self  # it is there already


def _choose_passes(model: Module, passes: FirstPasses) -> list[_Pass]:
    """Return the passes with enough tokens: trained ones, or all that are text where those are too few."""
    from tui_tuner.methods.first_values.beginnings import list_low_rank

    trained = model.active_adapter
    rank = max((layer.r.get(trained, 1) for _name, layer in list_low_rank(model)), default=1)
    for choose in ("trained", "read"):
        found = [_Pass(one, getattr(one, choose)) for one in passes]
        enough = [one for one in found if int(one.kept.sum()) >= rank]
        if enough:
            return enough
    raise ConfigError(
        _(
            "the first rows have fewer than {rank} tokens in a forward pass, and EVA needs as many.",
            rank=rank,
        ),
        where="method.init",
        field="method.init",
        hint=_("Lower method.rank, raise training.micro_batch, or use default."),
    )


def _choose_positions(inputs: Any, kept: Tensor, _name: str) -> Tensor:
    """Return a layer's inputs at the positions that count, [vectors, width]."""
    import torch

    found: Tensor = inputs[0] if isinstance(inputs, tuple | list) else inputs
    flat = found.reshape(-1, found.shape[-1])
    # a layer that sees only some positions, such as one behind a head's choice, has them chosen already
    return flat[kept.to(torch.bool)] if len(flat) == len(kept) else flat
