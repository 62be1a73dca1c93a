"""Gradient checkpointing: the layers that recompute their activations in the backward pass.

Four degrees (`training.gradient_checkpointing`): no layer, every second one, every layer, and every layer
with its input in host memory until it is needed again. All of them compute the same numbers.
"""

from __future__ import annotations

import warnings
import weakref
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch.autograd.graph import saved_tensors_hooks

from tui_tuner.config.sections.training import EVERY_SECOND, OFFLOAD, Checkpointing
from tui_tuner.locales import _
from tui_tuner.methods.attached import count_virtual_tokens
from tui_tuner.methods.layers import find_stacks, list_layers
from tui_tuner.text import one_line

if TYPE_CHECKING:
    from torch import Tensor

ON_DEVICE = 2  # inputs that stay on the device: the one being copied out, and the one needed first


def checkpoint_layers(model: torch.nn.Module, degree: Checkpointing = True) -> None:
    """Enable gradient checkpointing for the layers that gradients reach, and no others.

    Args:
        degree: With `every_second` the last layer keeps its activations, the one before it does not, and so
            on downwards.
    """
    if degree is False:
        return
    if hasattr(model, "activation_checkpointing_enable"):
        model.activation_checkpointing_enable({"use_reentrant": False})
    else:  # as transformers called it at first
        model.gradient_checkpointing_enable({"use_reentrant": False})
    layers = list_layers(model)
    # transformers makes the output of the embeddings require a gradient, for reentrant checkpointing. Here
    # that would only lead gradients through frozen layers, which would then keep their activations.
    if not _reach_embeddings(model):
        model.disable_input_require_grads()
        for layer in layers:
            if any(parameter.requires_grad for parameter in layer.parameters()):
                break
            layer.gradient_checkpointing = False
    # From the last layer on: its activations are used at once, so recomputing them would save nothing.
    if degree == EVERY_SECOND:
        for stack in find_stacks(model):
            for layer in list(stack)[::-2]:
                layer.gradient_checkpointing = False
    if degree == OFFLOAD:
        offload_checkpointed_inputs(model, InputOffloader())


def _reach_embeddings(model: torch.nn.Module) -> bool:
    """Return whether gradients flow through all layers down to the input of the first."""
    embeddings = model.get_input_embeddings()
    return bool(count_virtual_tokens(model)) or any(one.requires_grad for one in embeddings.parameters())


def offload_checkpointed_inputs(model: torch.nn.Module, offload: InputOffloader) -> None:
    """Make the checkpointed layers of a model keep their inputs in host memory."""
    for module in model.modules():
        checkpoint = getattr(module, "_gradient_checkpointing_func", None)
        if checkpoint is not None:
            module._gradient_checkpointing_func = partial(offload.run_checkpoint, checkpoint)


class OffloadedInput:
    """A layer's input that is kept in host memory.

    Args:
        host: Its copy there.
        tensor: The input on the device, while it is there too: until it was sent, or once it came back.
        moved: The event of the latest copy; None if copies are synchronous.
    """

    __slots__ = ("__weakref__", "device", "host", "moved", "tensor")

    def __init__(self, host: Tensor, tensor: Tensor, moved: torch.cuda.Event | None) -> None:
        self.host, self.tensor, self.moved = host, tensor, moved
        self.device = tensor.device

    def wait_for_copy(self) -> None:
        """Make kernels that are launched from now on wait for the copy."""
        if self.moved is not None:
            torch.cuda.current_stream(self.device).wait_event(self.moved)

    def __del__(self) -> None:
        # A failed pass drops inputs while they are being copied: their memory must not be reused before.
        if self.tensor is not None:
            try:
                self.wait_for_copy()
            except Exception:  # the interpreter is shutting down
                return


class InputOffloader:
    """Keeps the inputs of checkpointed layers in pinned host memory, copied on a separate stream.

    Of each layer only the first input moves; positions, masks and other inputs that layers share stay. It
    leaves while the following layers compute, and comes back while the layer above is in its backward pass.
    """

    def __init__(self) -> None:
        self._streams: dict[Any, Any] = {}
        self._sent: list[weakref.ref[OffloadedInput]] = []  # in the order of the forward pass
        self._failed = False

    def run_checkpoint(self, checkpoint: Any, function: Any, *inputs: Any) -> Any:
        """Call `checkpoint(function, *inputs)` with the first input in host memory."""
        hidden = inputs[0] if inputs else None
        if not isinstance(hidden, torch.Tensor) or not hidden.is_floating_point() or self._failed:
            return checkpoint(function, *inputs)
        shape, dtype = hidden.shape, hidden.dtype

        def pack(tensor: Tensor) -> OffloadedInput | Tensor:
            return self._send_input(tensor) if tensor.shape == shape and tensor.dtype == dtype else tensor

        def unpack(kept: Any) -> Any:
            return self._receive_input(kept) if isinstance(kept, OffloadedInput) else kept

        # `torch.utils.checkpoint` saves its inputs outside of the hooks by which it drops activations, so
        # hooks around its call see these inputs alone.
        with saved_tensors_hooks(pack, unpack):
            return checkpoint(function, *inputs)

    def _send_input(self, tensor: Tensor) -> OffloadedInput | Tensor:
        """Start to copy an input to the host, and free older ones, whose copies had time to finish."""
        try:
            host = allocate_on_host(tensor)
        except RuntimeError as error:
            self._failed = True
            warnings.warn(
                _(
                    "Host memory for the layer inputs could not be allocated ({problem}); "
                    "they stay on the GPU.",
                    problem=one_line(error, 120),
                ),
                stacklevel=2,
            )
            return tensor
        away = OffloadedInput(host, tensor, self._start_copy(host, tensor))
        waiting = self._list_waiting()
        for one in waiting[: len(waiting) + 1 - ON_DEVICE]:
            # The computing stream waits for the copy before the memory is freed. So it is not reused too
            # early, and a host that is far ahead of the GPU cannot pile up inputs.
            if one.tensor is not None:
                one.wait_for_copy()
                one.tensor = None
        self._sent = [*map(weakref.ref, waiting), weakref.ref(away)]
        return away

    def _receive_input(self, away: OffloadedInput) -> Tensor:
        """Return an input on the device, and start to fetch the one that is needed next."""
        if away.tensor is None:
            self._fetch_input(away)
        waiting = self._list_waiting()
        place = next((number for number, one in enumerate(waiting) if one is away), 0)
        if place and waiting[place - 1].tensor is None:
            self._fetch_input(waiting[place - 1])
        away.wait_for_copy()
        tensor, away.tensor = away.tensor, None
        self._sent = [weakref.ref(one) for one in waiting if one is not away]
        return tensor

    def _fetch_input(self, away: OffloadedInput) -> None:
        away.tensor = allocate_on_device(away.host, away.device)
        away.moved = self._start_copy(away.tensor, away.host)

    def _list_waiting(self) -> list[OffloadedInput]:
        """Return the inputs that are still needed, in the order of the forward pass."""
        # Weak references: autograd owns the inputs, and drops them if a pass fails or is not used.
        found = (reference() for reference in self._sent)
        return [away for away in found if away is not None]

    def _start_copy(self, to: Tensor, source: Tensor) -> torch.cuda.Event | None:
        """Copy on a separate stream, after all work launched so far; returns the event of its end."""
        device = source.device if source.is_cuda else to.device
        if device.type != "cuda":
            to.copy_(source)
            return None
        if device not in self._streams:
            self._streams[device] = torch.cuda.Stream(device)
        stream = self._streams[device]
        stream.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(stream):
            to.copy_(source, non_blocking=True)
        return stream.record_event()


def allocate_on_host(tensor: Tensor) -> Tensor:
    """Allocate host memory for a tensor, pinned so that copies to and from a GPU are asynchronous.

    Raises:
        RuntimeError: there is not enough.
    """
    return torch.empty(tensor.shape, dtype=tensor.dtype, device="cpu", pin_memory=tensor.is_cuda)


def allocate_on_device(host: Tensor, device: torch.device) -> Tensor:
    """Allocate memory on a device for a tensor in host memory."""
    return torch.empty(host.shape, dtype=host.dtype, device=device)
