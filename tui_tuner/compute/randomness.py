"""Detection of randomness in training passes, and of the first layer that is random.

Looking for dropout modules is not enough: many models call the function with a rate from their config. So a
synthetic row goes through the model in training mode, and what counts is whether random numbers were drawn,
and whether a second pass gives another result. Random states are restored.
"""

from __future__ import annotations

import contextlib
import pickle
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from tui_tuner.errors import ConfigError
from tui_tuner.models.out_of_memory import free_attempt_memory, is_out_of_memory

if TYPE_CHECKING:
    import torch
    from torch import Tensor

ATTENTION_DROPOUT = ("attention_dropout", "attn_dropout", "attn_pdrop", "attention_probs_dropout_prob")
TOKENS = 8  # of the synthetic row
PASSES = 6  # if numbers were drawn outside of the layers: a layer may be skipped only in some passes


@dataclass(frozen=True)
class Randomness:
    """The parts of a model that are random in training.

    Args:
        anything: Two passes over the same row may differ.
        quiet: Layers from the bottom whose outputs are the same in each pass.
        problem: Why this is unknown, in which case everything counts as random; empty if it is known.
    """

    anything: bool
    quiet: int
    problem: str = ""


EVERYTHING = Randomness(True, 0)


def find_randomness(model: torch.nn.Module) -> Randomness:
    """Find what is random by computing a synthetic row in training mode, and from what is declared."""
    # Declarations count too: the row may not reach a dropout module, and a few passes may not show a rate of
    # skipped layers. If they alone make everything random, nothing is computed.
    layers = _list_layers(model)
    declared = _read_declared(model, layers)
    if declared == EVERYTHING:
        return declared
    try:
        with _keep_state(model):
            found = _compare_passes(model, layers)
    except Exception as error:  # a model's own code may fail on such a row in any way
        problem = f"{type(error).__name__}: {error}"
        if is_out_of_memory(error):
            free_attempt_memory(error)
        return replace(EVERYTHING, problem=problem)
    return Randomness(found.anything or declared.anything, min(found.quiet, declared.quiet))


def _read_declared(model: torch.nn.Module, layers: list[torch.nn.Module]) -> Randomness:
    """Read the dropout, and the rates of skipped layers, that modules and the config declare."""
    import torch

    def drops(holder: torch.nn.Module) -> set[int]:
        return {id(part) for part in holder.modules() if isinstance(part, torch.nn.Dropout) and part.p > 0}

    settings = model.config.get_text_config().to_dict()
    shares = (share for name, share in settings.items() if _is_of_all_layers(name))
    if any(isinstance(share, float) and share > 0 for share in shares):
        return EVERYTHING
    everywhere, inside = drops(model), [drops(layer) for layer in layers]
    if not everywhere:
        return Randomness(False, len(layers))
    first = next((place for place, found in enumerate(inside) if found), len(layers))
    # Dropout outside of the layers, such as on embeddings, may come before the first one.
    return Randomness(True, 0 if everywhere - set().union(*inside) else first)


def _is_of_all_layers(name: str) -> bool:
    """Return whether a config field is a dropout rate of attention weights, or a rate of skipped layers."""
    return name in ATTENTION_DROPOUT or name.replace("_", "").endswith("layerdrop")


def _compare_passes(model: torch.nn.Module, layers: list[torch.nn.Module]) -> Randomness:
    first = _ProbePass(model, layers)
    if not first.drew:
        return Randomness(False, len(layers))
    # Numbers that were drawn outside of the layers, as for skipping one, show only by comparing outputs.
    found = Randomness(first.drew_in_layers, first.before_noise)
    for _unused in range(PASSES - 1):
        if found == EVERYTHING:
            break
        again = _ProbePass(model, layers)
        found = Randomness(
            found.anything or again.drew_in_layers or not _are_equal(first.result, again.result),
            min(found.quiet, again.before_noise, first.count_same_layers(again)),
        )
    return found


class _ProbePass:
    """One forward pass: the outputs of the model and each layer, and where random numbers were drawn."""

    def __init__(self, model: torch.nn.Module, layers: list[torch.nn.Module]) -> None:
        import torch

        self.outputs: list[Any] = [None] * len(layers)
        self.before_noise = len(layers)
        self.drew_in_layers = False
        self._entered: Any = None
        hooks = []
        for place, layer in enumerate(layers):
            hooks.append(layer.register_forward_pre_hook(self._note_entry, with_kwargs=True))
            hooks.append(layer.register_forward_hook(self._make_leave_hook(place)))
        table = model.get_input_embeddings()
        ids = (torch.arange(TOKENS, device=table.weight.device) % table.weight.shape[0])[None]
        start = _read_random_state(ids.device)
        try:
            with torch.no_grad():
                self.result = _copy_tensors(model(**_make_probe(model, ids)))
        finally:
            for hook in hooks:
                hook.remove()
        self.drew = _read_random_state(ids.device) != start

    def _note_entry(self, module: torch.nn.Module, args: Any, kwargs: Any) -> None:
        self._entered = _read_random_state(_find_device(args, kwargs))

    def _make_leave_hook(self, place: int) -> Any:
        def leave(module: torch.nn.Module, args: Any, output: Any) -> None:
            self.outputs[place] = _copy_tensors(output)
            if _read_random_state(_find_device(args, {}, output)) != self._entered:
                self.drew_in_layers = True
                self.before_noise = min(self.before_noise, place)

        return leave

    def count_same_layers(self, other: _ProbePass) -> int:
        """Count the layers from the bottom with equal outputs in both; one that was skipped differs."""
        for place, (one, two) in enumerate(zip(self.outputs, other.outputs, strict=True)):
            if one is None or two is None or not _are_equal(one, two):
                return place
        return len(self.outputs)


def _make_probe(model: torch.nn.Module, ids: Tensor) -> dict[str, Any]:
    """Return the inputs of a pass over a row, without the cache of keys and values: checkpointed layers warn
    of it.
    """
    found: dict[str, Any] = {"input_ids": ids}
    if getattr(model.config, "is_encoder_decoder", False):
        found["decoder_input_ids"] = ids
    if hasattr(model.config.get_text_config(), "use_cache"):
        found["use_cache"] = False
    return found


def _copy_tensors(output: Any) -> list[Tensor]:
    """Copy the tensors of an output, because the model may change them in place later."""
    import torch

    if isinstance(output, torch.Tensor):
        return [output.detach().clone()]
    values = output.values() if isinstance(output, dict) else output if isinstance(output, tuple) else ()
    return [value.detach().clone() for value in values if isinstance(value, torch.Tensor)]


def _are_equal(one: list[Tensor], other: list[Tensor]) -> bool:
    import torch

    # NaN differs from itself, but a model that overflows is not random.
    return len(one) == len(other) and all(
        torch.equal(a.nan_to_num(), b.nan_to_num()) for a, b in zip(one, other, strict=True)
    )


def _find_device(*holders: Any) -> torch.device:
    """Return the device of the first tensor among these."""
    import torch

    for holder in holders:
        values = holder.values() if isinstance(holder, dict) else holder
        for value in values if isinstance(holder, dict | tuple) else (holder,):
            if isinstance(value, torch.Tensor):
                return value.device
    return torch.device("cpu")


def _read_random_state(device: torch.device) -> tuple[bytes, ...]:
    """Read the random state of every library that a model may draw from."""
    import torch

    found = [torch.random.get_rng_state().numpy().tobytes(), repr(random.getstate()).encode()]
    found.append(pickle.dumps(np.random.get_state()))
    if device.type == "cuda":
        found.append(torch.cuda.get_rng_state(device).numpy().tobytes())
    return tuple(found)


@contextlib.contextmanager
def _keep_state(model: torch.nn.Module) -> Iterator[None]:
    """Switch to training mode within the context; restore the mode and all random states."""
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


def _list_layers(model: torch.nn.Module) -> list[torch.nn.Module]:
    from tui_tuner.methods.layers import find_layers

    try:
        return list(find_layers(model))
    except ConfigError:
        return []
