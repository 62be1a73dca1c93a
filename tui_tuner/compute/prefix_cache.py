"""Hidden states that enter the first trained layer, computed once and read from disk in every epoch.

Where only the top layers are trained and nothing below is random, the layers below compute the same numbers
in each epoch. They are computed in one pass before training, in an order that does not depend on the run's
own, so that a resumed run reads the same numbers. The file lies in the run's folder, is named after what it
was computed from, is memory-mapped, and is deleted when training ends.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tui_tuner.compute.differences import difference
from tui_tuner.compute.forward import ForwardWay, MicroBatch, Rows, lay_flat, model_inputs
from tui_tuner.compute.precision import computes_in_float32, float32_problem, in_float32
from tui_tuner.compute.rows.laying import fill_up
from tui_tuner.compute.self_check import EXACT, MOST_HALF, LossesOf
from tui_tuner.compute.shared_prefix import Segment
from tui_tuner.compute.transfer import send
from tui_tuner.locales import _
from tui_tuner.methods.weights import decoder_layers, final_norms
from tui_tuner.models.evaluating import evaluating
from tui_tuner.models.out_of_memory import is_out_of_memory

MOST_BYTES = 64 << 30
MOST_OF_FREE = 0.5  # share of the free disk
FILL_TOKENS = 2048  # tokens of a forward pass while filling
FOLDER = "hidden-states"
Progress = Callable[[int, int], None]


def frozen_layers(model: Any, quiet: int) -> int:
    """How many layers, from the bottom, no gradient reaches and no trained weight comes before.

    0 where something else than layers, the norm after them or the head is trained.

    Args:
        quiet: Layers from the bottom that compute the same in each pass (`randomness.find_randomness`).
    """
    layers = list(decoder_layers(model))
    count = 0
    for layer in layers:
        if any(parameter.requires_grad for parameter in layer.parameters()):
            break
        count += 1
    above = [*layers[count:], *final_norms(model)]
    head = model.get_output_embeddings()
    above += [] if head is None else [head]
    late = {id(parameter) for module in above for parameter in module.parameters()}
    early = {id(parameter) for parameter in model.get_input_embeddings().parameters()}
    for parameter in model.parameters():
        if parameter.requires_grad and (id(parameter) not in late or id(parameter) in early):
            return 0
    return 0 if count == len(layers) else min(count, quiet)


class _Reached(Exception):
    """The first trained layer is reached; what enters it is all that is wanted."""

    def __init__(self, hidden: Any) -> None:
        self.hidden = hidden


class PrefixCache:
    """The file, and the hooks that let a model begin at its first trained layer.

    Outside of `reading` the model computes as it always does.
    """

    def __init__(self, model: Any, data: Rows, way: ForwardWay, device: Any, frozen: int) -> None:
        layers = list(decoder_layers(model))
        self.model, self.data, self.device = model, data, device
        # A shared beginning is laid out anew in each micro-batch; what is stored are whole rows.
        self.way = replace(way, shared=False)
        self.frozen = frozen
        self.bounds = np.concatenate([[0], np.cumsum(data.lengths)])
        self.store: Any = None
        self.file: Path | None = None
        self.folder: Path | None = None
        self._below, self._first = layers[:frozen], layers[frozen]
        self._current: Any = None
        self._held: dict[int, Any] | None = None  # states of a few rows, read instead of the file
        self._capturing = False
        self._tuples = False
        self._replaced = [layer.__dict__.get("forward") for layer in self._below]  # a compiled one, say
        for layer in self._below:
            layer.forward = partial(self._lower, layer.forward)
        self._hook = self._first.register_forward_pre_hook(self._enter, with_kwargs=True)

    @property
    def tokens(self) -> int:
        return int(self.bounds[-1])

    @property
    def bytes(self) -> int:
        return 0 if self.store is None else self.store.numel() * self.store.itemsize

    # ---- hooks -------------------------------------------------------------------------------------

    def _lower(self, forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if self._current is None:
            out = forward(*args, **kwargs)
            self._tuples = isinstance(out, tuple)
            return out
        hidden = args[0] if args else kwargs["hidden_states"]
        return (hidden,) if self._tuples else hidden

    def _enter(self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if self._capturing:
            raise _Reached(args[0] if args else kwargs["hidden_states"])
        if self._current is None:
            return None
        if args:
            return (self._current, *args[1:]), kwargs
        return args, kwargs | {"hidden_states": self._current}

    # ---- filling -----------------------------------------------------------------------------------

    def capture(self, rows: Sequence[int]) -> Any:
        """What enters the first trained layer for rows side by side, [tokens, hidden]."""
        micro = fill_up(lay_flat(self.data, rows), self.way).to(self.device)
        self._capturing = True
        try:
            with torch.no_grad(), self.way.computing():
                self.model(**model_inputs(self.model, micro, self.way), use_cache=False)
        except _Reached as reached:
            return reached.hidden[0, : micro.tokens]
        finally:
            self._capturing = False
        raise RuntimeError("the first trained layer was not reached")

    @contextlib.contextmanager
    def holding(self, rows: Sequence[int], way: ForwardWay) -> Iterator[None]:
        """Compute by another way, with the states of these rows from memory."""
        before, self.way = self.way, replace(way, shared=False)
        try:
            self._held = {row: self.capture([row]) for row in rows}
            yield
        finally:
            self.way, self._held = before, None

    def fill(self, folder: Path, progress: Progress) -> None:
        """Compute all rows into `folder`, or take over a whole file of the same content.

        Raises:
            OSError: there is no room.
        """
        hidden = self.capture([int(np.argmin(self.data.lengths))])
        width, dtype = hidden.shape[-1], hidden.dtype
        size = self.tokens * width * dtype.itemsize
        folder.mkdir(exist_ok=True)
        self.folder = folder
        file = folder / f"{self._digest(dtype)}.bin"
        for other in folder.iterdir():
            if other != file:
                other.unlink()
        if size > min(MOST_BYTES, MOST_OF_FREE * shutil.disk_usage(folder).free) and not file.is_file():
            raise OSError(f"{size:,} bytes are more than may be used")
        self.file = file
        if not file.is_file() or file.stat().st_size != size:
            part = file.with_suffix(".part")
            self.file = part
            self._write(part, size, width, dtype, progress)
            part.rename(file)
            self.file = file
        flat_store = torch.from_file(str(file), shared=False, size=self.tokens * width, dtype=dtype)
        self.store = flat_store.view(self.tokens, width)

    def _write(self, part: Path, size: int, width: int, dtype: Any, progress: Progress) -> None:
        with open(part, "wb") as target:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(target.fileno(), 0, size)  # a full disk shows here, not as a bus error
            else:
                target.truncate(size)
        store = torch.from_file(str(part), shared=True, size=self.tokens * width, dtype=dtype)
        store = store.view(self.tokens, width)
        training = self.model.training
        self.model.eval()
        try:
            for rows in _stretches(self.data.lengths, FILL_TOKENS):
                store[self.bounds[rows[0]] : self.bounds[rows[-1] + 1]] = self.capture(rows).cpu()
                progress(rows[-1] + 1, len(self.data))
        finally:
            self.model.train(training)

    def _digest(self, dtype: Any) -> str:
        """A name made of the rows, the frozen weights (sampled), their number and the numeric format."""
        found = hashlib.sha256(repr((self.frozen, str(dtype), str(self.way), torch.__version__)).encode())
        for row in range(len(self.data)):
            found.update(np.ascontiguousarray(self.data[row].ids).tobytes())
        below = [self.model.get_input_embeddings(), *self._below]
        for parameter in (parameter for module in below for parameter in module.parameters()):
            sample = parameter.detach().flatten()[:: parameter.numel() // 1024 + 1]
            found.update(repr(tuple(parameter.shape)).encode())
            found.update(sample.float().cpu().numpy().tobytes())
        return found.hexdigest()[:32]

    # ---- reading -----------------------------------------------------------------------------------

    @contextlib.contextmanager
    def reading(self, micro: MicroBatch) -> Iterator[None]:
        """Let the model begin at its first trained layer, with the stored states of a flat row.

        Wraps forward and backward: checkpointed layers enter again on the way back.
        """
        self._current = self._states(micro)
        try:
            yield
        finally:
            self._current = None

    def _states(self, micro: MicroBatch) -> Any:
        if micro.layout is not None:
            pieces = micro.layout.segments
        else:
            whole = [*zip(micro.rows, micro.lengths, strict=True), *micro.filler]
            pieces = [Segment(0, length, row=row) for row, length in whole]
        if self._held is not None:
            parts = [self._held[piece.row][piece.offset : piece.offset + piece.length] for piece in pieces]
            return torch.cat(parts)[None]
        starts = [int(self.bounds[piece.row]) + piece.offset for piece in pieces]
        parts = [
            self.store[start : start + piece.length] for start, piece in zip(starts, pieces, strict=True)
        ]
        return send(torch.cat(parts), self.device)[None]

    def close(self) -> None:
        """Take the hooks out and delete the file."""
        self._hook.remove()
        for layer, before in zip(self._below, self._replaced, strict=True):
            layer.__dict__.pop("forward", None)
            if before is not None:
                layer.forward = before
        self.store = None
        if self.file is not None:
            self.file.unlink(missing_ok=True)
        if self.folder is not None:
            with contextlib.suppress(OSError):
                self.folder.rmdir()


def _stretches(lengths: np.ndarray, tokens: int) -> Iterator[list[int]]:
    """Rows in their order, as many at a time as have at most `tokens` tokens, and at least one."""
    rows: list[int] = []
    used = 0
    for row, length in enumerate(lengths.tolist()):
        if rows and used + length > tokens:
            yield rows
            rows, used = [], 0
        rows.append(row)
        used += length
    if rows:
        yield rows


def check_states(cache: PrefixCache, rows: Sequence[int], losses: LossesOf, float32: bool = True) -> str:
    """Why stored states must not be used; empty if their losses are those of the whole model for some rows.

    Gradients need no check of their own: below the first trained layer there are none, and above it the same
    modules compute them from the same numbers.

    Args:
        float32: Compare in float32 too, where the run computes in 16 bits.
    """
    model, way = cache.model, cache.way
    try:
        with torch.no_grad(), evaluating(model):
            exact = computes_in_float32(model, way.autocast)
            problem = _exact_states(cache, rows, losses) if float32 and not exact else ""
            return problem or _compare_states(cache, rows, losses, EXACT.loss if exact else MOST_HALF.loss)
    except Exception as error:  # layers that need more of each other than hidden states
        if is_out_of_memory(error):
            raise
        return f"{type(error).__name__}: {error}"


def _exact_states(cache: PrefixCache, rows: Sequence[int], losses: LossesOf) -> str:
    """The same in float32, with states that are not those of the file; empty if there is no room."""
    if float32_problem(cache.model, cache.device):
        return ""
    with in_float32(cache.model), cache.holding(rows, replace(cache.way, autocast=None)):
        return _compare_states(cache, rows, losses, EXACT.loss)


def _compare_states(cache: PrefixCache, rows: Sequence[int], losses: LossesOf, most: float) -> str:
    micro = fill_up(lay_flat(cache.data, rows), cache.way).to(cache.device)
    whole = losses(cache.model, micro, cache.way)
    with cache.reading(micro):
        found = losses(cache.model, micro, cache.way)
    worst = difference([found], [whole])
    return _("a loss differs by {worst:.2g}", worst=worst) if worst > most else ""


def make(
    model: Any,
    data: Rows,
    way: ForwardWay,
    device: Any,
    folder: Path,
    rows: Sequence[int],
    progress: Progress,
    losses: LossesOf,
    quiet: int,
    float32: bool = True,
) -> tuple[PrefixCache | None, str]:
    """A filled cache in a run's folder, or None and why there is none (empty where none can be).

    Args:
        quiet: As for `frozen_layers`.
        float32: As for `check_states`.

    Raises:
        torch.OutOfMemoryError: memory ran out; nothing of the cache is left.
    """
    frozen = frozen_layers(model, quiet)
    if not frozen or not way.packing:
        return None, ""
    cache = PrefixCache(model, data, way, device, frozen)
    try:
        cache.fill(folder / FOLDER, progress)
        problem = check_states(cache, rows, losses, float32)
        if not problem:
            return cache, ""
        problem = _("it cannot be used for this model ({problem})", problem=problem)
    except OSError as error:
        problem = error.strerror or str(error)
    except BaseException:
        cache.close()
        raise
    cache.close()
    return None, problem
