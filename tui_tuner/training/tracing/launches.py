"""How many kernels a training step launches on a GPU, counted through tensors without data.

A launch here is one call of an operator of PyTorch that computes or moves something: in place or not, over
one tensor or over a list of them (foreach, fused optimizers), it counts one. Views, shapes and memory that is
only set aside count none. What stands in for a kernel counts what the kernel's own code launches:

- attention: one forward; backward the row sums, the gradients, and the queries' gradient made 16 bits
  (FlashAttention 2, `flash_bwd_launch_template.h`), and two sums where heads share keys (`flash_api.cpp`);
- bitsandbytes (0.50, `backends/cuda/ops.py`): each of its operators is one kernel, and those that are made of
  several are counted by their parts.

Operations of our own count what they declare (`compute.kernels.declared`). An operator that PyTorch composes
(the gradient of a slice fills and copies, `addmm` out of place copies first), what cuBLAS splits and what a
long list of tensors is cut into still counts one; compiled regions are not known without a GPU.

A layer's share is the difference between a model of n + 1 layers and one of n.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import torch

from tui_tuner.compute.kernels.declared import launches_of
from tui_tuner.training.tracing import device, step
from tui_tuner.training.tracing.quantised import OWN_KERNELS

FORWARD, LOSS, BACKWARD, OPTIMIZER = "forward", "loss", "backward", "optimizer"
CAST, COPY, PRODUCT, REDUCTION, ELEMENTS, OTHER = "cast", "copy", "product", "reduction", "elements", "other"


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Operators that launch nothing: memory set aside, names of storage, and views that do not say that they are
NOTHING = _words(
    """empty empty_like empty_strided empty_permuted new_empty new_empty_strided _unsafe_view _reshape_alias
    detach detach_ alias lift lift_fresh set_ resize_ is_same_size sym_size sym_stride sym_numel
    sym_storage_offset _local_scalar_dense _has_compatible_shallow_copy_type"""
)
PRODUCTS = _words(
    """linear mm bmm addmm addmm_ baddbmm baddbmm_ addbmm mv dot _grouped_mm _scaled_mm
    int8_linear_matmul convolution convolution_backward"""
)
REDUCTIONS = _words(
    """sum mean amax amin max min var var_mean std norm linalg_vector_norm logsumexp argmax any all cumsum
    _softmax _log_softmax _softmax_backward_data _log_softmax_backward_data native_layer_norm
    native_layer_norm_backward _fused_rms_norm _fused_rms_norm_backward"""
)
COPIES = _words(
    """clone copy_ cat stack _to_copy index_select gather index embedding constant_pad_nd repeat
    embedding_dense_backward _foreach_copy_ slice_scatter slice_backward select_backward"""
)


class LaunchCounter(device.Tracker):
    """Counts launches by phase and kind while it is entered.

    Attributes:
        counts: By (phase, kind).
        operators: By (phase, operator's name), for a look at what there is to save.
    """

    def __init__(self, chosen: int = 0) -> None:
        super().__init__(chosen)
        self.counts: Counter[tuple[str, str]] = Counter()
        self.operators: Counter[tuple[str, str]] = Counter()

    def __enter__(self) -> Any:
        if self.note not in device.LISTENERS:  # entered anew for each stand-in
            device.LISTENERS.append(self.note)
        return super().__enter__()

    def note(self, kind: str, launches: int, name: str = "") -> None:
        """A stand-in, or an operator, ran that launches so many kernels."""
        self.counts[self.phase, kind] += launches
        self.operators[self.phase, name or kind] += launches

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        operator: Any = func
        launches = OWN_KERNELS.get(operator.name()) if func in self._kernels else None
        if launches is None:
            launches = 0 if func in self._kernels else launched_by(operator)
        if launches:
            self.note(kind_of(operator, args, kwargs or {}), launches, operator.name())
        return super().__torch_dispatch__(func, types, args, kwargs)


def launched_by(operator: Any) -> int:
    """Kernels that one call of an operator launches on a GPU."""
    namespace, _, name = operator.name().partition("::")
    base = name.partition(".")[0]
    if namespace in ("prim", "profiler"):
        return 0
    if namespace not in ("aten", "bitsandbytes"):
        return launches_of(f"{namespace}::{base}")
    if operator.is_view or base in NOTHING:
        return 0
    return 1


def kind_of(operator: Any, args: Any, kwargs: dict[str, Any]) -> str:
    """What sort of work an operator does."""
    namespace, _, name = operator.name().partition("::")
    base = name.partition(".")[0]
    if base in ("_to_copy", "copy_", "_foreach_copy_") and _casts(base, args, kwargs):
        return CAST
    for kind, names in ((PRODUCT, PRODUCTS), (REDUCTION, REDUCTIONS), (COPY, COPIES)):
        if base in names:
            return kind
    return ELEMENTS if namespace == "aten" else OTHER


def _casts(base: str, args: Any, kwargs: dict[str, Any]) -> bool:
    if base == "_to_copy":
        return kwargs.get("dtype") not in (None, args[0].dtype)
    first, second = (one[0] if isinstance(one, (list, tuple)) else one for one in args[:2])
    return bool(first.dtype != second.dtype)


def count(request: dict[str, Any], layers: int) -> dict[str, Any]:
    """Launches of one step with so many trained layers: one pass forward and back, and the optimizer.

    Args:
        request: As `step.trace` takes it.

    Returns:
        `phases`: launches by phase and kind. `operators`: the same by phase and operator.
    """
    from torch._subclasses.fake_tensor import FakeTensorMode

    from tui_tuner.compute import chunked_loss
    from tui_tuner.compute.forward import switch_attention
    from tui_tuner.config.schema import RunConfig
    from tui_tuner.objectives.causal import CausalObjective

    with FakeTensorMode(allow_non_fake_inputs=True):
        model = step.make_model(request, layers)
        micro, way = step.make_micro(request), step.make_way(request)
        objective = CausalObjective(RunConfig())
        objective.way = way
        chunked_loss.chunk_rows = lambda *_: request["chunk"]  # those of a GPU
        switch_attention(model, way, "sdpa")
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        optimizer = torch.optim.AdamW(trained, fused=True)
        counter = LaunchCounter(request["supervised"])
        step.mark_layers(model, counter)
        with counter:
            counter.phase = FORWARD
            loss = objective.loss(model, micro)
            counter.phase = BACKWARD
            loss.backward()
        optimizer.step()  # makes its states, once in a run
        with counter:
            counter.phase = OPTIMIZER
            torch.nn.utils.clip_grad_norm_(trained, 1.0, foreach=True)
            optimizer.step()
        device.LISTENERS.remove(counter.note)
    return {"phases": _nested(counter.counts), "operators": _nested(counter.operators)}


_BACKWARD_PHASES = ("last", "between", "first", BACKWARD)


def _nested(counts: Counter[tuple[str, str]]) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    for (phase, name), launches in sorted(counts.items()):
        into = found.setdefault(BACKWARD if phase in _BACKWARD_PHASES else phase, {})
        into[name] = into.get(name, 0) + launches
    return found


def share_of_layer(counts: dict[str, Any], what: str = "phases") -> dict[str, dict[str, int]]:
    """What one layer adds, by phase and kind (or operator), of what `answer` gave for n and n + 1 layers."""
    few, more = (counts[key][what] for key in sorted(counts, key=int)[:2])
    names = {(phase, name) for found in (few, more) for phase in found for name in found[phase]}
    shares: dict[str, dict[str, int]] = {}
    for phase, name in sorted(names):
        added = more.get(phase, {}).get(name, 0) - few.get(phase, {}).get(name, 0)
        if added:
            shares.setdefault(phase, {})[name] = added
    return shares


def total(counts: dict[str, dict[str, int]], *phases: str) -> int:
    """Launches of these phases; of all where none is named."""
    return sum(sum(kinds.values()) for phase, kinds in counts.items() if not phases or phase in phases)


def answer(arguments: dict[str, Any], progress: Any, cancelled: Callable[[], bool]) -> dict[str, Any]:
    """The operation `launches` of a helper process: what `count` returns, by the numbers of `layers`.

    Raises:
        RunError: it failed, in the libraries' words.
    """
    return step.answer_apart(count, arguments, cancelled)
