"""Make bitsandbytes layers without data: their weights, and the memory that their GPU kernels allocate."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch

BLOCK, NESTED_BLOCK = 64, 256  # weights that share a constant, and constants that share one

# Kernels of an operator besides the other operators that it calls (0.50, `backends/cuda/ops.py`)
OWN_KERNELS = {
    "bitsandbytes::int8_mm_dequant": 1,
    "bitsandbytes::int8_vectorwise_quant": 2,  # the search for outliers by column, and the rounding of rows
    "aten::_grouped_mm": 1,
}


def quantise_traced_model(model: Any, kind: str, double: bool, dtype: Any) -> Any:
    """Put bitsandbytes' layers where transformers puts them, with weights that hold no data.

    Args:
        kind: nf4 or int8.
        dtype: The dtype that products are computed in.
    """
    import bitsandbytes
    from torch._subclasses.fake_tensor import unset_fake_temporarily
    from transformers import BitsAndBytesConfig
    from transformers.integrations.bitsandbytes import replace_with_bnb_linear
    from transformers.quantizers.base import get_keys_to_not_convert

    settings = BitsAndBytesConfig(load_in_8bit=True)
    if kind == "nf4":
        settings = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=double,
            bnb_4bit_compute_dtype=dtype,
        )
    # The layers' own classes of weights cannot be fake.
    with unset_fake_temporarily():
        model = replace_with_bnb_linear(model, get_keys_to_not_convert(model), settings)
    for module in model.modules():
        if isinstance(module, bitsandbytes.nn.Linear4bit):
            _four_bits(module, double, dtype)
        elif isinstance(module, bitsandbytes.nn.Linear8bitLt):
            _eight_bits(module)
        else:
            continue
        if module.bias is not None:
            module.bias = torch.nn.Parameter(torch.empty(module.bias.shape, dtype=dtype), requires_grad=False)
    model.is_loaded_in_4bit = kind == "nf4"
    model.is_loaded_in_8bit = kind == "int8"
    model.is_quantized = True
    _patch_dequantising()
    return model


def _four_bits(module: Any, double: bool, dtype: Any) -> None:
    from bitsandbytes.functional import QuantState

    count = module.in_features * module.out_features
    blocks = math.ceil(count / BLOCK)
    nested: dict[str, Any] = {"absmax": torch.empty(blocks)}
    if double:
        inner = QuantState(
            absmax=torch.empty(math.ceil(blocks / NESTED_BLOCK)),
            blocksize=NESTED_BLOCK,
            code=torch.empty(256),
            dtype=torch.float32,
        )
        nested = {
            "absmax": torch.empty(blocks, dtype=torch.uint8),
            "offset": torch.empty(()),
            "state2": inner,
        }
    state = QuantState(
        shape=torch.Size((module.out_features, module.in_features)),
        dtype=dtype,
        blocksize=BLOCK,
        code=torch.empty(16),
        quant_type="nf4",
        **nested,
    )
    weight = torch.nn.Parameter(torch.empty(-(-count // 2), 1, dtype=torch.uint8), requires_grad=False)
    weight.quant_state, weight.compress_statistics, weight.quant_type = state, double, "nf4"  # type: ignore
    module.weight = weight
    module.quant_state = state


def _eight_bits(module: Any) -> None:
    shape = (module.out_features, module.in_features)
    weight = torch.nn.Parameter(torch.empty(shape, dtype=torch.int8), requires_grad=False)
    weight.CB = weight.SCB = None  # type: ignore[attr-defined]
    module.weight = weight
    module.state.CB = weight.data
    module.state.SCB = torch.empty(module.out_features)
    module.state.has_fp16_weights = False


def _patch_dequantising() -> None:
    """Let PEFT (DoRA's norms) dequantise these weights, whose class is not bitsandbytes' own."""
    import bitsandbytes
    from bitsandbytes.autograd._functions import MatMul8bitLt
    from peft.tuners.lora import dora

    def weight_of(module: Any) -> Any:
        state = getattr(module.weight, "quant_state", None)
        if state is not None:
            return bitsandbytes.functional.dequantize_4bit(module.weight.data, state)
        if getattr(module, "state", None) is not None:
            return bitsandbytes.functional.int8_vectorwise_dequant(module.weight.data, module.state.SCB)
        return module.weight

    def matmul(
        a: Any, b: Any, out: Any = None, state: Any = None, threshold: float = 0, bias: Any = None
    ) -> Any:
        return MatMul8bitLt.apply(a, b, out, bias, state)

    dora.dequantize_module_weight = weight_of
    # Copying tensors without data never ends.
    dora.deepcopy = lambda module: module
    # bitsandbytes would choose the product for CPU tensors.
    bitsandbytes.matmul = matmul


def list_quantisation_constants(model: Any) -> list[Any]:
    """List the tensors of quantisation constants, which are neither parameters nor buffers."""
    found: list[Any] = []
    for module in model.modules():
        state = getattr(getattr(module, "weight", None), "quant_state", None)
        if state is not None:
            inner = state.state2
            found += [state.absmax, state.code]
            found += [inner.absmax, inner.code, state.offset] if inner is not None else []
        elif getattr(getattr(module, "state", None), "SCB", None) is not None:
            found.append(module.state.SCB)
    return found


def list_stand_in_kernels() -> dict[Any, Callable[..., Any]]:
    """Return stand-ins for bitsandbytes' GPU kernels (`backends/cuda`, `backends/default`), by operator."""
    try:
        import bitsandbytes  # noqa: F401
    except ImportError:
        return {}
    operators = torch.ops.bitsandbytes
    known: dict[str, Callable[..., Any]] = {
        "gemm_4bit": _gemm_4bit,
        "int8_mixed_scaled_mm": _int8_mixed,
        "int8_scaled_mm": _int8_scaled,
        "int8_mm_dequant": _int8_dequant,
        "int8_vectorwise_quant": _int8_quant,
    }
    return {
        getattr(operators, name).default: kernel for name, kernel in known.items() if hasattr(operators, name)
    }


def _gemm_4bit(
    x: Any,
    packed: Any,
    shape: Any,
    absmax: Any,
    blocksize: int,
    quant_type: str,
    bias: Any = None,
    absmax_8bit: Any = None,
    absmax_code: Any = None,
    absmax_offset: Any = None,
) -> Any:
    # As for more than 1,536 rows, where the whole weight is dequantised; below, some GPUs do not need to.
    if absmax_8bit is not None:
        operator = torch.ops.bitsandbytes.dequantize_blockwise
        absmax = operator(absmax_8bit, absmax, absmax_code, NESTED_BLOCK, torch.float32) + absmax_offset
    weight = torch.ops.bitsandbytes.dequantize_4bit(packed, absmax, blocksize, quant_type, shape, x.dtype)
    return torch.nn.functional.linear(x, weight, bias)


def _int8_mixed(a: Any, ca: Any, cb: Any, sca: Any, scb: Any, outliers: Any = None, bias: Any = None) -> Any:
    # As if no column held an outlier: those that do are few, and kept in 16 bits in addition to the rest.
    return torch.ops.bitsandbytes.int8_scaled_mm(ca, cb, sca, scb, bias=bias, dtype=a.dtype), a.new_empty(0)


def _int8_scaled(a: Any, b: Any, rows: Any, columns: Any, bias: Any = None, dtype: Any = None) -> Any:
    product = torch.ops.bitsandbytes.int8_linear_matmul(a, b)
    return torch.ops.bitsandbytes.int8_mm_dequant(product, rows, columns, dtype=dtype, bias=bias)


def _int8_dequant(product: Any, rows: Any, columns: Any, dtype: Any = None, bias: Any = None) -> Any:
    out = torch.empty_like(product, dtype=torch.float16)
    return out.to(dtype or torch.float16)


def _int8_quant(a: Any, threshold: float = 0.0) -> Any:
    rows = a.new_empty(a.numel() // a.shape[-1], dtype=torch.float32)
    out = torch.empty_like(a, dtype=torch.int8)
    if threshold:
        # Only for its two temporaries, which the real kernel allocates as well.
        a.abs() >= threshold  # noqa: B015
    return out, rows, torch.empty(0, dtype=torch.long) if threshold else None
