"""Whether a forward pass in training is random, and from which layer on.

Dropout is found by computing, not by looking for modules alone: many models call the function with a number
of their config. A made-up row goes through the model in training mode, and what counts is whether random
numbers were drawn on the way, and whether a second pass gives something else. Random states are put back.
"""

from __future__ import annotations

import contextlib
import pickle
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tui_tuner.errors import ConfigError
from tui_tuner.models.out_of_memory import free_memory_of, is_out_of_memory

ATTENTION_DROPOUT = ("attention_dropout", "attn_dropout", "attn_pdrop", "attention_probs_dropout_prob")
TOKENS = 8  # of the made-up row
PASSES = 6  # where numbers were drawn outside of the layers: one may leave a layer out only now and then


@dataclass(frozen=True)
class Randomness:
    """What of a model is random in training.

    Args:
        anything: Two passes over the same row may differ.
        quiet: Layers from the bottom whose outputs are the same in each pass.
        problem: Why it could not be found out, in which case everything counts as random; empty if it could.
    """

    anything: bool
    quiet: int
    problem: str = ""


EVERYTHING = Randomness(True, 0)


def find_randomness(model: Any) -> Randomness:
    """Compute a row of a few made-up tokens in training mode, and see what is random.

    What is declared counts too: a module for dropout that this row does not reach, and a share of layers that
    are left out, which six passes need not show. Where it tells all, nothing is computed.
    """
    layers = _layers(model)
    declared = _declared(model, layers)
    if declared == EVERYTHING:
        return declared
    try:
        with _as_it_was(model):
            found = _compare_passes(model, layers)
    except Exception as error:  # whatever a model's own code makes of such a row
        problem = f"{type(error).__name__}: {error}"
        if is_out_of_memory(error):
            free_memory_of(error)
        return replace(EVERYTHING, problem=problem)
    return Randomness(found.anything or declared.anything, min(found.quiet, declared.quiet))


def _declared(model: Any, layers: list[Any]) -> Randomness:
    """What modules and the config say of dropout, and of layers that are left out."""
    import torch

    def drops(holder: Any) -> set[int]:
        return {id(part) for part in holder.modules() if isinstance(part, torch.nn.Dropout) and part.p > 0}

    settings = model.config.get_text_config().to_dict()
    shares = (share for name, share in settings.items() if _is_of_all_layers(name))
    if any(isinstance(share, float) and share > 0 for share in shares):
        return EVERYTHING
    everywhere, inside = drops(model), [drops(layer) for layer in layers]
    if not everywhere:
        return Randomness(False, len(layers))
    first = next((place for place, found in enumerate(inside) if found), len(layers))
    return Randomness(True, 0 if everywhere - set().union(*inside) else first)


def _is_of_all_layers(name: str) -> bool:
    """Whether a field of a config is a share of attention weights, or of layers, that are left out."""
    return name in ATTENTION_DROPOUT or name.replace("_", "").endswith("layerdrop")


def _compare_passes(model: Any, layers: list[Any]) -> Randomness:
    first = _Pass(model, layers)
    if not first.drew:
        return Randomness(False, len(layers))
    found = Randomness(first.drew_in_layers, first.before_noise)
    for _unused in range(PASSES - 1):
        if found == EVERYTHING:
            break
        again = _Pass(model, layers)
        found = Randomness(
            found.anything or again.drew_in_layers or not _same(first.result, again.result),
            min(found.quiet, again.before_noise, first.same_layers(again)),
        )
    return found


class _Pass:
    """One forward pass: what came out of the model and of each layer, and where random numbers were drawn."""

    def __init__(self, model: Any, layers: list[Any]) -> None:
        import torch

        self.outputs: list[Any] = [None] * len(layers)
        self.before_noise = len(layers)
        self.drew_in_layers = False
        self._entered: Any = None
        hooks = []
        for place, layer in enumerate(layers):
            hooks.append(layer.register_forward_pre_hook(self._enter, with_kwargs=True))
            hooks.append(layer.register_forward_hook(self._leaver(place)))
        table = model.get_input_embeddings()
        ids = (torch.arange(TOKENS, device=table.weight.device) % table.weight.shape[0])[None]
        start = _random_state(ids.device)
        try:
            with torch.no_grad():
                self.result = _tensors(model(input_ids=ids, **_settings(model)))
        finally:
            for hook in hooks:
                hook.remove()
        self.drew = _random_state(ids.device) != start

    def _enter(self, module: Any, args: Any, kwargs: Any) -> None:
        self._entered = _random_state(_device(args, kwargs))

    def _leaver(self, place: int) -> Any:
        def leave(module: Any, args: Any, output: Any) -> None:
            self.outputs[place] = _tensors(output)
            if _random_state(_device(args, {}, output)) != self._entered:
                self.drew_in_layers = True
                self.before_noise = min(self.before_noise, place)

        return leave

    def same_layers(self, other: _Pass) -> int:
        """Layers from the bottom whose outputs are the same in both; one that was left out is not."""
        for place, (one, two) in enumerate(zip(self.outputs, other.outputs, strict=True)):
            if one is None or two is None or not _same(one, two):
                return place
        return len(self.outputs)


def _settings(model: Any) -> dict[str, Any]:
    """Without the cache of keys and values, which checkpointed layers complain about."""
    return {"use_cache": False} if hasattr(model.config.get_text_config(), "use_cache") else {}


def _tensors(output: Any) -> list[Any]:
    """The tensors of an output, copied, as the model may change them in place later."""
    import torch

    if isinstance(output, torch.Tensor):
        return [output.detach().clone()]
    values = output.values() if isinstance(output, dict) else output if isinstance(output, tuple) else ()
    return [value.detach().clone() for value in values if isinstance(value, torch.Tensor)]


def _same(one: list[Any], other: list[Any]) -> bool:
    import torch

    return len(one) == len(other) and all(
        torch.equal(a.nan_to_num(), b.nan_to_num()) for a, b in zip(one, other, strict=True)
    )


def _device(*holders: Any) -> Any:
    """Where the first tensor among these is."""
    import torch

    for holder in holders:
        values = holder.values() if isinstance(holder, dict) else holder
        for value in values if isinstance(holder, dict | tuple) else (holder,):
            if isinstance(value, torch.Tensor):
                return value.device
    return torch.device("cpu")


def _random_state(device: Any) -> tuple[bytes, ...]:
    """What every library that a model may draw from would draw next."""
    import torch

    found = [torch.random.get_rng_state().numpy().tobytes(), repr(random.getstate()).encode()]
    found.append(pickle.dumps(np.random.get_state()))
    if device.type == "cuda":
        found.append(torch.cuda.get_rng_state(device).numpy().tobytes())
    return tuple(found)


@contextlib.contextmanager
def _as_it_was(model: Any) -> Iterator[None]:
    """In training mode; afterwards in the mode it was in, with all random states as they were."""
    import torch

    device = model.get_input_embeddings().weight.device
    python, numpy, training = random.getstate(), np.random.get_state(), model.training
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        model.train()
        try:
            yield
        finally:
            model.train(training)
            random.setstate(python)
            np.random.set_state(numpy)


def _layers(model: Any) -> list[Any]:
    from tui_tuner.methods.weights import decoder_layers

    try:
        return list(decoder_layers(model))
    except ConfigError:
        return []
