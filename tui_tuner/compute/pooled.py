"""Heads that read one state of a text, over rows in which several texts lie side by side.

A classifier of transformers is a base model and a head that takes from its last states what it needs: the
first token's (BERT and its kin), the last one's (models that write), or the mean of all. It finds them in
padded rows. So the base model is given the flat row, and what it makes of it is laid out as the head expects:
one line for each text. Where the head reads one state alone, a line is that state and nothing else; which one
it is shows when both are tried. How it pools, and what comes after, stays the model's own.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from tui_tuner.compute.encoders import plain_model
from tui_tuner.compute.forward import ForwardWay, MicroBatch, model_inputs
from tui_tuner.compute.transfer import send_numbers

Pooled = Literal["first", "last", "all"]
# Of the largest logit: far more than two orders of summation differ by, in float32 and in 16 bits
_APART, _APART_HALF = 1e-4, 2e-2


def sequence_logits(model: Any, micro: MicroBatch, way: ForwardWay, pooled: Pooled) -> Any:
    """What a classifier says of each text, [examples, classes].

    Args:
        pooled: Which states of a text its head reads.
    """
    if micro.position_ids is None:
        return _of_padded(model, micro, way, pooled)
    lines = _lines(model, micro, pooled)
    inputs = {name: value for name, value in model_inputs(model, micro, way).items() if value is not None}
    with _laid_out(model, lines, inputs):
        return model(input_ids=lines.ids, attention_mask=lines.mask).logits


def _of_padded(model: Any, micro: MicroBatch, way: ForwardWay, pooled: Pooled) -> Any:
    """The same of padded rows. With virtual tokens, a head cannot see where the last state of a text is."""
    inputs = model_inputs(model, micro, way)
    if not (way.virtual and pooled == "last"):
        return model(**inputs).logits
    ends = send_numbers([length - 1 + way.virtual for length in micro.lengths], micro.input_ids.device)

    def keep_ends(module: Any, args: Any, output: Any) -> Any:
        states = output.last_hidden_state
        output["last_hidden_state"] = states.gather(1, ends[:, None, None].expand(-1, 1, states.shape[-1]))
        return output

    hook = plain_model(model).base_model.register_forward_hook(keep_ends)
    try:
        return model(**inputs).logits
    finally:
        hook.remove()


@dataclass(frozen=True)
class Lines:
    """A line for each text.

    Args:
        tokens: Of the flat row.
        places: [texts, T] int64: where in the flat row the states of a line are.
        ids: [texts, T]: tokens of those places, padding where a line is shorter.
        mask: [texts, T] int64: 1 where a line has a state.
    """

    tokens: int
    places: Any
    ids: Any
    mask: Any

    def lay(self, states: Any) -> Any:
        """States of the flat row, [1, tokens, width], as [texts, T, width]; any other tensor as it is."""
        flat = getattr(states, "ndim", 0) == 3 and tuple(states.shape[:2]) == (1, self.tokens)
        return states[0][self.places] if flat else states


def _lines(model: Any, micro: MicroBatch, pooled: Pooled) -> Lines:
    import torch

    device = micro.input_ids.device
    starts = [0]
    for length in micro.lengths:
        starts.append(starts[-1] + length)
    longest = 1 if pooled == "first" else max(micro.lengths)
    begin = send_numbers(starts[:-1], device)[:, None]
    lengths = send_numbers(micro.lengths, device)[:, None]
    steps = torch.arange(longest, device=device)[None]
    inside = steps < lengths
    places = torch.where(inside, begin + steps, begin)
    pad = plain_model(model).config.get_text_config().pad_token_id
    ids = micro.input_ids[0][places]
    if pooled == "last":
        last = _last_places(ids, inside, pad)
        places, ids, inside = places.gather(1, last), ids.gather(1, last), inside[:, :1]
    elif pooled == "all":
        ids = torch.where(inside, ids, 0 if pad is None else pad)
    return Lines(micro.input_ids.shape[1], places, ids, inside.long())


def _last_places(ids: Any, inside: Any, pad: int | None) -> Any:
    """Where the last token of each text is that a head takes, [texts, 1]: one that is no padding."""
    import torch

    counted = inside if pad is None else inside & (ids != pad)
    return (torch.arange(ids.shape[1], device=ids.device) * counted).argmax(-1, keepdim=True)


@contextmanager
def _laid_out(model: Any, lines: Lines, inputs: dict[str, Any]) -> Iterator[None]:
    """The base model gets the flat row, whatever its head was called with, and its head gets lines."""
    base = plain_model(model).base_model

    def give(module: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        bound = inspect.signature(module.forward).bind_partial(*args, **kwargs).arguments
        more = bound.pop("kwargs", {})
        return (), {**{n: v for n, v in {**bound, **more}.items() if n != "attention_mask"}, **inputs}

    with _between(base, give, lines.lay):
        yield


@contextmanager
def _between(base: Any, give: Callable[..., Any], change: Callable[[Any], Any]) -> Iterator[None]:
    """What a base model is called with comes from `give`, and its states go through `change` to the head."""

    def pass_on(module: Any, args: Any, output: Any) -> Any:
        if isinstance(output, tuple):
            return (change(output[0]), *output[1:])
        if isinstance(output, dict):
            output["last_hidden_state"] = change(output["last_hidden_state"])
            return output
        return change(output)

    with ExitStack() as hooks:
        hooks.callback(base.register_forward_pre_hook(give, with_kwargs=True).remove)
        hooks.callback(base.register_forward_hook(pass_on).remove)
        stack = _stack_of(base)
        if stack is not None:  # a pooler inside the base model comes after it
            hooks.callback(stack.register_forward_hook(pass_on).remove)
        yield


def _stack_of(base: Any) -> Any:
    """The part of a base model that holds its layers, where it is a module with a forward of its own."""
    import torch

    layers = max(
        (module for module in base.modules() if isinstance(module, torch.nn.ModuleList)),
        key=len,
        default=None,
    )
    for child in base.children():
        if child is not layers and layers is not None and any(one is layers for one in child.modules()):
            return child
    return None


def find_pooled(model: Any, micro: MicroBatch, way: ForwardWay) -> Pooled:
    """Which states of a text the head of a model reads, by trying; `all` where nothing less will do.

    Args:
        micro: Padded rows of different lengths, on the model's device.
    """
    import torch

    model = plain_model(model)  # virtual tokens before a text change no head
    exact = model.dtype == torch.float32 and way.autocast is None
    with torch.no_grad(), way.computing():
        wanted = model(**model_inputs(model, micro, way)).logits.float()
        for pooled in ("first", "last"):
            try:
                found = _pooled_logits(model, micro, way, pooled)
            except Exception:  # whatever a model's own code makes of one state
                continue
            scale = wanted.abs().max().clamp_min(1e-6)
            if found.shape == wanted.shape and float((found - wanted).abs().max() / scale) < (
                _APART if exact else _APART_HALF
            ):
                return pooled
    return "all"


def _pooled_logits(model: Any, micro: MicroBatch, way: ForwardWay, pooled: Pooled) -> Any:
    """Logits of padded rows whose head gets one state of each."""
    import torch

    pad = model.config.get_text_config().pad_token_id
    steps = torch.arange(micro.input_ids.shape[1], device=micro.input_ids.device)
    inside = steps[None] < torch.tensor(micro.lengths, device=micro.input_ids.device)[:, None]
    place = _last_places(micro.input_ids, inside, pad)
    if pooled == "first":
        place = torch.zeros_like(place)

    def keep(states: Any) -> Any:
        if states.shape[1] == 1:
            return states
        return states.gather(1, place[..., None].expand(-1, 1, states.shape[-1]))

    def give(module: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        return (), model_inputs(model, micro, way)

    with _between(model.base_model, give, keep):
        ids = micro.input_ids.gather(1, place)
        return model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits.float()
