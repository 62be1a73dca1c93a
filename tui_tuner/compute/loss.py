"""The loss of one forward pass, the ways to compute it, and the check that they agree.

The loss of an optimizer step is the sum of the cross-entropies of all targets of the whole effective batch,
divided by their number: neither the micro-batch nor the number of devices changes it.
"""

from __future__ import annotations

import contextlib
import math
from dataclasses import dataclass, replace
from typing import Any

from tui_tuner.compute import chunked_loss
from tui_tuner.compute.attention import NAME, segment_bounds
from tui_tuner.compute.batches import Micro, Rows, flat, padded


@dataclass
class LossPath:
    """How the loss is computed.

    Args:
        packing: Flat rows without padding; else padded ones.
        compact: Logits at supervised positions only; else at every position.
        segments: Attention per segment through `attention.NAME`; else the model's own, which keeps flat
            sequences apart by `position_ids`.
        autocast: A torch dtype to compute in, or None.
        device: `cpu` or `cuda`, for autocast.
        shared: A beginning that sequences of a flat row have in common is computed once.
        virtual: Positions of virtual tokens that the model puts before each sequence (prompt methods).
        chunked: Head and cross-entropy of a few positions at a time, where all their logits would be large.
    """

    packing: bool
    compact: bool
    segments: bool
    autocast: Any = None
    device: str = "cpu"
    shared: bool = False
    virtual: int = 0
    chunked: bool = False

    def computing(self) -> contextlib.AbstractContextManager[Any]:
        """The numeric context of a forward pass."""
        import torch

        if self.autocast is None:
            return contextlib.nullcontext()
        return torch.autocast(self.device.partition(":")[0], dtype=self.autocast)


def target_logits(model: Any, micro: Micro, path: LossPath) -> Any:
    """Logits at the positions that are trained, [K, vocabulary]."""
    import torch

    inputs: dict[str, Any] = {"input_ids": micro.input_ids, "use_cache": False}
    if micro.position_ids is not None:
        inputs["position_ids"] = micro.position_ids
        if path.segments:
            # A mask of four dimensions is taken as it is, so none is built; the attention reads the lengths.
            inputs["attention_mask"] = micro.input_ids.new_zeros((1, 1, 1, 1), dtype=bool)
            inputs["segment_lengths"] = micro.lengths
            if micro.layout is not None:
                inputs["segment_layout"] = micro.layout
        else:
            bounds, longest = segment_bounds(tuple(micro.lengths), micro.input_ids.device)
            if getattr(model.config, "_attn_implementation", "").startswith("flash"):
                inputs.update(cu_seq_lens_q=bounds, cu_seq_lens_k=bounds)
                inputs.update(max_length_q=longest, max_length_k=longest)
    else:
        inputs["attention_mask"] = micro.attention_mask
    keep = micro.keep
    if path.compact and micro.places is not None and not path.virtual:
        return model(**inputs, logits_to_keep=micro.places).logits.flatten(0, 1)
    if path.virtual:
        keep = torch.nn.functional.pad(keep, (path.virtual, 0))
    if path.compact:
        return model(**inputs, logits_to_keep=keep).logits
    return model(**inputs).logits[keep]


def token_losses(model: Any, micro: Micro, path: LossPath) -> Any:
    """Cross-entropy of each target, [K] float32."""
    from torch.nn.functional import cross_entropy

    with path.computing():
        logits = target_logits(model, micro, path)
    return cross_entropy(logits.float(), micro.targets, reduction="none")


def summed_loss(model: Any, micro: Micro, path: LossPath) -> Any:
    """Sum of the cross-entropies of all targets, a float32 scalar on the device."""
    from torch.nn.functional import cross_entropy

    if path.chunked:
        head = chunked_loss.head_of(model)
        rows = chunked_loss.chunk_rows(head.out_features, path.device)
        if micro.supervised > rows:
            return _chunked(model, micro, path, head, rows)
    with path.computing():
        logits = target_logits(model, micro, path)
    return cross_entropy(logits.float(), micro.targets, reduction="sum")


def _chunked(model: Any, micro: Micro, path: LossPath, head: Any, rows: int) -> Any:
    with chunked_loss.hidden_states(head), path.computing():
        hidden = target_logits(model, micro, path)
    return chunked_loss.summed(hidden, head, micro.targets, rows, path.autocast)


LOUD = 1024.0  # makes logits so large that a cap on them shows, and changes no digit of them


def with_chunks(model: Any, data: Rows, rows: list[int], path: LossPath, most: int, device: Any) -> LossPath:
    """The same way with the logits in chunks, where a micro-batch of `most` tokens can ask for them.

    They must give the sum of the plain losses of two rows, and the model must do nothing to its logits but
    multiply them: one that caps them (Gemma 2) keeps the plain way.
    """
    import torch

    head = chunked_loss.head_of(model)
    if head is None or not (path.packing and path.compact) or path.autocast == torch.float16:
        return path
    if head.weight.dtype == torch.float16 or most <= chunked_loss.chunk_rows(head.out_features, path.device):
        return path
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            micro = flat(data, rows[:2]).to(device)
            plain = summed_loss(model, micro, path)
            entered: list[Any] = []
            with chunked_loss.hidden_states(head, entered, LOUD), path.computing():
                left = target_logits(model, micro, path)
            half = max(1, micro.supervised // 2)
            found = chunked_loss.summed(left / LOUD, head, micro.targets, half, path.autocast)
        apart = float(abs(found - plain)) / max(1, micro.supervised)
        linear = chunked_loss.proportional(left, entered[0])
        return replace(path, chunked=linear and apart <= tolerance(model, path) / 10)
    except torch.OutOfMemoryError:
        raise
    except Exception:  # a model that is made otherwise computes all logits at once
        return path
    finally:
        model.train(training)


@dataclass(frozen=True)
class Checked:
    """The path that proved right, and why a faster one did not; `problem` is empty if all is well.

    Where `exact` is False, none did: then only rows of a single sequence are right.
    """

    path: LossPath
    problem: str = ""
    exact: bool = True


def self_check(model: Any, data: Rows, rows: list[int], wanted: LossPath, device: Any, pad: int) -> Checked:
    """Compare ways to compute the loss, fastest first, with one plain forward pass per sequence.

    The losses of all targets are compared, sequence by sequence: their root mean square difference must stay
    below 1e-4 in float32, and below 0.1 in 16 bits, where two exact orders of summation differ by as much.
    In a flat row, other tokens in one sequence must not change the losses of the others: random weights may
    hide in the first comparison what leaks. The first way that passes is taken.
    """
    import torch

    candidates = _candidates(wanted)
    problem = ""
    stock = model.config._attn_implementation
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            truth = alone(model, data, rows, wanted, device)
            for path in candidates:
                try:
                    _use(model, path, stock)
                    found = _per_sequence(model, data, rows, path, device, pad)
                except torch.OutOfMemoryError:
                    raise
                except Exception as error:  # whatever a model's own code makes of flat rows
                    problem = problem or f"{type(error).__name__}: {error}"
                    continue
                worst = difference(found, truth)
                if worst > tolerance(model, path):
                    problem = problem or f"the loss of a sequence differs by {worst:.2g} a token"
                elif path.packing and _leaks(model, data, rows, path, device, found):
                    problem = problem or "sequences of a row see each other"
                else:
                    return Checked(path, problem)
    finally:
        model.train(training)
    return Checked(candidates[-1], problem, exact=False)


def _candidates(wanted: LossPath) -> list[LossPath]:
    """From what is wanted to padded rows with full logits."""

    def like(packing: bool, compact: bool, segments: bool) -> LossPath:
        return replace(wanted, packing=packing, compact=compact, segments=segments, shared=False)

    ways = [wanted]
    if wanted.packing:
        ways.append(like(True, False, wanted.segments))
        ways.append(like(True, wanted.compact, False))
        ways.append(like(False, wanted.compact, False))
    ways.append(like(False, False, False))
    return [way for place, way in enumerate(ways) if way not in ways[:place]]


def _leaks(model: Any, data: Rows, rows: list[int], path: LossPath, device: Any, before: list[Any]) -> bool:
    """Whether other tokens in every second sequence of a flat row change the losses of those between.

    Args:
        before: Losses of each sequence of the flat row as it is.
    """
    import torch

    if len(rows) < 2:
        return False
    micro = flat(data, rows).to(device)
    pieces = list(micro.input_ids.split(micro.lengths, dim=1))
    for place in range(0, len(pieces), 2):
        pieces[place] = pieces[place].roll(1, dims=1)
    after = token_losses(model, replace(micro, input_ids=torch.cat(pieces, dim=1)), path)
    counts = [int(data[row][1][1:].sum()) for row in rows]
    kept = slice(1, None, 2)
    apart = difference(before[kept], list(after.split(counts))[kept])
    # the shapes are the same, so what is left is noise of a mixture of experts at most
    return apart > (5e-6 if tolerance(model, path) < 1e-3 else 2e-2)


def _use(model: Any, path: LossPath, stock: str) -> None:
    """Switch the model's attention: ours for segments, its own where the path does not use them."""
    current = model.config._attn_implementation
    if path.segments and current != NAME:
        model.set_attn_implementation(NAME)
    elif not path.segments and current == NAME:
        model.set_attn_implementation(stock if stock != NAME else "sdpa")


def alone(model: Any, data: Rows, rows: list[int], path: LossPath, device: Any) -> list[Any]:
    """Losses of each sequence alone: no packing, no padding, no choice of positions."""
    from torch.nn.functional import cross_entropy

    losses = []
    for row in rows:
        micro = flat(data, [row]).to(device)
        with path.computing():
            logits = model(input_ids=micro.input_ids, use_cache=False).logits[:, path.virtual :]
        losses.append(cross_entropy(logits[micro.keep].float(), micro.targets, reduction="none"))
    return losses


def _per_sequence(
    model: Any, data: Rows, rows: list[int], path: LossPath, device: Any, pad: int
) -> list[Any]:
    micro = (flat(data, rows) if path.packing else padded(data, rows, pad)).to(device)
    losses = token_losses(model, micro, path)
    counts = [int(data[row][1][1:].sum()) for row in rows]
    return list(losses.split(counts))


def difference(found: list[Any], truth: list[Any]) -> float:
    """The largest root mean square difference of a sequence's losses; infinite where one is not a number."""
    worst = 0.0
    for one, other in zip(found, truth, strict=True):
        if len(other):
            apart = float((one - other).square().mean().sqrt())
            worst = max(worst, apart if math.isfinite(apart) else math.inf)
    return worst


def tolerance(model: Any, path: LossPath) -> float:
    import torch

    full = path.autocast is None and model.dtype == torch.float32
    return 1e-4 if full else 0.1
