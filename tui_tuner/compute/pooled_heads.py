"""Classification heads over flat rows of several texts.

A classifier of transformers is a base model and a head that pools its last states: the first token's (BERT
and its relatives), the last token's (causal models), or the mean of all. It expects padded rows. So the base
model gets the flat row, and its states are laid out as the head expects: one line per text. If the head reads
a single state, a line holds only that one; a test shows which one it is. The pooling itself, and all that
follows, remains the model's own.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from tui_tuner.compute.encoders import unwrap_model
from tui_tuner.compute.forward import ForwardWay, MicroBatch, build_forward_inputs
from tui_tuner.compute.transfer import send_numbers

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Pooled = Literal["first", "last", "all"]
# Shares of the largest logit, in float32 and in 16 bits: far more than the order of summation changes.
_APART, _APART_HALF = 1e-4, 2e-2


def compute_sequence_logits(
    model: torch.nn.Module, micro: MicroBatch, way: ForwardWay, pooled: Pooled
) -> Tensor:
    """Compute a classifier's logits for each text, [examples, classes].

    Args:
        pooled: The states of a text that its head reads.
    """
    if micro.position_ids is None:
        return _compute_padded_logits(model, micro, way, pooled)
    lines = _make_lines(model, micro, pooled)
    # The head is called with the lines, which its pooling reads; a hook gives the flat row to the base model.
    inputs = {
        name: value for name, value in build_forward_inputs(model, micro, way).items() if value is not None
    }
    with _lay_out_states(model, lines, inputs):
        return model(input_ids=lines.ids, attention_mask=lines.mask).logits


def _compute_padded_logits(
    model: torch.nn.Module, micro: MicroBatch, way: ForwardWay, pooled: Pooled
) -> Tensor:
    """Compute the logits of padded rows."""
    # With virtual tokens in front, a head that looks for the last token in the ids finds a wrong place.
    inputs = build_forward_inputs(model, micro, way)
    if not (way.virtual and pooled == "last"):
        return model(**inputs).logits
    ends = send_numbers([length - 1 + way.virtual for length in micro.lengths], micro.input_ids.device)

    def keep_ends(module: torch.nn.Module, args: Any, output: Any) -> Any:
        states = output.last_hidden_state
        output["last_hidden_state"] = states.gather(1, ends[:, None, None].expand(-1, 1, states.shape[-1]))
        return output

    hook = unwrap_model(model).base_model.register_forward_hook(keep_ends)
    try:
        return model(**inputs).logits
    finally:
        hook.remove()


@dataclass(frozen=True)
class TextLines:
    """The lines that a head reads, one per text.

    Args:
        tokens: Tokens of the flat row.
        places: [texts, T] int64: the places of a line's states in the flat row.
        ids: [texts, T]: the tokens at those places, padded to the longest line.
        mask: [texts, T] int64: 1 where a line has a state.
    """

    tokens: int
    places: Tensor
    ids: Tensor
    mask: Tensor

    def lay_states(self, states: Tensor) -> Tensor:
        """Return states of the flat row, [1, tokens, width], as [texts, T, width]; others unchanged."""
        flat = getattr(states, "ndim", 0) == 3 and tuple(states.shape[:2]) == (1, self.tokens)
        return states[0][self.places] if flat else states


def _make_lines(model: torch.nn.Module, micro: MicroBatch, pooled: Pooled) -> TextLines:
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
    # Places beyond a text point to its first token, so they stay inside of the row.
    places = torch.where(inside, begin + steps, begin)
    pad = unwrap_model(model).config.get_text_config().pad_token_id
    ids = micro.input_ids[0][places]
    if pooled == "last":
        last = _find_last_places(ids, inside, pad)
        places, ids, inside = places.gather(1, last), ids.gather(1, last), inside[:, :1]
    elif pooled == "all":
        ids = torch.where(inside, ids, 0 if pad is None else pad)
    return TextLines(micro.input_ids.shape[1], places, ids, inside.long())


def _find_last_places(ids: Tensor, inside: Tensor, pad: int | None) -> Tensor:
    """Find the last token of each text that is not padding, as a head does, [texts, 1]."""
    import torch

    counted = inside if pad is None else inside & (ids != pad)
    return (torch.arange(ids.shape[1], device=ids.device) * counted).argmax(-1, keepdim=True)


@contextmanager
def _lay_out_states(model: torch.nn.Module, lines: TextLines, inputs: dict[str, Any]) -> Iterator[None]:
    """Give the base model the flat row, whatever the head was called with, and the head the lines."""
    base = unwrap_model(model).base_model

    def give(module: torch.nn.Module, args: Any, kwargs: dict[str, Any]) -> Any:
        # Other arguments, such as options for the outputs, still reach the base model.
        bound = inspect.signature(module.forward).bind_partial(*args, **kwargs).arguments
        more = bound.pop("kwargs", {})
        return (), {**{n: v for n, v in {**bound, **more}.items() if n != "attention_mask"}, **inputs}

    with _hook_base(base, give, lines.lay_states):
        yield


@contextmanager
def _hook_base(
    base: torch.nn.Module, give: Callable[..., Any], change: Callable[[Tensor], Tensor]
) -> Iterator[None]:
    """Take the inputs of a base model from `give`, and pass its states through `change`."""

    def pass_on(module: torch.nn.Module, args: Any, output: Any) -> Any:
        if isinstance(output, tuple):
            return (change(output[0]), *output[1:])
        if isinstance(output, dict):
            output["last_hidden_state"] = change(output["last_hidden_state"])
            return output
        return change(output)

    with ExitStack() as hooks:
        hooks.callback(base.register_forward_pre_hook(give, with_kwargs=True).remove)
        hooks.callback(base.register_forward_hook(pass_on).remove)
        stack = _find_stack(base)
        # A pooler inside of the base model reads the states before the base model returns them. Changed
        # states have another shape, so the second hook leaves them alone.
        if stack is not None:
            hooks.callback(stack.register_forward_hook(pass_on).remove)
        yield


def _find_stack(base: torch.nn.Module) -> torch.nn.Module | None:
    """Return the child of a base model that contains its layers (its encoder); None if it has none."""
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


def find_pooled_states(model: torch.nn.Module, micro: MicroBatch, way: ForwardWay) -> Pooled:
    """Find by testing which states of a text the head of a model reads; `all` if a single one is not enough.

    Args:
        micro: Padded rows of different lengths, on the model's device.
    """
    import torch

    # Without the wrapper: virtual tokens before a text do not change what the head reads.
    model = unwrap_model(model)
    exact = model.dtype == torch.float32 and way.autocast is None
    with torch.no_grad(), way.open_autocast():
        wanted = model(**build_forward_inputs(model, micro, way)).logits.float()
        for pooled in ("first", "last"):
            try:
                found = _compute_pooled_logits(model, micro, way, pooled)
            except Exception:  # a head may fail on a single state in any way
                continue
            scale = wanted.abs().max().clamp_min(1e-6)
            if found.shape == wanted.shape and float((found - wanted).abs().max() / scale) < (
                _APART if exact else _APART_HALF
            ):
                return pooled
    return "all"


def _compute_pooled_logits(
    model: torch.nn.Module, micro: MicroBatch, way: ForwardWay, pooled: Pooled
) -> Tensor:
    """Compute the logits of padded rows if the head gets only one state of each."""
    import torch

    pad = model.config.get_text_config().pad_token_id
    steps = torch.arange(micro.input_ids.shape[1], device=micro.input_ids.device)
    inside = steps[None] < torch.tensor(micro.lengths, device=micro.input_ids.device)[:, None]
    place = _find_last_places(micro.input_ids, inside, pad)
    if pooled == "first":
        place = torch.zeros_like(place)

    def keep(states: Tensor) -> Tensor:
        if states.shape[1] == 1:
            return states
        return states.gather(1, place[..., None].expand(-1, 1, states.shape[-1]))

    def give(module: torch.nn.Module, args: Any, kwargs: dict[str, Any]) -> Any:
        return (), build_forward_inputs(model, micro, way)

    with _hook_base(model.base_model, give, keep):
        ids = micro.input_ids.gather(1, place)
        return model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits.float()
