"""A GPU's habits for tensors without data: what its kernels allocate, and what autocast casts there.

Tensors of a trace are fake CPU tensors, because fake GPU tensors end the process where PyTorch has no CUDA.
Memory on a GPU differs from theirs in a few places, and each is set right here, for a process that does
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
from tui_tuner.compute.attention.choice import flash_width
from tui_tuner.compute.attention.efficient import efficient_takes
from tui_tuner.compute.attention.spans import by_token
from tui_tuner.compute.attention.varlen import torch_varlen
from tui_tuner.compute.precision import HALVES
from tui_tuner.models.device import AMPERE, Device
from tui_tuner.training.tracing.quantised import kernels

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
# Those that return float32 where no dtype is asked for.
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
MEANS = attention.Means(varlen=torch_varlen()[1], efficient=efficient_takes())
LISTENERS: list[Callable[[str, int], None]] = []  # told of what a stand-in's kernel launches: kind, how many
_ALONE = 4  # uses of a tensor that are autograd's and this module's own
_ENGINE = "_engine_run_backward"
_PASSED_OVER = ("_compile.py", "_python_dispatch.py", "eval_frame.py", __file__)


def note_launches(kind: str, launches: int) -> None:
    """A stand-in ran for kernels that are launched so many times."""
    for listener in LISTENERS:
        listener(kind, launches)


def behave_like_a_gpu() -> None:
    """Change this process for good. Call once, before a model is made."""
    torch.is_autocast_enabled = _autocast  # PEFT asks for the GPU's
    torch.nn.functional.dropout = _dropout  # type: ignore[assignment]
    torch.nn.functional.scaled_dot_product_attention = _attention  # type: ignore[assignment]
    torch.nn.Module.to = lambda self, *_, **__: self  # type: ignore[method-assign]  # fakes cannot be moved
    _autocast_library()


_is_autocast_enabled = torch.is_autocast_enabled


def _autocast(*_: Any) -> bool:
    return bool(_is_autocast_enabled("cpu"))


_libraries: list[Any] = []


def _autocast_library() -> None:
    library = torch.library.Library("aten", "IMPL")
    _libraries.append(library)  # registrations end with it
    for name in IN_FLOAT32:
        library.impl(name, partial(_in_float32, _overload(name)), "AutocastCPU")
    for name, place in TO_FLOAT32.items():
        library.impl(name, partial(_to_float32, _overload(name), place), "AutocastCPU")


def _overload(name: str) -> Any:
    base, _, overload = name.partition(".")
    return getattr(getattr(torch.ops.aten, base), overload or "default")


def _without_autocast() -> Any:
    return torch._C._ExcludeDispatchKeyGuard(torch._C.DispatchKeySet(torch._C.DispatchKey.AutocastCPU))


def _in_float32(operation: Any, *args: Any, **kwargs: Any) -> Any:
    def widened(value: Any) -> Any:
        half = isinstance(value, Tensor) and value.dtype in HALVES
        return value.float() if half else value

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


def _dropout(input: Any, p: float = 0.5, training: bool = True, inplace: bool = False) -> Any:
    """One kernel with a mask of one byte an element."""
    return torch.native_dropout(input, p, training)[0] if training and p else input


def attend_like_a_gpu(
    module: Any, query: Any, key: Any, value: Any, mask: Any, **options: Any
) -> tuple[Any, None]:
    """What `attention.segment_attention` does on a GPU, with the kernel that is chosen there."""
    query, key, value = _as_autocast(query, key, value)
    need = attention.Need.of(
        query,
        key,
        value,
        dropout=bool(options.get("dropout")),
        window=options.get("sliding_window") is not None,
        causal=options.get("is_causal") is not False,
    )
    kernel, _passed = attention.choose(need, TRACED, MEANS)
    sequences = len(options["segment_lengths"])
    if kernel is attention.Kernel.VARLEN:
        width = flash_width(need.head_dim, need.value_dim, TRACED.capability)
        repeated = 0 if "enable_gqa" in MEANS.varlen else need.heads
        query = by_token(query, width=width).contiguous()
        key, value = (by_token(part, None, repeated, width).contiguous() for part in (key, value))
    else:  # the memory-efficient one takes views
        query, key, value = (by_token(part, None, need.heads) for part in (query, key, value))
    return _Flash.apply(query, key, value, sequences)[None, ..., : need.value_dim], None


def _as_autocast(*tensors: Any) -> Any:
    dtype = torch.get_autocast_dtype("cpu") if _autocast() else None
    return tensors if dtype is None else (tensor.to(dtype) for tensor in tensors)


def _attention(
    query: Any,
    key: Any,
    value: Any,
    attn_mask: Any = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Any:
    """PyTorch's fused attention of [batch, heads, tokens, head_dim]: a kernel with or without a mask."""
    query, key, value = _as_autocast(query, key, value)
    bias = None
    if attn_mask is not None:
        bias = torch.zeros_like(attn_mask, dtype=query.dtype)  # a mask of bytes is made numbers in each layer
    rows = (tensor.transpose(1, 2) for tensor in (query, key, value))
    out = _Flash.apply(*rows, query.shape[0], bias)
    return out.transpose(1, 2)


class _Flash(torch.autograd.Function):
    """A fused kernel on [..., tokens, heads, head_dim]: keeps its inputs, its result and a float32 row sum.

    The backward pass accumulates the gradient of the queries in float32, and those of keys and values for
    each query head (FlashAttention 2, `mha_bwd` and `mha_varlen_bwd` in torch's flash_api.cpp).
    """

    @staticmethod
    def forward(ctx: Any, query: Any, key: Any, value: Any, sequences: int, bias: Any = None) -> Any:
        out = query.new_empty(*query.shape[:-1], value.shape[-1])
        sums = query.new_empty(query.shape[:-1], dtype=torch.float32)
        ctx.save_for_backward(query, key, value, out, sums, *([] if bias is None else [bias]))
        ctx.sequences = sequences
        note_launches("attention", 1)
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        query, key, value, _, _ = ctx.saved_tensors[:5]
        heads, width = query.shape[-2:]
        tokens = query.numel() // (heads * width)
        wide = -(-width // 32) * 32
        padded = tokens + QUERY_BLOCK * ctx.sequences
        accumulated = query.new_empty(padded, heads, wide, dtype=torch.float32)
        sums = query.new_empty(padded, heads, dtype=torch.float32)
        to_query = torch.empty_like(query)
        note_launches("attention", 3)  # row sums, gradients, and that of the queries made 16 bits
        if key.shape[-2] == heads:
            return to_query, torch.empty_like(key), torch.empty_like(value), None, None
        per_head = [tensor.new_empty(*tensor.shape[:-2], heads, tensor.shape[-1]) for tensor in (key, value)]
        summed = [torch.empty_like(tensor) for tensor in (key, value)]
        note_launches("reduction", len(summed))
        del accumulated, sums, per_head
        return to_query, *summed, None, None


def _grouped_mm(a: Any, b: Any, offs: Any = None, bias: Any = None, out_dtype: Any = None) -> Any:
    """Products of groups of rows; the operator without data knows bfloat16 only, the one on a GPU more."""
    groups = [offs.shape[0]] if a.dim() == b.dim() == 2 else []
    return a.new_empty(*groups, a.shape[-2], b.shape[-1], dtype=out_dtype or a.dtype)


class Tracker(TorchDispatchMode):
    """Counts the bytes of every storage from its making to its end, with a peak for each phase.

    Args:
        chosen: True values in a mask of bytes that picks positions: tensors without data do not know.
    """

    def __init__(self, chosen: int = 0) -> None:
        super().__init__()
        self.chosen = chosen
        self.live = 0
        self.peaks: dict[str, float] = {}
        self.phase = "forward"
        self._seen: dict[int, int] = {}
        self._kernels = {**kernels(), torch.ops.aten._grouped_mm.default: _grouped_mm}

    def ignore(self, tensors: list[Any]) -> None:
        """Do not count these."""
        for tensor in tensors:
            self._seen[tensor.untyped_storage()._cdata] = 0

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        kernel = self._kernels.get(func)
        if kernel is not None:
            with self:
                return kernel(*args, **kwargs)
        if func is torch.ops.aten.add.Tensor and self._accumulates(args[0]):
            return torch.ops.aten.add_.Tensor(*args)
        if func in _PICKING:
            args = tuple(self._places(value) for value in args)
        result = func(*args, **kwargs)
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor) and leaf.device.type != "meta":
                self._count(leaf.untyped_storage())
        self.peaks[self.phase] = max(self.peaks.get(self.phase, 0), self.live)
        return result

    def _places(self, value: Any) -> Any:
        """Numbers of places for a mask: as many as are chosen, for each of its dimensions."""
        if not (isinstance(value, list) and value):
            return value
        found: list[Any] = []
        for index in value:
            if isinstance(index, Tensor) and index.dtype == torch.bool:
                found += [torch.empty(self.chosen, dtype=torch.long)] * index.dim()
            else:
                found.append(index)
        return found

    def _accumulates(self, tensor: Any) -> bool:
        """Whether autograd adds a second gradient to one that nobody else holds: with data, in place."""
        frame = sys._getframe(2)
        while frame.f_back is not None and frame.f_code.co_filename.endswith(_PASSED_OVER):
            frame = frame.f_back
        if frame.f_code.co_name != _ENGINE:
            return False
        storage = tensor.untyped_storage()
        uses = torch._C._storage_Use_Count(storage._cdata)
        whole = storage.nbytes() == tensor.numel() * tensor.element_size()
        return tensor._use_count() == _ALONE and (uses == 2 or (uses == 3 and whole))  # 3: a transposed view

    def _count(self, storage: Any) -> None:
        key = storage._cdata
        if key not in self._seen:
            size = storage.nbytes()
            self._seen[key] = size
            self.live += size
            weakref.finalize(storage, self._free, key)

    def _free(self, key: int) -> None:
        self.live -= self._seen.pop(key, 0)


_PICKING = (
    torch.ops.aten.index.Tensor,
    torch.ops.aten._index_put_impl_.default,
    torch.ops.aten.index_put_.default,
    torch.ops.aten._unsafe_index_put.default,
)
