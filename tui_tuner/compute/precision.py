"""Float32 during a check, whatever dtype a model is held and computed in.

16 bits hide faults: a position bias that a fast way ignores changes the loss of a token by a hundredth, and
so does rounding. In float32, rounding is a ten-thousandth of that.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import torch

from tui_tuner.errors import ConfigError
from tui_tuner.locales import _
from tui_tuner.models.device import measure_free_memory

if TYPE_CHECKING:
    from torch import Tensor

HALVES = (torch.bfloat16, torch.float16)
MOST_OF_FREE = 0.5  # share of the free memory that a float32 copy may take; activations need some too
LARGE = 2 << 30  # bytes in float32; larger models are not copied as a whole
_FLOAT32 = 4  # bytes


def computes_in_float32(model: torch.nn.Module, autocast: torch.dtype | None) -> bool:
    """Return whether a model already computes in float32: all weights, and nothing is cast."""
    if autocast is not None or _has_eight_bits(model):
        return False
    held = {tensor.dtype for tensor in model.parameters() if tensor.is_floating_point()}
    return held <= {torch.float32, torch.float64} and not list(_find_16_bit_modules(model))


def find_float32_problem(model: torch.nn.Module, device: torch.device) -> str:
    """Explain why a check cannot compute a model in float32; empty if it can."""
    if _has_eight_bits(model):
        return _("8-bit weights are always multiplied in 16 bits")
    streamed, whole = _split_tensors(model)
    layer = max((_count_wide_bytes(tensors) for tensors in streamed.values()), default=0)
    # Two copies of a layer: the one of the running pass, and the one made for its backward pass.
    if _count_wide_bytes(whole) + 2 * layer > MOST_OF_FREE * measure_free_memory(device):
        return _("there is not enough memory for a float32 copy of the weights")
    return ""


@contextlib.contextmanager
def compute_in_float32(model: torch.nn.Module) -> Iterator[None]:
    """Compute a model in float32 within the context, and restore its weights bit for bit.

    Callers must not use autocast. 4-bit weights stay as they are, and are multiplied in float32.
    """
    # A float32 copy of all weights would take twice the memory of the model. So in a large model the frozen
    # weights of a layer are in float32 only while a pass is in that layer.
    streamed, whole = _split_tensors(model)
    kept = [(tensor, tensor.data) for tensor in whole]
    computing = list(_find_16_bit_modules(model))
    precision = torch.get_float32_matmul_precision()
    try:
        # TensorFloat-32 has 10 bits of precision, hardly more than bfloat16.
        torch.set_float32_matmul_precision("highest")
        for tensor, data in kept:
            tensor.data = data.float()
        for module, _unused in computing:
            module.compute_dtype = torch.float32
        with _LayerStreamer(streamed) if streamed else contextlib.nullcontext():
            yield
    finally:
        for tensor, data in kept:
            tensor.data = data
        for module, dtype in computing:
            module.compute_dtype = dtype
        torch.set_float32_matmul_precision(precision)


class _LayerStreamer:
    """Keeps the weights of a layer in float32 only while a pass is in it, forward and backward."""

    def __init__(self, layers: dict[torch.nn.Module, list[Tensor]]) -> None:
        self._kept = {layer: [(tensor, tensor.data) for tensor in held] for layer, held in layers.items()}
        self._narrow: dict[int, Any] = {}  # 16-bit data by the address of its float32 copy
        self._ending = contextlib.ExitStack()

    def __enter__(self) -> None:
        for layer in self._kept:
            self._ending.enter_context(_remove_later(layer.register_forward_pre_hook(self._widen_layer)))
            hook = layer.register_forward_hook(self._restore_layer, always_call=True)
            self._ending.enter_context(_remove_later(hook))
        self._ending.enter_context(
            torch.autograd.graph.saved_tensors_hooks(self._pack_tensor, self._unpack_tensor)
        )

    def __exit__(self, *_unused: Any) -> None:
        self._ending.close()
        for layer in self._kept:
            self._restore_layer(layer)

    def _widen_layer(self, layer: torch.nn.Module, *_unused: Any) -> None:
        for tensor, data in self._kept[layer]:
            tensor.data = data.float()
            self._narrow[tensor.untyped_storage().data_ptr()] = data

    def _restore_layer(self, layer: torch.nn.Module, *_unused: Any) -> None:
        for tensor, data in self._kept[layer]:
            self._narrow.pop(tensor.untyped_storage().data_ptr(), None)
            tensor.data = data

    def _pack_tensor(self, tensor: Tensor) -> Any:
        """Replace a float32 weight, or a view of one, by what is needed to make it again."""
        # Else autograd would keep the float32 copies of all layers until the backward pass.
        data = self._narrow.get(tensor.untyped_storage().data_ptr())
        if data is None:
            return tensor
        return data, tensor.size(), tensor.stride(), tensor.storage_offset()

    def _unpack_tensor(self, packed: Any) -> Tensor:
        if isinstance(packed, torch.Tensor):
            return packed
        data, size, stride, offset = packed
        return data.float().as_strided(size, stride, offset)


@contextlib.contextmanager
def _remove_later(hook: torch.utils.hooks.RemovableHandle) -> Iterator[None]:
    try:
        yield
    finally:
        hook.remove()


def _split_tensors(model: torch.nn.Module) -> tuple[dict[torch.nn.Module, list[Tensor]], list[Tensor]]:
    """Return the frozen 16-bit tensors of each layer if the model is large, and all other 16-bit tensors."""
    from tui_tuner.methods.layers import find_layers

    halves = list(_iterate_halves(model))
    if _count_wide_bytes(halves) <= LARGE:
        return {}, halves
    try:
        layers = list(dict.fromkeys(find_layers(model)))
    except ConfigError:
        return {}, halves
    # A tensor that is shared with another layer, or is used outside of the layers, must not change under it.
    users = Counter(id(tensor) for layer in layers for tensor in _list_tensors(layer))
    inside = Counter(id(tensor) for tensor in _list_tensors(model))
    streamed = {
        layer: [
            tensor
            for tensor in _iterate_halves(layer)
            if not tensor.requires_grad and users[id(tensor)] == inside[id(tensor)] == 1
        ]
        for layer in layers
    }
    taken = {id(tensor) for held in streamed.values() for tensor in held}
    return streamed, [tensor for tensor in halves if id(tensor) not in taken]


def _list_tensors(module: torch.nn.Module) -> list[Tensor]:
    """List parameters and buffers; a shared one once for each module that has it."""
    return [
        tensor
        for part in module.modules()
        for tensor in (*part._parameters.values(), *part._buffers.values())
        if tensor is not None
    ]


def _count_wide_bytes(tensors: Iterable[Tensor]) -> int:
    return sum(_FLOAT32 * tensor.numel() for tensor in tensors)


def _iterate_halves(model: torch.nn.Module) -> Iterator[Tensor]:
    """Yield the parameters and buffers in 16 bits, each once."""
    seen: set[int] = set()
    for tensor in (*model.parameters(), *model.buffers()):
        if tensor.dtype in HALVES and id(tensor) not in seen:
            seen.add(id(tensor))
            yield tensor


def _find_16_bit_modules(model: torch.nn.Module) -> Iterator[tuple[torch.nn.Module, torch.dtype]]:
    """Yield the modules with 4-bit weights (bitsandbytes), and the dtype that each multiplies in."""
    for module in model.modules():
        dtype = getattr(module, "compute_dtype", None)
        if dtype in HALVES:
            yield module, dtype


def _has_eight_bits(model: torch.nn.Module) -> bool:
    """Return whether there are 8-bit weights (bitsandbytes), whose kernel rounds its input."""
    return any(type(module).__name__ == "Linear8bitLt" for module in model.modules())
