"""Make tensors without data behave as on a GPU: what its kernels allocate, and what autocast casts there.

Tensors of a trace are fake CPU tensors, because fake GPU tensors crash the process if PyTorch has no CUDA.
Memory on a GPU differs from theirs in a few places, and each is corrected here, for a process that does
nothing else: attention is one kernel with its workspace, autocast runs norms and powers in float32, dropout
keeps a mask of bytes, bitsandbytes dequantises, and autograd adds gradients in place.
"""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from tui_tuner.compute import attention
from tui_tuner.compute.attention.efficient import find_efficient_arguments
from tui_tuner.compute.attention.kernel_choice import find_flash_width
from tui_tuner.compute.attention.spans import lay_heads_by_token
from tui_tuner.compute.attention.varlen import find_torch_varlen
from tui_tuner.compute.precision import HALVES
from tui_tuner.models.device import AMPERE, Device
from tui_tuner.training.tracing.quantised_layers import list_stand_in_kernels

# Operations that autocast runs in float32 on a GPU (ATen/autocast_mode.h, torch 2.13) and not on a CPU.
IN_FLOAT32 = (
    "pow.Tensor_Scalar",
    "pow.Tensor_Tensor",
    "pow.Scalar",
    "exp",
    "log",
    "reciprocal",
    "rsqrt",
    "softplus",
    "layer_norm",
    "native_layer_norm",
    "rms_norm",
    "group_norm",
    "logsumexp",
)
# Operations that return float32 if no dtype is requested, by the place of that argument (None: by name only).
TO_FLOAT32 = {
    "softmax.int": 2,
    "log_softmax.int": 2,
    "cumsum": None,
    "sum": None,
    "sum.dim_IntList": None,
    "linalg_vector_norm": None,
}
QUERY_BLOCK = 128  # FlashAttention 2 pads each sequence of queries to it
TRACED = Device("cuda", capability=AMPERE)  # the GPU that is traced, and what computes attention on it
MEANS = attention.KernelMeans(varlen=find_torch_varlen()[1], efficient=find_efficient_arguments())
LISTENERS: list[Callable[[str, int], None]] = []  # called with the kind and number of a stand-in's launches
_ALONE = 4  # references to a tensor that only autograd and this module hold
_ENGINE = "_engine_run_backward"
_PASSED_OVER = ("_compile.py", "_python_dispatch.py", "eval_frame.py", __file__)


def note_kernel_launches(kind: str, launches: int) -> None:
    """Report the launches of the kernels that a stand-in ran for."""
    for listener in LISTENERS:
        listener(kind, launches)


def imitate_gpu() -> None:
    """Change this process permanently. Call it once, before a model is made."""
    # PEFT asks for the GPU's autocast state, but a trace has CPU tensors.
    torch.is_autocast_enabled = _read_autocast
    torch.nn.functional.dropout = _trace_dropout  # type: ignore[assignment]
    torch.nn.functional.scaled_dot_product_attention = _trace_attention  # type: ignore[assignment]
    torch.nn.Module.to = lambda self, *_, **__: self  # type: ignore[method-assign]  # fakes cannot be moved
    _autocast_library()


_is_autocast_enabled = torch.is_autocast_enabled


def _read_autocast(*_: Any) -> bool:
    return bool(_is_autocast_enabled("cpu"))


_libraries: list[Any] = []


def _autocast_library() -> None:
    library = torch.library.Library("aten", "IMPL")
    # Kept, because registrations end with the library object.
    _libraries.append(library)
    for name in IN_FLOAT32:
        library.impl(name, partial(_in_float32, _find_overload(name)), "AutocastCPU")
    for name, place in TO_FLOAT32.items():
        library.impl(name, partial(_to_float32, _find_overload(name), place), "AutocastCPU")


def _find_overload(name: str) -> Any:
    base, _, overload = name.partition(".")
    return getattr(getattr(torch.ops.aten, base), overload or "default")


def _without_autocast() -> Any:
    return torch._C._ExcludeDispatchKeyGuard(torch._C.DispatchKeySet(torch._C.DispatchKey.AutocastCPU))


def _in_float32(operation: Any, *args: Any, **kwargs: Any) -> Any:
    def widened(value: Any) -> Any:
        half = isinstance(value, Tensor) and value.dtype in HALVES
        return value.float() if half else value

    # Else the call would come back to this function.
    with _without_autocast():
        return operation(*tree_map(widened, args), **tree_map(widened, kwargs))


def _to_float32(operation: Any, place: int | None, *args: Any, **kwargs: Any) -> Any:
    if args[0].is_floating_point():
        if place is None and kwargs.get("dtype") is None:
            kwargs["dtype"] = torch.float32
        elif place is not None and (len(args) <= place or args[place] is None):
            args = (*args[:place], torch.float32)
    with _without_autocast():
        return operation(*args, **kwargs)


def _trace_dropout(input: Any, p: float = 0.5, training: bool = True, inplace: bool = False) -> Any:
    # On a GPU, dropout is one kernel whose mask has one byte for each element.
    return torch.native_dropout(input, p, training)[0] if training and p else input


def imitate_gpu_attention(
    module: Any, query: Any, key: Any, value: Any, mask: Any, **options: Any
) -> tuple[Any, None]:
    """Allocate what `attention.attend_segments` does on a GPU, with the kernel that is chosen there."""
    query, key, value = _as_autocast(query, key, value)
    need = attention.AttentionNeed.from_tensors(
        query,
        key,
        value,
        dropout=bool(options.get("dropout")),
        window=options.get("sliding_window") is not None,
        causal=options.get("is_causal") is not False,
    )
    kernel, _passed = attention.choose_kernel(need, TRACED, MEANS)
    sequences = len(options["segment_lengths"])
    if kernel is attention.Kernel.VARLEN:
        width = find_flash_width(need.head_dim, need.value_dim, TRACED.capability)
        repeated = 0 if "enable_gqa" in MEANS.varlen else need.heads
        query = lay_heads_by_token(query, width=width).contiguous()
        key, value = (lay_heads_by_token(part, None, repeated, width).contiguous() for part in (key, value))
    else:
        # The memory-efficient kernel takes views.
        query, key, value = (lay_heads_by_token(part, None, need.heads) for part in (query, key, value))
    return _Flash.apply(query, key, value, sequences)[None, ..., : need.value_dim], None


def _as_autocast(*tensors: Any) -> Any:
    dtype = torch.get_autocast_dtype("cpu") if _read_autocast() else None
    return tensors if dtype is None else (tensor.to(dtype) for tensor in tensors)


def _trace_attention(
    query: Any,
    key: Any,
    value: Any,
    attn_mask: Any = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Any:
    """Stand in for PyTorch's fused attention of [batch, heads, tokens, head_dim], with or without a mask."""
    query, key, value = _as_autocast(query, key, value)
    bias = None
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        # The kernel converts a mask of bytes to numbers, again in each layer.
        bias = torch.zeros_like(attn_mask, dtype=query.dtype)
    elif attn_mask is not None:
        bias = attn_mask.to(query.dtype)  # as autocast does; it may have a gradient, as T5's distances do
    rows = (tensor.transpose(1, 2) for tensor in (query, key, value))
    out = _Flash.apply(*rows, query.shape[0], bias)
    return out.transpose(1, 2)


class _Flash(torch.autograd.Function):
    """Stands in for a fused kernel on [..., tokens, heads, head_dim].

    The kernel keeps its inputs, its result and a float32 row sum for the backward pass.

    That pass accumulates the gradient of the queries in float32, and those of keys and values for each query
    head (FlashAttention 2, `mha_bwd` and `mha_varlen_bwd` in torch's flash_api.cpp).
    """

    @staticmethod
    def forward(ctx: Any, query: Any, key: Any, value: Any, sequences: int, bias: Any = None) -> Any:
        out = query.new_empty(*query.shape[:-1], value.shape[-1])
        sums = query.new_empty(query.shape[:-1], dtype=torch.float32)
        ctx.save_for_backward(query, key, value, out, sums, *([] if bias is None else [bias]))
        ctx.sequences = sequences
        note_kernel_launches("attention", 1)
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        query, key, value, _, _, *biases = ctx.saved_tensors
        heads, width = query.shape[-2:]
        tokens = query.numel() // (heads * width)
        wide = -(-width // 32) * 32
        padded = tokens + QUERY_BLOCK * ctx.sequences
        accumulated = query.new_empty(padded, heads, wide, dtype=torch.float32)
        sums = query.new_empty(padded, heads, dtype=torch.float32)
        to_query = torch.empty_like(query)
        # Row sums, gradients, and the conversion of the queries' gradient to 16 bits.
        note_kernel_launches("attention", 3)
        to_bias = None
        if biases and ctx.needs_input_grad[4]:
            to_bias = torch.empty_like(biases[0])
        if key.shape[-2] == heads:
            return to_query, torch.empty_like(key), torch.empty_like(value), None, to_bias
        per_head = [tensor.new_empty(*tensor.shape[:-2], heads, tensor.shape[-1]) for tensor in (key, value)]
        summed = [torch.empty_like(tensor) for tensor in (key, value)]
        note_kernel_launches("reduction", len(summed))
        # Up to here all of them are in memory at once, which is the peak of the real kernel.
        del accumulated, sums, per_head
        return to_query, *summed, None, to_bias


def _grouped_mm(a: Any, b: Any, offs: Any = None, bias: Any = None, out_dtype: Any = None) -> Any:
    # PyTorch's version for tensors without data accepts bfloat16 only, the kernel on a GPU more dtypes.
    groups = [offs.shape[0]] if a.dim() == b.dim() == 2 else []
    return a.new_empty(*groups, a.shape[-2], b.shape[-1], dtype=out_dtype or a.dtype)


class Tracker(TorchDispatchMode):
    """Counts the bytes of every storage while it exists, with a peak for each phase.

    Args:
        chosen: True values in a mask of bytes that picks positions: tensors without data hold no values.
    """

    def __init__(self, chosen: int = 0) -> None:
        super().__init__()
        self.chosen = chosen
        self.live = 0
        self.peaks: dict[str, float] = {}
        self.phase = "forward"
        self._seen: dict[int, int] = {}
        self._kernels = {**list_stand_in_kernels(), torch.ops.aten._grouped_mm.default: _grouped_mm}

    def ignore_tensors(self, tensors: list[Any]) -> None:
        for tensor in tensors:
            self._seen[tensor.untyped_storage()._cdata] = 0

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        kernel = self._kernels.get(func)
        if kernel is not None:
            # A mode is off inside its own dispatch, but what the stand-in allocates must be counted.
            with self:
                return kernel(*args, **kwargs)
        if func is torch.ops.aten.add.Tensor and self._is_accumulating(args[0]):
            return torch.ops.aten.add_.Tensor(*args)
        if func in _PICKING:
            args = tuple(self._find_places(value) for value in args)
        result = func(*args, **kwargs)
        # Tensors on `meta` stand for the host's memory.
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor) and leaf.device.type != "meta":
                self._count_bytes(leaf.untyped_storage())
        self.peaks[self.phase] = max(self.peaks.get(self.phase, 0), self.live)
        return result

    def _find_places(self, value: Any) -> Any:
        """Replace masks in an index by positions: `chosen` of them for each dimension of a mask."""
        if not (isinstance(value, list) and value):
            return value
        found: list[Any] = []
        for index in value:
            if isinstance(index, Tensor) and index.dtype == torch.bool:
                found += [torch.empty(self.chosen, dtype=torch.long)] * index.dim()
            else:
                found.append(index)
        return found

    def _is_accumulating(self, tensor: Any) -> bool:
        """Return whether autograd would add in place: a second gradient to one that nothing else holds."""
        # Only the call stack shows whether autograd's engine asks for this addition.
        frame = sys._getframe(2)
        while frame.f_back is not None and frame.f_code.co_filename.endswith(_PASSED_OVER):
            frame = frame.f_back
        if frame.f_code.co_name != _ENGINE:
            return False
        storage = tensor.untyped_storage()
        uses = torch._C._storage_Use_Count(storage._cdata)
        whole = storage.nbytes() == tensor.numel() * tensor.element_size()
        # The third use is that of a transposed view.
        return tensor._use_count() == _ALONE and (uses == 2 or (uses == 3 and whole))

    def _count_bytes(self, storage: Any) -> None:
        key = storage._cdata
        if key not in self._seen:
            size = storage.nbytes()
            self._seen[key] = size
            self.live += size
            weakref.finalize(storage, self._free_bytes, key)

    def _free_bytes(self, key: int) -> None:
        self.live -= self._seen.pop(key, 0)


_PICKING = (
    torch.ops.aten.index.Tensor,
    torch.ops.aten._index_put_impl_.default,
    torch.ops.aten.index_put_.default,
    torch.ops.aten._unsafe_index_put.default,
)
