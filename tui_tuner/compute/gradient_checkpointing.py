"""Gradient checkpointing: which layers compute again in the backward pass what they did not keep.

Four degrees (`training.gradient_checkpointing`): no layer, every second one, every layer, and every layer
with its input in host memory until it is needed again. What is computed is the same in all of them.
"""

from __future__ import annotations

import warnings
import weakref
from functools import partial
from typing import Any

import torch
from torch.autograd.graph import saved_tensors_hooks

from tui_tuner.config.sections.training import EVERY_SECOND, OFFLOAD, Checkpointing
from tui_tuner.locales import _
from tui_tuner.methods.prompts import virtual_tokens
from tui_tuner.methods.weights import decoder_layers
from tui_tuner.text import one_line

ON_DEVICE = 2  # inputs that stay on the device: those on their way out, and those that are needed first


def checkpoint_layers(model: Any, degree: Checkpointing = True) -> None:
    """Switch gradient checkpointing on for the layers that gradients reach, and no others.

    transformers makes the embeddings' output ask for a gradient, for the sake of reentrant checkpointing.
    Here it would only lead gradients through frozen layers, which then keep all they computed.

    Args:
        degree: With `every_second` the last layer keeps what it computed, the one before it does not, and so
            on downwards: what the last one keeps is used at once, so it would be computed again for nothing.
    """
    if degree is False:
        return
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    layers = list(decoder_layers(model))
    if not _reach_embeddings(model):
        model.disable_input_require_grads()
        for layer in layers:
            if any(parameter.requires_grad for parameter in layer.parameters()):
                break
            layer.gradient_checkpointing = False
    if degree == EVERY_SECOND:
        for layer in layers[::-2]:
            layer.gradient_checkpointing = False
    if degree == OFFLOAD:
        offload_inputs(model, Offload())


def _reach_embeddings(model: Any) -> bool:
    """Whether gradients flow through all layers down to what enters the first."""
    embeddings = model.get_input_embeddings()
    return bool(virtual_tokens(model)) or any(one.requires_grad for one in embeddings.parameters())


def offload_inputs(model: Any, offload: Offload) -> None:
    """Have the checkpointed layers of a model keep their inputs in host memory."""
    for module in model.modules():
        checkpoint = getattr(module, "_gradient_checkpointing_func", None)
        if checkpoint is not None:
            module._gradient_checkpointing_func = partial(offload.run, checkpoint)


class Away:
    """A layer's input that waits in host memory.

    Args:
        host: Its copy there.
        tensor: The input on the device, as long as it is there too: until it was sent, or once it came back.
        moved: When the latest copy is done; None where copying waits by itself.
    """

    __slots__ = ("__weakref__", "device", "host", "moved", "tensor")

    def __init__(self, host: Any, tensor: Any, moved: Any) -> None:
        self.host, self.tensor, self.moved = host, tensor, moved
        self.device = tensor.device

    def wait(self) -> None:
        """Let what is launched from here on begin after the copy."""
        if self.moved is not None:
            torch.cuda.current_stream(self.device).wait_event(self.moved)

    def __del__(self) -> None:
        if self.tensor is not None:  # a pass that failed: nobody may get this memory while it is written to
            try:
                self.wait()
            except Exception:  # the interpreter is ending
                return


class Offload:
    """Keeps the inputs of checkpointed layers in pinned host memory, copied on a stream of its own.

    `torch.utils.checkpoint` saves a layer's positional inputs outside of the hooks under which it drops what
    the layer computes, so hooks around its call meet these inputs alone. The first one goes to the host;
    positions, masks and what all layers share stay. It leaves while the layers after it compute, and comes
    back while the layer above is in its backward pass. Memory of the device is given back only after the
    stream that computes has been told to wait for the copy, so that none is used for two things at once and
    a processor that is far ahead does not pile up inputs.
    """

    def __init__(self) -> None:
        self._streams: dict[Any, Any] = {}
        self._sent: list[weakref.ref[Away]] = []  # in the order of the forward pass
        self._failed = False

    def run(self, checkpoint: Any, function: Any, *inputs: Any) -> Any:
        """`checkpoint(function, *inputs)`, with the first of the inputs in host memory."""
        hidden = inputs[0] if inputs else None
        if not isinstance(hidden, torch.Tensor) or not hidden.is_floating_point() or self._failed:
            return checkpoint(function, *inputs)
        shape, dtype = hidden.shape, hidden.dtype

        def pack(tensor: Any) -> Any:
            return self._send(tensor) if tensor.shape == shape and tensor.dtype == dtype else tensor

        def unpack(kept: Any) -> Any:
            return self._receive(kept) if isinstance(kept, Away) else kept

        with saved_tensors_hooks(pack, unpack):
            return checkpoint(function, *inputs)

    def _send(self, tensor: Any) -> Any:
        """Begin to copy an input to the host, and let go of one whose copy has had time."""
        try:
            host = host_like(tensor)
        except RuntimeError as error:
            self._failed = True
            warnings.warn(
                _(
                    "Host memory for the inputs of layers could not be had ({problem}); "
                    "they stay on the GPU.",
                    problem=one_line(error, 120),
                ),
                stacklevel=2,
            )
            return tensor
        away = Away(host, tensor, self._copy(host, tensor))
        waiting = self._waiting()
        for one in waiting[: len(waiting) + 1 - ON_DEVICE]:
            if one.tensor is not None:
                one.wait()
                one.tensor = None
        self._sent = [*map(weakref.ref, waiting), weakref.ref(away)]
        return away

    def _receive(self, away: Away) -> Any:
        """An input on the device again; the one that is needed next sets out."""
        if away.tensor is None:
            self._fetch(away)
        waiting = self._waiting()
        place = next((number for number, one in enumerate(waiting) if one is away), 0)
        if place and waiting[place - 1].tensor is None:
            self._fetch(waiting[place - 1])
        away.wait()
        tensor, away.tensor = away.tensor, None
        self._sent = [weakref.ref(one) for one in waiting if one is not away]
        return tensor

    def _fetch(self, away: Away) -> None:
        away.tensor = device_like(away.host, away.device)
        away.moved = self._copy(away.tensor, away.host)

    def _waiting(self) -> list[Away]:
        """Inputs of passes that are not through, in the order of the forward pass."""
        found = (reference() for reference in self._sent)
        return [away for away in found if away is not None]

    def _copy(self, to: Any, source: Any) -> Any:
        """Copy on a stream of its own after all that was launched so far; the event when it is done."""
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


def host_like(tensor: Any) -> Any:
    """Room in host memory for a tensor, such that a GPU copies to and from it by itself.

    Raises:
        RuntimeError: there is none.
    """
    return torch.empty(tensor.shape, dtype=tensor.dtype, device="cpu", pin_memory=tensor.is_cuda)


def device_like(host: Any, device: Any) -> Any:
    """Room on a device for what lies in host memory."""
    return torch.empty(host.shape, dtype=host.dtype, device=device)
