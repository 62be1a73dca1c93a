"""How a forward pass is computed: the ways there are, what a model is given for each, and its logits."""

from __future__ import annotations

import contextlib
import inspect
from bisect import bisect_left, insort
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np

from tui_tuner.compute.attention import NAME, segment_bounds
from tui_tuner.compute.encoders import first_position, plain_model
from tui_tuner.compute.router_loss import counting_mask
from tui_tuner.compute.transfer import on_gpu, send_together
from tui_tuner.data.examples.token_types import COLUMN, unpack_types
from tui_tuner.data.records import IGNORE, Example


@dataclass(frozen=True)
class ForwardWay:
    """One way to compute a forward pass. All ways of a model give the same numbers, or are not taken.

    Args:
        packing: Flat rows without padding; else padded ones.
        compact: Logits at labelled positions only; else at every position.
        segments: Attention per segment through `attention.NAME`; else the model's own, which keeps flat
            examples apart by `position_ids`.
        autocast: A torch dtype to compute in, or None.
        device: `cpu` or `cuda`, for autocast.
        shared: A beginning that examples of a flat row have in common is computed once.
        virtual: Positions of virtual tokens that the model puts before each example (prompt methods).
        chunked: Head and cross-entropy of a few positions at a time, where all their logits would be large.
        router: What the loss of a mixture's router is multiplied by; 0 without one.
        filled: The lengths of rows come from a small set (`compute.rows`).
    """

    packing: bool
    compact: bool
    segments: bool
    autocast: Any = None
    device: str = "cpu"
    shared: bool = False
    virtual: int = 0
    chunked: bool = False
    router: float = 0.0
    filled: bool = False

    def computing(self) -> contextlib.AbstractContextManager[Any]:
        """The numeric context of a forward pass."""
        import torch

        if self.autocast is None:
            return contextlib.nullcontext()
        return torch.autocast(self.device.partition(":")[0], dtype=self.autocast)


def model_inputs(model: Any, micro: MicroBatch, way: ForwardWay) -> dict[str, Any]:
    """What a model of transformers is called with."""
    inputs: dict[str, Any] = {"input_ids": micro.input_ids}
    if micro.token_types is not None and reads_types(model):
        inputs["token_type_ids"] = micro.token_types
    if micro.position_ids is None:
        return inputs | {"attention_mask": micro.attention_mask}
    first = first_position(model)
    inputs["position_ids"] = micro.position_ids + first if first else micro.position_ids
    if way.segments:
        if way.router:
            # The router's loss reads the mask: which tokens count. The attention does not.
            inputs["attention_mask"] = counting_mask(micro.input_ids, sum(n for _row, n in micro.filler))
        else:
            # A mask of four dimensions is taken as it is, so none is built; the attention reads the lengths.
            inputs["attention_mask"] = micro.input_ids.new_zeros((1, 1, 1, 1), dtype=bool)
        inputs["segment_lengths"] = micro.segments
        if micro.layout is not None:
            inputs["segment_layout"] = micro.layout
        return inputs
    bounds, longest = segment_bounds(tuple(micro.segments), micro.input_ids.device)
    if getattr(model.config, "_attn_implementation", "").startswith("flash"):
        inputs.update(cu_seq_lens_q=bounds, cu_seq_lens_k=bounds)
        inputs.update(max_length_q=longest, max_length_k=longest)
    return inputs


def reads_types(model: Any) -> bool:
    """Whether a model has a meaning for token types."""
    base = plain_model(model)
    settings = base.config.get_text_config()
    kinds = getattr(settings, "type_vocab_size", None)
    if kinds is None:
        return settings.model_type in ("xlnet", "funnel")  # which compare them, whatever they are
    return kinds > 1 and "token_type_ids" in inspect.signature(type(base).forward).parameters


def target_logits(model: Any, micro: MicroBatch, way: ForwardWay) -> Any:
    """Logits of a causal model at the positions with a label, [K, vocabulary]."""
    import torch

    inputs = model_inputs(model, micro, way) | {"use_cache": False}
    keep = micro.keep
    if way.compact and micro.places is not None and not way.virtual:
        return model(**inputs, logits_to_keep=micro.places).logits.flatten(0, 1)
    if way.virtual:
        keep = torch.nn.functional.pad(keep, (way.virtual, 0))
    if way.compact:
        return model(**inputs, logits_to_keep=keep).logits
    logits = model(**inputs).logits
    if micro.places is not None and on_gpu(way.device):
        return logits.flatten(0, 1)[micro.places]
    return logits[keep]


def switch_attention(model: Any, way: ForwardWay, stock: str) -> None:
    """Use our attention for segments, and the model's own (`stock`) where the way does not need ours."""
    current = model.config._attn_implementation
    if way.segments and current != NAME:
        model.set_attn_implementation(NAME)
    elif not way.segments and current == NAME:
        model.set_attn_implementation(stock if stock != NAME else "sdpa")


class Rows(Protocol):
    """Tokenised examples: `rows[i]` is one. `lengths` and `trained_tokens` count tokens, and positions with a
    label, of each."""

    lengths: np.ndarray
    trained_tokens: np.ndarray

    def __len__(self) -> int: ...
    def __getitem__(self, index: int) -> Example: ...


@dataclass(frozen=True)
class MicroSize:
    """How much goes through the model at once: sequences, and the tokens they may have together."""

    sequences: int
    tokens: int

    def halved(self) -> MicroSize:
        return MicroSize(max(1, self.sequences // 2), max(1, self.tokens // 2))


def pack(rows: Sequence[int], lengths: np.ndarray, size: MicroSize) -> list[list[int]]:
    """Lay sequences into as few flat rows of at most `size.tokens` as best fit finds, longest first.

    A sequence that is longer than the budget gets a row to itself. The result does not depend on anything
    but the arguments.
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
    """Groups of at most `size.sequences` of similar length, for models that read padded rows."""
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
        layout: How examples share their beginning (`shared_prefix.Layout`); None where each is complete.
        places: [K] int64: the positions of `keep` in a flat row; indexing by numbers needs no device sync,
            where a mask has to be counted first. None for padded rows.
        columns: [examples, ...] each: values that the task keeps for its examples.
        token_types: [B, T]: which text of a pair each token belongs to; None where all are of one.
        filler: What a flat row ends with to have one of few lengths: the first so many tokens of a row, for
            each segment (`compute.rows.filler`). It belongs to no example.
    """

    rows: list[int]
    input_ids: Any
    keep: Any
    targets: Any
    lengths: list[int]
    position_ids: Any = None
    attention_mask: Any = None
    layout: Any = None
    places: Any = None
    columns: dict[str, Any] = field(default_factory=dict)
    token_types: Any = None
    filler: list[tuple[int, int]] = field(default_factory=list)

    @property
    def trained_tokens(self) -> int:
        """Positions with a label; known without asking the device."""
        return int(self.targets.shape[0])

    @property
    def tokens(self) -> int:
        """Tokens of the examples, padding and filler not counted."""
        return sum(self.lengths)

    @property
    def segments(self) -> list[int]:
        """Tokens of each segment of a flat row: of its examples, and of the filler after them."""
        return [*self.lengths, *(tokens for _row, tokens in self.filler)] if self.filler else self.lengths

    def to(self, device: Any) -> MicroBatch:
        """A copy on a device; on a GPU by one transfer, which nobody waits for."""
        names = (
            "input_ids",
            "keep",
            "targets",
            "position_ids",
            "attention_mask",
            "places",
            "token_types",
        )
        tensors = {name: getattr(self, name) for name in names}
        if on_gpu(device):
            moved = send_together(tensors | {f"column {name}": v for name, v in self.columns.items()}, device)
            columns = {name: moved.pop(f"column {name}") for name in self.columns}
        else:
            moved = {name: None if v is None else v.to(device) for name, v in tensors.items()}
            columns = {name: values.to(device) for name, values in self.columns.items()}
        return replace(self, **moved, columns=columns)


def lay_flat(data: Rows, rows: Sequence[int]) -> MicroBatch:
    """Examples side by side in one row, without padding; positions restart at each."""
    import torch

    parts = [data[row] for row in rows]
    ids = np.concatenate([part.ids for part in parts]).astype(np.int64)
    labels = np.concatenate([part.labels for part in parts]).astype(np.int64)
    positions = np.concatenate([np.arange(len(part)) for part in parts])
    keep = labels != IGNORE
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
    )


def lay_padded(data: Rows, rows: Sequence[int], pad: int, length: int = 0) -> MicroBatch:
    """Examples one below the other, padded on the right to the longest, or to `length` where that is more."""
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
    )


def stack_columns(examples: Sequence[Example]) -> dict[str, Any]:
    """The columns of some examples as tensors, [examples] each."""
    import torch

    names = examples[0].columns if examples else ()
    return {name: torch.tensor(np.array([one.columns[name] for one in examples])) for name in names}


def _lay_types(examples: Sequence[Example], padded: int = 0) -> Any:
    """Token types of a row of examples side by side, or of one row each, `padded` to so many tokens.

    None where the task keeps none, or no example has more than one text.
    """
    import torch

    if not any(example.columns.get(COLUMN, 0) for example in examples):
        return None
    types = [unpack_types(example.columns[COLUMN], len(example)) for example in examples]
    if not padded:
        return torch.from_numpy(np.concatenate(types))[None]
    return torch.from_numpy(np.stack([np.pad(one, (0, padded - len(one))) for one in types]))
