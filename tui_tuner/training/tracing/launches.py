"""Count the kernels that a training step launches on a GPU, with tensors without data.

A launch is one call of a PyTorch operator that computes or moves something. It counts one, in place or not,
for one tensor or a list of them (foreach, fused optimizers). Views, shapes and allocations count none. A
stand-in for a kernel counts what the kernel's own code launches:

- attention: one forward; backward the row sums, the gradients, and the queries' gradient made 16 bits
  (FlashAttention 2, `flash_bwd_launch_template.h`), and two sums where heads share keys (`flash_api.cpp`);
- bitsandbytes (0.50, `backends/cuda/ops.py`): each of its operators is one kernel, and those that consist of
  several are counted by their parts.

This program's own operations count what they declare (`compute.kernels.kernel_launches`). Operators that
PyTorch composes (the gradient of a slice fills and copies, `addmm` out of place copies first), products that
cuBLAS splits and long lists of tensors that are cut still count one; compiled regions are not known without a
GPU.

A layer's share is the difference between a model of n + 1 layers and one of n.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import torch

from tui_tuner.compute.kernels.kernel_launches import count_launches
from tui_tuner.training.tracing import device, step
from tui_tuner.training.tracing.quantised_layers import OWN_KERNELS

FORWARD, LOSS, BACKWARD, OPTIMIZER = "forward", "loss", "backward", "optimizer"
CAST, COPY, PRODUCT, REDUCTION, ELEMENTS, OTHER = "cast", "copy", "product", "reduction", "elements", "other"


def _split_words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Operators that launch nothing: allocations, names of storage, and views that are not declared as views
NOTHING = _split_words(
    """empty empty_like empty_strided empty_permuted new_empty new_empty_strided _unsafe_view _reshape_alias
    detach detach_ alias lift lift_fresh set_ resize_ is_same_size sym_size sym_stride sym_numel
    sym_storage_offset _local_scalar_dense _has_compatible_shallow_copy_type"""
)
PRODUCTS = _split_words(
    """linear mm bmm addmm addmm_ baddbmm baddbmm_ addbmm mv dot _grouped_mm _scaled_mm
    int8_linear_matmul convolution convolution_backward"""
)
REDUCTIONS = _split_words(
    """sum mean amax amin max min var var_mean std norm linalg_vector_norm logsumexp argmax any all cumsum
    _softmax _log_softmax _softmax_backward_data _log_softmax_backward_data native_layer_norm
    native_layer_norm_backward _fused_rms_norm _fused_rms_norm_backward"""
)
COPIES = _split_words(
    """clone copy_ cat stack _to_copy index_select gather index embedding constant_pad_nd repeat
    embedding_dense_backward _foreach_copy_ slice_scatter slice_backward select_backward"""
)


class LaunchCounter(device.Tracker):
    """Counts launches by phase and kind while it is entered.

    Attributes:
        counts: By (phase, kind).
        operators: By (phase, operator's name), which shows where launches could be saved.
    """

    def __init__(self, chosen: int = 0) -> None:
        super().__init__(chosen)
        self.counts: Counter[tuple[str, str]] = Counter()
        self.operators: Counter[tuple[str, str]] = Counter()

    def __enter__(self) -> Any:
        # Entered again for each stand-in, which must not register it twice.
        if self.note_launch not in device.LISTENERS:
            device.LISTENERS.append(self.note_launch)
        return super().__enter__()

    def note_launch(self, kind: str, launches: int, name: str = "") -> None:
        """Count the launches of a stand-in or an operator."""
        self.counts[self.phase, kind] += launches
        self.operators[self.phase, name or kind] += launches

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        operator: Any = func
        launches = OWN_KERNELS.get(operator.name()) if func in self._kernels else None
        # Other stand-ins call operators, or report launches, which are counted then.
        if launches is None:
            launches = 0 if func in self._kernels else count_operator_launches(operator)
        if launches:
            self.note_launch(find_launch_kind(operator, args, kwargs or {}), launches, operator.name())
        return super().__torch_dispatch__(func, types, args, kwargs)


def count_operator_launches(operator: Any) -> int:
    """Return the number of kernels that one call of an operator launches on a GPU."""
    namespace, _, name = operator.name().partition("::")
    base = name.partition(".")[0]
    if namespace in ("prim", "profiler"):
        return 0
    if namespace not in ("aten", "bitsandbytes"):
        return count_launches(f"{namespace}::{base}")
    if operator.is_view or base in NOTHING:
        return 0
    return 1


def find_launch_kind(operator: Any, args: Any, kwargs: dict[str, Any]) -> str:
    namespace, _, name = operator.name().partition("::")
    base = name.partition(".")[0]
    if base in ("_to_copy", "copy_", "_foreach_copy_") and _is_cast(base, args, kwargs):
        return CAST
    for kind, names in ((PRODUCT, PRODUCTS), (REDUCTION, REDUCTIONS), (COPY, COPIES)):
        if base in names:
            return kind
    return ELEMENTS if namespace == "aten" else OTHER


def _is_cast(base: str, args: Any, kwargs: dict[str, Any]) -> bool:
    if base == "_to_copy":
        return kwargs.get("dtype") not in (None, args[0].dtype)
    first, second = (one[0] if isinstance(one, (list, tuple)) else one for one in args[:2])
    return bool(first.dtype != second.dtype)


def count_step_launches(request: dict[str, Any], layers: int) -> dict[str, Any]:
    """Count the launches of one step: a forward and a backward pass, and the optimizer.

    Args:
        request: As for `step.trace_step`.
        layers: Trained layers to build.

    Returns:
        `phases`: launches by phase and kind. `operators`: the same by phase and operator.
    """
    from torch._subclasses.fake_tensor import FakeTensorMode

    from tui_tuner.compute import chunked_loss
    from tui_tuner.compute.forward import switch_attention
    from tui_tuner.config.schema import RunConfig
    from tui_tuner.objectives.causal import CausalObjective

    with FakeTensorMode(allow_non_fake_inputs=True):
        model = step.make_traced_model(request, layers)
        micro, way = step.make_traced_micro(request), step.make_traced_way(request)
        objective = CausalObjective(RunConfig())
        objective.way = way
        chunked_loss.count_chunk_rows = lambda *_: request["chunk"]  # those of a GPU
        switch_attention(model, way, "sdpa")
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        optimizer = torch.optim.AdamW(trained, fused=True)
        counter = LaunchCounter(request["supervised"])
        step.mark_traced_layers(model, counter)
        with counter:
            counter.phase = FORWARD
            loss = objective.sum_losses(model, micro)
            counter.phase = BACKWARD
            loss.backward()
        # The first call creates the states, once in a run, so it is not counted.
        optimizer.step()
        with counter:
            counter.phase = OPTIMIZER
            torch.nn.utils.clip_grad_norm_(trained, 1.0, foreach=True)
            optimizer.step()
        device.LISTENERS.remove(counter.note_launch)
    return {"phases": _nest_counts(counter.counts), "operators": _nest_counts(counter.operators)}


_BACKWARD_PHASES = ("last", "between", "first", BACKWARD)


def _nest_counts(counts: Counter[tuple[str, str]]) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    for (phase, name), launches in sorted(counts.items()):
        into = found.setdefault(BACKWARD if phase in _BACKWARD_PHASES else phase, {})
        into[name] = into.get(name, 0) + launches
    return found


def count_layer_launches(counts: dict[str, Any], what: str = "phases") -> dict[str, dict[str, int]]:
    """Return the launches that one layer adds, by phase and kind (or operator).

    Args:
        counts: What `run_launches_operation` returned for n and n + 1 layers.
    """
    few, more = (counts[key][what] for key in sorted(counts, key=int)[:2])
    names = {(phase, name) for found in (few, more) for phase in found for name in found[phase]}
    shares: dict[str, dict[str, int]] = {}
    for phase, name in sorted(names):
        added = more.get(phase, {}).get(name, 0) - few.get(phase, {}).get(name, 0)
        if added:
            shares.setdefault(phase, {})[name] = added
    return shares


def sum_launches(counts: dict[str, dict[str, int]], *phases: str) -> int:
    """Return the launches of these phases, or of all if none is given."""
    return sum(sum(kinds.values()) for phase, kinds in counts.items() if not phases or phase in phases)


def run_launches_operation(
    arguments: dict[str, Any], progress: Any, cancelled: Callable[[], bool]
) -> dict[str, Any]:
    """Carry out the operation `launches` of a helper process.

    Returns:
        What `count_step_launches` returns, by the numbers in `layers`.

    Raises:
        RunError: it failed, in the libraries' words.
    """
    return step.trace_layers_apart(count_step_launches, arguments, cancelled)
