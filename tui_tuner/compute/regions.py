"""Decoder layers through PyTorch's compiler, each layer a region of its own.

All layers of a kind share one compilation, as they are one function; the number of tokens is left open, so
that new lengths compile nothing. Attention is not looked into: lengths of sequences, which differ in every
batch, are carried past the compiler to it. What computes gradients is compiled; evaluation and generation
stay as they are, and so does checkpointing, which is around the region.

A compiled layer is tried against the layer itself before it is used, outputs and gradients. Whatever fails,
then or later, costs a warning and the layer's own way.
"""

from __future__ import annotations

import contextlib
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import torch

from tui_tuner.compute.forward import ForwardWay, MicroBatch, model_inputs
from tui_tuner.compute.kernels.available import VARIANTS, compiler_problem
from tui_tuner.compute.kernels.chosen import Chosen
from tui_tuner.compute.kernels.probe import CLOSE, CLOSE_HALF, Draws, device_of, same, with_gradients
from tui_tuner.locales import _
from tui_tuner.methods.weights import decoder_layers
from tui_tuner.models.device import Device
from tui_tuner.models.out_of_memory import is_out_of_memory
from tui_tuner.text import one_line

LENGTHS = (5, 7)  # sequences of the try
_PLAIN = (bool, int, float, str, type(None), torch.Tensor)
_carried = threading.local()


def compile_layers(model: Any, device: Device, autocast: Any = None, backend: str = "inductor") -> Chosen:
    """Let the layers of a model compute through PyTorch's compiler; without a kernel's name if they do not.

    Kernels in the place of parts of a layer are left out there: the compiler makes its own.

    Args:
        autocast: The dtype that autocast computes in; None without it.
        backend: What `torch.compile` takes.
    """
    problem = compiler_problem(device) if backend == "inductor" else ""
    layers: list[Any] = []
    if not problem:
        try:
            layers = list(decoder_layers(model))
            problem = _compile(model, layers, autocast, backend)
        except Exception as error:
            if is_out_of_memory(error):
                raise
            problem = one_line(f"{type(error).__name__}: {error}", 300)
    if not problem:
        return Chosen("compile", f"torch.compile ({backend})", "", len(layers))
    restore_layers(model)
    return Chosen("compile", "", problem)


def restore_layers(model: Any) -> None:
    """Give every layer its own forward pass back."""
    for module in model.modules():
        own = module.__dict__.get("forward")
        if isinstance(own, partial) and own.func is _forward:
            del module.forward


def _compile(model: Any, layers: list[Any], autocast: Any, backend: str) -> str:
    """Compile; what is wrong with it, empty if all is well."""
    if any("forward" in layer.__dict__ for layer in layers):
        return _("the layers' forward pass is replaced already")
    regions: dict[type, Region] = {}
    for layer in layers:
        region = regions.setdefault(type(layer), Region(type(layer), backend))
        layer.forward = partial(_forward, layer, region)
    _make_opaque()
    tried: set[type] = set()
    for layer in reversed(layers):  # the last ones are the trained ones where only some are
        if type(layer) in tried:
            continue
        tried.add(type(layer))
        problem = _differs(model, layer, regions[type(layer)], autocast)
        if problem:
            return problem
    return ""


class Region:
    """The forward pass of a class of layers, compiled.

    Attributes:
        checkpoints: The layer's own forward pass checkpoints it, where that is switched on.
        broken: It failed, and is not tried again.
    """

    def __init__(self, layer: Any, backend: str) -> None:
        # what checkpoints a layer is wrapped around its forward pass
        function: Any = layer.forward
        self.plain: Callable[..., Any] = getattr(function, "__wrapped__", function)
        self.checkpoints = self.plain is not function  # else what calls it does that
        self.compiled = torch.compile(self.plain, dynamic=True, backend=backend)
        self.broken = False

    def __call__(self, layer: Any, *args: Any, **kwargs: Any) -> Any:
        """The layer's result; `kwargs` that are no tensors are carried past the compiler."""
        if self.broken:
            return self.plain(layer, *args, **kwargs)
        _allow_variants()
        past = {name: value for name, value in kwargs.items() if not _is_plain(value)}
        seen = {name: value for name, value in kwargs.items() if name not in past}
        try:
            with _carrying(past):
                return self.compiled(layer, *args, **seen)
        except torch._dynamo.exc.TorchDynamoException as error:
            self.broken = True
            warnings.warn(
                _("A layer could not be compiled: {problem}", problem=one_line(error, 200)), stacklevel=2
            )
            return self.plain(layer, *args, **kwargs)

    def __deepcopy__(self, memo: Any) -> Region:
        return self


def _allow_variants() -> None:
    """Raise PyTorch's limit, once in each thread: newer versions keep their settings by thread, and layers
    are computed again in autograd's."""
    if not getattr(_carried, "allowed", False):
        torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, VARIANTS)
        _carried.allowed = True


def _is_plain(value: Any) -> bool:
    if isinstance(value, tuple):
        return all(_is_plain(one) for one in value)
    return isinstance(value, _PLAIN)


def _forward(layer: Any, region: Region, *args: Any, **kwargs: Any) -> Any:
    """The forward pass of a layer: compiled where gradients are computed in training."""
    cached = kwargs.get("past_key_values") is not None or kwargs.get("use_cache")
    if cached or not layer.training or not torch.is_grad_enabled():
        return type(layer).forward(layer, *args, **kwargs)
    if region.checkpoints and getattr(layer, "gradient_checkpointing", False):
        return layer._gradient_checkpointing_func(partial(region, layer, **kwargs), *args)
    return region(layer, *args, **kwargs)


@contextlib.contextmanager
def _carrying(options: Mapping[str, Any]) -> Iterator[None]:
    """Give attention these, without the compiler's knowledge; by thread, as layers are computed again in
    autograd's."""
    before = getattr(_carried, "options", {})
    _carried.options = options
    try:
        yield
    finally:
        _carried.options = before


def _make_opaque() -> None:
    """Have the compiler pass over our attention, which gets what was carried to it."""
    from transformers import AttentionInterface
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    from tui_tuner.compute.attention import NAME

    stock = ALL_ATTENTION_FUNCTIONS[NAME]
    if getattr(stock, "carries", False):
        return

    def attend(module: Any, query: Any, key: Any, value: Any, mask: Any, **options: Any) -> Any:
        return stock(module, query, key, value, mask, **getattr(_carried, "options", {}), **options)

    opaque: Any = torch.compiler.disable(attend)
    opaque.carries = True
    AttentionInterface.register(NAME, opaque)


# ---- the try ----------------------------------------------------------------------------------------------


def _differs(model: Any, layer: Any, region: Region, autocast: Any) -> str:
    """What is wrong with a compiled layer; empty if it gives the layer's own outputs and gradients.

    It is tried as training calls it, so that all is compiled by then: with the attention of flat rows, and
    with an input that has a gradient, and one that has none, as that of the first layer may have.
    """
    from tui_tuner.compute.attention import NAME

    stock, training = model.config._attn_implementation, layer.training
    exact = autocast is None and all(one.dtype == torch.float32 for one in layer.parameters())
    try:
        model.set_attn_implementation(NAME)
        args, kwargs = _called_with(model, layer)
        layer.train()
        with _without_dropout(layer):
            for graded in (True, False):
                found, truth = (
                    _results(one, layer, graded, autocast, args, kwargs) for one in (region, region.plain)
                )
                if region.broken:
                    return _("a layer could not be compiled")
                close = CLOSE if exact else CLOSE_HALF
                if not all(same(one, other, close) for one, other in zip(found, truth, strict=True)):
                    return _("a compiled layer does not give what the layer itself does")
    finally:
        layer.train(training)
        model.set_attn_implementation(stock)
    return ""


def _results(
    compute: Callable[..., Any], layer: Any, graded: bool, autocast: Any, args: Any, kwargs: Any
) -> list[Any]:
    """Output and gradients of a layer for a random input."""
    hidden = Draws(device_of(layer)).normal(*args[0].shape).to(args[0].dtype).requires_grad_(graded)
    leaves = [hidden] if graded else []
    leaves += [one for one in layer.parameters() if one.requires_grad]

    def outputs() -> list[Any]:
        with torch.autocast(hidden.device.type, dtype=autocast, enabled=autocast is not None):
            found = compute(layer, hidden, *args[1:], **kwargs)
        return [found[0] if isinstance(found, tuple) else found]

    return with_gradients(outputs, leaves) if leaves else []


class _Found(Exception):
    """Ends a forward pass where what was wanted is known."""


def _called_with(model: Any, layer: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """What a model calls a layer with, for a flat row of a few sequences."""
    found: list[Any] = []

    def note(_module: Any, args: Any, kwargs: Any) -> None:
        found.append((args, kwargs))
        raise _Found

    place = device_of(model)
    positions = torch.cat([torch.arange(length) for length in LENGTHS])[None].to(place)
    ids = torch.zeros_like(positions)
    micro = MicroBatch(
        list(range(len(LENGTHS))), ids, ids.bool(), ids[:0], list(LENGTHS), position_ids=positions
    )
    handle = layer.register_forward_pre_hook(note, with_kwargs=True)
    try:
        way = ForwardWay(packing=True, compact=False, segments=True)
        with contextlib.suppress(_Found), torch.no_grad():
            model(**model_inputs(model, micro, way), use_cache=False)
    finally:
        handle.remove()
    args, kwargs = found[0]
    return args, kwargs


@contextlib.contextmanager
def _without_dropout(layer: Any) -> Iterator[None]:
    dropouts = [(one, one.p) for one in layer.modules() if isinstance(one, torch.nn.Dropout) and one.p]
    try:
        for one, _p in dropouts:
            one.p = 0.0
        yield
    finally:
        for one, before in dropouts:
            one.p = before


__all__ = ["compile_layers", "restore_layers"]
