"""Float32 for the time of a check, whatever numbers a model is held and computed in.

16 bits hide what is wrong: a bias by position that a fast way leaves out changes the loss of a token by a
hundredth, and so does rounding. In float32 rounding is a ten-thousandth of that.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import torch

from tui_tuner.errors import ConfigError
from tui_tuner.locales import _
from tui_tuner.models.device import free_memory

HALVES = (torch.bfloat16, torch.float16)
MOST_OF_FREE = 0.5  # share of the free memory that a copy in float32 may take; activations need some too
LARGE = 2 << 30  # bytes in float32 from which on a model is not copied as a whole
_FLOAT32 = 4  # bytes


def computes_in_float32(model: Any, autocast: Any) -> bool:
    """Whether a forward pass is in float32 as it is: all weights, and nothing cast on the way."""
    if autocast is not None or _eight_bits(model):
        return False
    held = {tensor.dtype for tensor in model.parameters() if tensor.is_floating_point()}
    return held <= {torch.float32, torch.float64} and not list(_computing_in_16_bits(model))


def float32_problem(model: Any, device: Any) -> str:
    """Why a model cannot be computed in float32 for a while; empty if it can."""
    if _eight_bits(model):
        return _("8-bit weights are multiplied in 16 bits")
    streamed, whole = _parts(model)
    layer = max((_wide_bytes(tensors) for tensors in streamed.values()), default=0)
    # of a layer there may be two: the one that a pass is in, and what its backward pass asks for
    if _wide_bytes(whole) + 2 * layer > MOST_OF_FREE * free_memory(device):
        return _("the memory has no room for a copy of the weights in float32")
    return ""


@contextlib.contextmanager
def in_float32(model: Any) -> Iterator[None]:
    """Weights, buffers and products of a model in float32, and afterwards bit for bit what they were.

    Of a large model, frozen weights of a layer are in float32 only while a pass is in it: a copy of all of
    them takes twice the memory of the model. Autocast is the caller's to leave out. 4-bit weights stay as
    they are, and are multiplied in float32.
    """
    streamed, whole = _parts(model)
    kept = [(tensor, tensor.data) for tensor in whole]
    computing = list(_computing_in_16_bits(model))
    precision = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("highest")  # TensorFloat-32 has 10 bits, hardly more than bfloat16
        for tensor, data in kept:
            tensor.data = data.float()
        for module, _unused in computing:
            module.compute_dtype = torch.float32
        with _Streaming(streamed) if streamed else contextlib.nullcontext():
            yield
    finally:
        for tensor, data in kept:
            tensor.data = data
        for module, dtype in computing:
            module.compute_dtype = dtype
        torch.set_float32_matmul_precision(precision)


class _Streaming:
    """Layers whose weights are in float32 while they are entered, forward and on the way back."""

    def __init__(self, layers: dict[Any, list[Any]]) -> None:
        self._kept = {layer: [(tensor, tensor.data) for tensor in held] for layer, held in layers.items()}
        self._narrow: dict[int, Any] = {}  # 16-bit data by the storage of its copy in float32
        self._ending = contextlib.ExitStack()

    def __enter__(self) -> None:
        for layer in self._kept:
            self._ending.enter_context(_removed(layer.register_forward_pre_hook(self._widen)))
            hook = layer.register_forward_hook(self._restore, always_call=True)
            self._ending.enter_context(_removed(hook))
        self._ending.enter_context(torch.autograd.graph.saved_tensors_hooks(self._pack, self._unpack))

    def __exit__(self, *_unused: Any) -> None:
        self._ending.close()
        for layer in self._kept:
            self._restore(layer)

    def _widen(self, layer: Any, *_unused: Any) -> None:
        for tensor, data in self._kept[layer]:
            tensor.data = data.float()
            self._narrow[tensor.untyped_storage().data_ptr()] = data

    def _restore(self, layer: Any, *_unused: Any) -> None:
        for tensor, data in self._kept[layer]:
            self._narrow.pop(tensor.untyped_storage().data_ptr(), None)
            tensor.data = data

    def _pack(self, tensor: Any) -> Any:
        """What autograd keeps: of a weight in float32, or a view of one, how it is made again."""
        data = self._narrow.get(tensor.untyped_storage().data_ptr())
        if data is None:
            return tensor
        return data, tensor.size(), tensor.stride(), tensor.storage_offset()

    def _unpack(self, packed: Any) -> Any:
        if isinstance(packed, torch.Tensor):
            return packed
        data, size, stride, offset = packed
        return data.float().as_strided(size, stride, offset)


@contextlib.contextmanager
def _removed(hook: Any) -> Iterator[None]:
    try:
        yield
    finally:
        hook.remove()


def _parts(model: Any) -> tuple[dict[Any, list[Any]], list[Any]]:
    """Frozen 16-bit tensors by the layer that alone has them, where the model is large; and all others."""
    from tui_tuner.methods.weights import decoder_layers

    halves = list(_halves(model))
    if _wide_bytes(halves) <= LARGE:
        return {}, halves
    try:
        layers = list(dict.fromkeys(decoder_layers(model)))
    except ConfigError:
        return {}, halves
    users = Counter(id(tensor) for layer in layers for tensor in _tensors(layer))
    inside = Counter(id(tensor) for tensor in _tensors(model))
    streamed = {
        layer: [
            tensor
            for tensor in _halves(layer)
            if not tensor.requires_grad and users[id(tensor)] == inside[id(tensor)] == 1
        ]
        for layer in layers
    }
    taken = {id(tensor) for held in streamed.values() for tensor in held}
    return streamed, [tensor for tensor in halves if id(tensor) not in taken]


def _tensors(module: Any) -> list[Any]:
    """Parameters and buffers, one that several modules share as often as they do."""
    return [
        tensor
        for part in module.modules()
        for tensor in (*part._parameters.values(), *part._buffers.values())
        if tensor is not None
    ]


def _wide_bytes(tensors: Iterable[Any]) -> int:
    return sum(_FLOAT32 * tensor.numel() for tensor in tensors)


def _halves(model: Any) -> Iterator[Any]:
    """Parameters and buffers that are held in 16 bits, each once."""
    seen: set[int] = set()
    for tensor in (*model.parameters(), *model.buffers()):
        if tensor.dtype in HALVES and id(tensor) not in seen:
            seen.add(id(tensor))
            yield tensor


def _computing_in_16_bits(model: Any) -> Iterator[tuple[Any, Any]]:
    """Modules of 4-bit weights (bitsandbytes), and what each multiplies in."""
    for module in model.modules():
        dtype = getattr(module, "compute_dtype", None)
        if dtype in HALVES:
            yield module, dtype


def _eight_bits(model: Any) -> bool:
    """Whether there are weights of 8 bits (bitsandbytes), whose kernel rounds what goes in."""
    return any(type(module).__name__ == "Linear8bitLt" for module in model.modules())
