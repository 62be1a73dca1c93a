"""The memory of a training step, traced through the installed libraries with tensors that hold no data.

Run as `python -m tui_tuner.training.tracing` in a process of its own: JSON requests on standard input, peaks
in bytes on standard output. Tensors are fake CPU tensors of full size, so large layers cost nothing.
"""

from __future__ import annotations

import contextlib
import json
import sys
import weakref
from collections.abc import Callable, Iterator
from typing import Any


def peak_bytes(request: dict[str, Any], layers: int) -> dict[str, float]:
    """Peak bytes beyond the weights in the forward and the backward pass, with so many layers.

    Args:
        request: `config` (of the model), `method`, `rank`, `targets`, `dtype`, `batch`, `length`, `autocast`,
            `checkpointing`, `attention`.
        layers: Layers to build.
    """
    import torch
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode(allow_non_fake_inputs=True) as fake, _fixed_dropout():
        model = _model(request, layers)
        ids = torch.zeros(request["batch"], request["length"], dtype=torch.long)
        mask = None if request["packed"] else torch.ones_like(ids)
        del fake
        tracker = _tracker()
        tracker.ignore([*model.parameters(), *model.buffers(), ids] + ([] if mask is None else [mask]))
        handles = _mark_layers(model, tracker)
        with tracker.mode:
            loss = _loss(model, ids, mask, request)
            tracker.phase = "backward"
            loss.backward()
        for handle in handles:
            handle.remove()
    return dict(tracker.peaks)


def _mark_layers(model: Any, tracker: Any) -> list[Any]:
    """Tell apart the backward passes of the last, the first and the other layers: each grows on its own."""
    from tui_tuner.methods.weights import decoder_layers

    layers = decoder_layers(model)

    def marking(phase: str) -> Callable[..., None]:
        def arrived(_: Any) -> None:
            tracker.phase = phase

        def hook(module: Any, inputs: Any, output: Any) -> None:
            hidden = output[0] if isinstance(output, tuple) else output
            if hidden.requires_grad:
                hidden.register_hook(arrived)

        return hook

    names = ["first", *["between"] * (len(layers) - 2), "last"]
    return [layer.register_forward_hook(marking(name)) for layer, name in zip(layers, names, strict=True)]


def _loss(model: Any, ids: Any, mask: Any, request: dict[str, Any]) -> Any:
    """As the training loop computes it, with every position trained."""
    import torch
    from torch.nn.functional import cross_entropy

    enabled = bool(request["autocast"])
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
        logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits
        return cross_entropy(logits.float().view(-1, logits.shape[-1]), ids.view(-1), reduction="sum")


def _model(request: dict[str, Any], layers: int) -> Any:
    import torch
    from transformers import CONFIG_MAPPING, AutoModelForCausalLM, masking_utils

    masking_utils.is_tracing = lambda *_: False  # else fake tensors get a mask that real ones do without
    masking_utils.find_packed_sequence_indices = lambda *_: None
    values = {
        key: value
        for key, value in request["config"].items()
        if key not in ("model_type", "architectures", "transformers_version", "auto_map", "layer_types")
    }
    names = CONFIG_MAPPING[request["config"]["model_type"]].attribute_map
    values[names.get("num_hidden_layers", "num_hidden_layers")] = layers
    values.update(dict.fromkeys(("attn_pdrop", "attention_dropout"), 0.0))  # fused kernels keep no mask
    config = CONFIG_MAPPING[request["config"]["model_type"]](**values)
    dtype = getattr(torch, request["dtype"])
    model = AutoModelForCausalLM.from_config(config, attn_implementation=request["attention"], dtype=dtype)
    model.train()
    if request["method"] != "full":
        model = _adapted(model, request)
    if request["checkpointing"]:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": True})
        if request["method"] != "full":
            model.enable_input_require_grads()
    return model


def _adapted(model: Any, request: dict[str, Any]) -> Any:
    import torch
    from peft import LoraConfig, get_peft_model

    from tui_tuner.methods.lora import linear_names

    torch.nn.Module.to = lambda self, *_, **__: self  # type: ignore[method-assign]  # fakes cannot be moved
    targets = request["targets"]
    settings = LoraConfig(
        r=request["rank"],
        target_modules=linear_names(model) if targets == "all-linear" else targets,
        lora_dropout=request["dropout"],
        use_dora=False,
        init_lora_weights=True,
    )
    return get_peft_model(model, settings)


@contextlib.contextmanager
def _fixed_dropout() -> Iterator[None]:
    """Dropout as CUDA does it, with a mask of one byte an element."""
    import torch

    original = torch.nn.functional.dropout

    def dropout(input: Any, p: float = 0.5, training: bool = True, inplace: bool = False) -> Any:
        return torch.native_dropout(input, p, training)[0] if training and p else input

    torch.nn.functional.dropout = dropout  # type: ignore[assignment]
    try:
        yield
    finally:
        torch.nn.functional.dropout = original


def _tracker() -> Any:
    """A dispatch mode that counts the bytes of every storage from its making to its end."""
    from torch import Tensor
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_leaves

    class Tracker(TorchDispatchMode):
        def __init__(self) -> None:
            super().__init__()
            self.live = 0
            self.seen: dict[int, int] = {}
            self.peaks: dict[str, float] = {}
            self.phase = "forward"
            self.mode = self

        def ignore(self, tensors: list[Any]) -> None:
            for tensor in tensors:
                self.seen[tensor.untyped_storage()._cdata] = 0

        def __torch_dispatch__(
            self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            result = func(*args, **(kwargs or {}))
            for leaf in tree_leaves(result):
                if isinstance(leaf, Tensor):
                    self._count(leaf.untyped_storage())
            self.peaks[self.phase] = max(self.peaks.get(self.phase, 0), self.live)
            return result

        def _count(self, storage: Any) -> None:
            key = storage._cdata
            if key not in self.seen:
                size = storage.nbytes()
                self.seen[key] = size
                self.live += size
                weakref.finalize(storage, self._free, key)

        def _free(self, key: int) -> None:
            self.live -= self.seen.pop(key, 0)

    return Tracker()


def main() -> None:
    """Answer requests, one JSON line each, until standard input ends."""
    answer, sys.stdout = sys.stdout, sys.stderr  # libraries print to standard output now and then
    for line in sys.stdin:
        try:
            request = json.loads(line)
            peaks = {str(layers): peak_bytes(request, layers) for layers in request["layers"]}
            reply: dict[str, Any] = {"peaks": peaks}
        except Exception as error:
            reply = {"error": f"{type(error).__name__}: {error}"[:500]}
        answer.write(json.dumps(reply) + "\n")
        answer.flush()


if __name__ == "__main__":
    main()
