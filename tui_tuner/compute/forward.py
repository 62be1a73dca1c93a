"""Forward passes: the ways to compute one, the model inputs for each way, and the logits."""

from __future__ import annotations

import contextlib
import inspect
from bisect import bisect_left, insort
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from tui_tuner.compute.attention import NAME, find_segment_bounds
from tui_tuner.compute.encoders import find_first_position, unwrap_model
from tui_tuner.compute.router_loss import make_counting_mask
from tui_tuner.compute.rows.label_weights import pick_label_weights
from tui_tuner.compute.transfer import is_on_gpu, send_tensors_together
from tui_tuner.data.examples.token_types import COLUMN, unpack_types
from tui_tuner.data.records import IGNORE, Example

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@dataclass(frozen=True)
class ForwardWay:
    """One way to compute a forward pass. A way is used only if it gives the same numbers as the plain one.

    Args:
        packing: Flat rows without padding; else padded rows.
        compact: Logits at labelled positions only; else at every position.
        segments: Attention per segment through `attention.NAME`; else the model's own, which separates the
            examples of a flat row by `position_ids`.
        autocast: A torch dtype to compute in, or None.
        device: `cpu` or `cuda`, for autocast.
        shared: A prefix that examples of a flat row share is computed once.
        virtual: Virtual tokens that the model puts before each example (prompt methods).
        chunked: Head and cross-entropy for a few positions at a time, to limit the memory for logits.
        router: The factor of the router loss of a mixture of experts; 0 without one.
        filled: The lengths of rows come from a small set (`compute.rows`).
    """

    packing: bool
    compact: bool
    segments: bool
    autocast: torch.dtype | None = None
    device: str = "cpu"
    shared: bool = False
    virtual: int = 0
    chunked: bool = False
    router: float = 0.0
    filled: bool = False

    def open_autocast(self) -> contextlib.AbstractContextManager[Any]:
        """Return the autocast context of a forward pass; one without effect if nothing is cast."""
        import torch

        if self.autocast is None:
            return contextlib.nullcontext()
        return torch.autocast(self.device.partition(":")[0], dtype=self.autocast)


def build_forward_inputs(model: torch.nn.Module, micro: MicroBatch, way: ForwardWay) -> dict[str, Any]:
    """Build the arguments that a transformers model is called with."""
    inputs: dict[str, Any] = {"input_ids": micro.input_ids}
    if micro.decoder_ids is not None:
        inputs["decoder_input_ids"] = micro.decoder_ids
    if micro.token_types is not None and reads_token_types(model):
        inputs["token_type_ids"] = micro.token_types
    if micro.position_ids is None:
        return inputs | {"attention_mask": micro.attention_mask}
    first = find_first_position(model)
    inputs["position_ids"] = micro.position_ids + first if first else micro.position_ids
    if way.segments:
        if way.router:
            # The router loss reads from the mask which tokens count. The attention does not read it.
            inputs["attention_mask"] = make_counting_mask(micro.input_ids, sum(n for _row, n in micro.filler))
        else:
            # transformers uses a mask of four dimensions as it is, which saves building a real one: our
            # attention reads the lengths instead.
            inputs["attention_mask"] = micro.input_ids.new_zeros((1, 1, 1, 1), dtype=bool)
        inputs["segment_lengths"] = micro.segment_lengths
        if micro.layout is not None:
            inputs["segment_layout"] = micro.layout
        return inputs
    # With these bounds, transformers' flash attention need not find the sequences in `position_ids`, which
    # would wait for the device in every layer.
    bounds, longest = find_segment_bounds(tuple(micro.segment_lengths), micro.input_ids.device)
    if getattr(model.config, "_attn_implementation", "").startswith("flash"):
        inputs.update(cu_seq_lens_q=bounds, cu_seq_lens_k=bounds)
        inputs.update(max_length_q=longest, max_length_k=longest)
    return inputs


def reads_token_types(model: torch.nn.Module) -> bool:
    """Return whether token types make a difference to a model."""
    base = unwrap_model(model)
    settings = base.config.get_text_config()
    kinds = getattr(settings, "type_vocab_size", None)
    # These compare the types of two tokens instead of embedding them.
    if kinds is None:
        return settings.model_type in ("xlnet", "funnel")
    return kinds > 1 and "token_type_ids" in inspect.signature(type(base).forward).parameters


def compute_target_logits(model: torch.nn.Module, micro: MicroBatch, way: ForwardWay) -> Tensor:
    """Return the logits of a causal model at the positions with a label, [K, vocabulary]."""
    import torch
    from transformers import modeling_utils

    inputs = build_forward_inputs(model, micro, way) | {"use_cache": False}
    keep = micro.keep
    if way.compact and micro.places is not None and not way.virtual:
        return model(**inputs, logits_to_keep=micro.places).logits.flatten(0, 1)
    if way.virtual:
        keep = torch.nn.functional.pad(keep, (way.virtual, 0))
    if way.compact:
        if hasattr(modeling_utils, "slice_logits_to_keep"):
            return model(**inputs, logits_to_keep=keep).logits
        with keep_positions(model, keep):
            return model(**inputs).logits
    logits = model(**inputs).logits
    # Indexing by a mask would make the host wait for the GPU, to learn how many positions there are.
    if micro.places is not None and is_on_gpu(way.device):
        return logits.flatten(0, 1)[micro.places]
    return logits[keep]


@contextlib.contextmanager
def keep_positions(model: torch.nn.Module, keep: Tensor) -> Iterator[None]:
    """Let the output layer see only the positions of a mask [B, L]; its logits are then [K, vocabulary].

    transformers before 5.21 takes the same positions for all rows, but not a mask.
    """
    head = unwrap_model(model).get_output_embeddings()
    length = keep.shape[1]
    hook = head.register_forward_pre_hook(lambda _head, inputs: (inputs[0][:, -length:][keep], *inputs[1:]))
    try:
        yield
    finally:
        hook.remove()


def switch_attention(model: torch.nn.Module, way: ForwardWay, stock: str) -> None:
    """Switch to our attention if the way needs it, else back to the model's own (`stock`)."""
    current = model.config._attn_implementation
    if way.segments and current != NAME:
        model.set_attn_implementation(NAME)
    elif not way.segments and current == NAME:
        model.set_attn_implementation(stock if stock != NAME else "sdpa")


class Rows(Protocol):
    """Tokenised examples by number. `lengths` and `trained_tokens` are the tokens and the labels of each.

    Rows whose labels count differently also have `label_weights` (`list_label_weights`).
    """

    lengths: np.ndarray
    trained_tokens: np.ndarray

    def __len__(self) -> int: ...
    def __getitem__(self, index: int) -> Example: ...


@dataclass(frozen=True)
class MicroSize:
    """The limits of one forward pass: sequences, and the tokens of all of them together."""

    sequences: int
    tokens: int

    def halve_size(self) -> MicroSize:
        return MicroSize(max(1, self.sequences // 2), max(1, self.tokens // 2))


def pack_rows(rows: Sequence[int], lengths: np.ndarray, size: MicroSize) -> list[list[int]]:
    """Pack sequences into few flat rows of at most `size.tokens`, by best fit, longest first.

    A sequence that is longer than that gets a row to itself. The result depends on the arguments alone, so a
    resumed run packs the same rows.
    """
    bins: list[list[int]] = []
    rooms: list[tuple[int, int]] = []  # (free tokens, bin), sorted
    for row in sorted(rows, key=lambda row: (-int(lengths[row]), row)):
        length = int(lengths[row])
        place = bisect_left(rooms, (length, -1))
        if place < len(rooms):
            free, index = rooms.pop(place)
            bins[index].append(row)
        else:
            free, index = size.tokens, len(bins)
            bins.append([row])
        insort(rooms, (free - length, index))
    return bins


def pad_groups(rows: Sequence[int], lengths: np.ndarray, size: MicroSize) -> list[list[int]]:
    """Group sequences of similar length, at most `size.sequences` each, for models that read padded rows."""
    ordered = sorted(rows, key=lambda row: (-int(lengths[row]), row))
    return [ordered[start : start + size.sequences] for start in range(0, len(ordered), size.sequences)]


@dataclass
class MicroBatch:
    """One forward pass.

    Args:
        rows: Numbers of its examples.
        input_ids: [B, T] int64; B is 1 for a flat row without padding.
        keep: [B, T] bool: positions with a label.
        targets: [K] int64: the labels of those positions, in reading order.
        lengths: Tokens of each example.
        position_ids: [1, T], restarting at each example; None for padded rows.
        attention_mask: [B, T] of a padded row; None for flat ones.
        layout: How examples share a prefix (`shared_prefix.Layout`); None if each one is complete.
        places: [K] int64: the positions of `keep` in a flat row; integer indexing needs no device sync, but
            a mask must be counted first. None for padded rows.
        columns: [examples, ...] each: values that the task keeps for its examples.
        token_types: [B, T]: which text of a pair each token belongs to; None if there are no pairs.
        filler: (row, tokens) of each segment that pads a flat row to one of few lengths
            (`compute.rows.filler`). It belongs to no example.
        weights: [K] float32: what the loss of each label counts; None if all count alike.
        decoder_ids: [B, T2] int64: what the decoder of an encoder-decoder reads; `input_ids` is then the
            source alone, and `keep` [B, T2]. None for other models.
        source_parts, decoder_parts: [B, T] and [B, T2] int64, where a row holds several examples: the number
            of the example (from 1) that each position belongs to, 0 at padding. None for one example a row.
    """

    rows: list[int]
    input_ids: Tensor
    keep: Tensor
    targets: Tensor
    lengths: list[int]
    position_ids: Tensor | None = None
    attention_mask: Tensor | None = None
    layout: Any = None
    places: Tensor | None = None
    columns: dict[str, Tensor] = field(default_factory=dict)
    token_types: Tensor | None = None
    filler: list[tuple[int, int]] = field(default_factory=list)
    weights: Tensor | None = None
    decoder_ids: Tensor | None = None
    source_parts: Tensor | None = None
    decoder_parts: Tensor | None = None

    @property
    def trained_tokens(self) -> int:
        """Positions with a label; read from a shape, which needs no device sync."""
        return int(self.targets.shape[0])

    @property
    def label_weight(self) -> Tensor | int:
        """Sum of the weights of the labels; a scalar on the device if they differ."""
        return self.trained_tokens if self.weights is None else self.weights.sum()

    def weigh_losses(self, losses: Tensor) -> Tensor:
        """Multiply losses of all labels, [K], by their weights."""
        return losses if self.weights is None else losses * self.weights

    @property
    def example_tokens(self) -> int:
        """Tokens of the examples, without padding and filler."""
        return sum(self.lengths)

    @property
    def segment_lengths(self) -> list[int]:
        """Tokens of each segment of a flat row: its examples, then the filler."""
        return [*self.lengths, *(tokens for _row, tokens in self.filler)] if self.filler else self.lengths

    def to(self, device: torch.device | str) -> MicroBatch:
        """Return a copy on a device; on a GPU by a single asynchronous transfer."""
        names = (
            "input_ids",
            "keep",
            "targets",
            "position_ids",
            "attention_mask",
            "places",
            "token_types",
            "weights",
            "decoder_ids",
            "source_parts",
            "decoder_parts",
        )
        tensors = {name: getattr(self, name) for name in names}
        if is_on_gpu(device):
            moved = send_tensors_together(
                tensors | {f"column {name}": v for name, v in self.columns.items()}, device
            )
            columns = {name: moved.pop(f"column {name}") for name in self.columns}
        else:
            moved = {name: None if v is None else v.to(device) for name, v in tensors.items()}
            columns = {name: values.to(device) for name, values in self.columns.items()}
        return replace(self, **moved, columns=columns)


def lay_flat_row(data: Rows, rows: Sequence[int]) -> MicroBatch:
    """Lay examples side by side in one row, without padding; positions restart at each."""
    import torch

    parts = [data[row] for row in rows]
    ids = np.concatenate([part.ids for part in parts]).astype(np.int64)
    labels = np.concatenate([part.labels for part in parts]).astype(np.int64)
    positions = np.concatenate([np.arange(len(part)) for part in parts])
    keep = labels != IGNORE
    # On the CPU, before the transfer: on a GPU, finding the positions would make the host wait.
    places = np.flatnonzero(keep)
    return MicroBatch(
        list(rows),
        torch.from_numpy(ids)[None],
        torch.from_numpy(keep)[None],
        torch.from_numpy(labels[places]),
        [len(part) for part in parts],
        position_ids=torch.from_numpy(positions)[None],
        places=torch.from_numpy(places),
        columns=stack_columns(parts),
        token_types=_lay_types(parts),
        weights=pick_label_weights(parts, keep),
    )


def lay_padded_rows(data: Rows, rows: Sequence[int], pad: int, length: int = 0) -> MicroBatch:
    """Lay one example per row, padded on the right to the longest, or to `length` if that is more."""
    import torch

    parts = [data[row] for row in rows]
    longest = max(length, *(len(part) for part in parts))
    ids = np.full((len(parts), longest), pad, dtype=np.int64)
    labels = np.full((len(parts), longest), IGNORE, dtype=np.int64)
    mask = np.zeros((len(parts), longest), dtype=np.int64)
    for line, part in enumerate(parts):
        ids[line, : len(part)] = part.ids
        labels[line, : len(part)] = part.labels
        mask[line, : len(part)] = 1
    keep = labels != IGNORE
    return MicroBatch(
        list(rows),
        torch.from_numpy(ids),
        torch.from_numpy(keep),
        torch.from_numpy(labels[keep]),
        [len(part) for part in parts],
        attention_mask=torch.from_numpy(mask),
        columns=stack_columns(parts),
        token_types=_lay_types(parts, longest),
        weights=pick_label_weights(parts, np.concatenate([part.labels != IGNORE for part in parts])),
    )


def stack_columns(examples: Sequence[Example]) -> dict[str, Tensor]:
    """Return the columns of some examples as tensors, [examples] each."""
    import torch

    names = examples[0].columns if examples else ()
    return {name: torch.tensor(np.array([one.columns[name] for one in examples])) for name in names}


def _lay_types(examples: Sequence[Example], padded: int = 0) -> Tensor | None:
    """Return the token types of examples side by side, or of one row each, `padded` to that many tokens.

    None if the task keeps none, or no example has more than one text.
    """
    import torch

    if not any(example.columns.get(COLUMN, 0) for example in examples):
        return None
    types = [unpack_types(example.columns[COLUMN], len(example)) for example in examples]
    if not padded:
        return torch.from_numpy(np.concatenate(types))[None]
    return torch.from_numpy(np.stack([np.pad(one, (0, padded - len(one))) for one in types]))
