"""Hidden states before the first trained layer, computed once and read from disk in every epoch.

If only the top layers are trained and nothing below them is random, the layers below compute the same numbers
in each epoch. One pass before training computes them, in an order that does not depend on the run, so that a
resumed run reads the same numbers. The file is in the run's folder, is named by a hash of its inputs, is
memory-mapped, and is deleted when training ends.
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
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from tui_tuner.compute.differences import measure_loss_difference
from tui_tuner.compute.forward import ForwardWay, MicroBatch, Rows, build_forward_inputs, lay_flat_row
from tui_tuner.compute.precision import compute_in_float32, computes_in_float32, find_float32_problem
from tui_tuner.compute.rows.row_layout import fill_flat_row
from tui_tuner.compute.self_check import EXACT, MOST_HALF, LossesOf
from tui_tuner.compute.shared_prefix import Segment
from tui_tuner.compute.transfer import send_tensor
from tui_tuner.locales import _
from tui_tuner.methods.layers import find_final_norms, find_layers
from tui_tuner.models.evaluation_mode import use_evaluation_mode
from tui_tuner.models.out_of_memory import is_out_of_memory

if TYPE_CHECKING:
    from torch import Tensor

MOST_BYTES = 64 << 30
MOST_OF_FREE = 0.5  # share of the free disk
FILL_TOKENS = 2048  # tokens per forward pass while the file is filled
FOLDER = "hidden-states"
Progress = Callable[[int, int], None]


def count_frozen_layers(model: torch.nn.Module, quiet: int) -> int:
    """Count the layers, from the bottom, that no gradient reaches.

    Returns 0 if anything but layers, the final norm or the head is trained.

    Args:
        quiet: Layers from the bottom that compute the same in each pass (`randomness.find_randomness`).
    """
    layers = list(find_layers(model))
    count = 0
    for layer in layers:
        if any(parameter.requires_grad for parameter in layer.parameters()):
            break
        count += 1
    above = [*layers[count:], *find_final_norms(model)]
    head = model.get_output_embeddings()
    above += [] if head is None else [head]
    late = {id(parameter) for module in above for parameter in module.parameters()}
    # A head that is tied to the embeddings is trained below the layers too.
    early = {id(parameter) for parameter in model.get_input_embeddings().parameters()}
    for parameter in model.parameters():
        if parameter.requires_grad and (id(parameter) not in late or id(parameter) in early):
            return 0
    return 0 if count == len(layers) else min(count, quiet)


class _FirstLayerReached(Exception):
    """Ends a forward pass at the first trained layer, with the states that enter it."""

    def __init__(self, hidden: Tensor) -> None:
        self.hidden = hidden


class PrefixCache:
    """The file, and the hooks that make a model start at its first trained layer.

    Outside of `read_states` the model computes as usual.
    """

    def __init__(
        self, model: torch.nn.Module, data: Rows, way: ForwardWay, device: torch.device, frozen: int
    ) -> None:
        layers = list(find_layers(model))
        self.model, self.data, self.device = model, data, device
        # Which prefix is shared differs from one micro-batch to the next, so whole rows are stored.
        self.way = replace(way, shared=False)
        self.frozen = frozen
        self.bounds = np.concatenate([[0], np.cumsum(data.lengths)])
        self.store: Any = None
        self.file: Path | None = None
        self.folder: Path | None = None
        self._below, self._first = layers[:frozen], layers[frozen]
        self._current: Any = None
        self._held: dict[int, Any] | None = None  # states of a few rows, used instead of the file
        self._capturing = False
        self._tuples = False
        self._replaced = [layer.__dict__.get("forward") for layer in self._below]  # such as a compiled one
        for layer in self._below:
            layer.forward = partial(self._skip_layer, layer.forward)
        self._hook = self._first.register_forward_pre_hook(self._enter_first_layer, with_kwargs=True)

    @property
    def token_count(self) -> int:
        return int(self.bounds[-1])

    @property
    def byte_count(self) -> int:
        return 0 if self.store is None else self.store.numel() * self.store.itemsize

    # ---- hooks -------------------------------------------------------------------------------------

    def _skip_layer(self, forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        # Whatever the skipped layers pass on: the hook on the first trained layer replaces it.
        if self._current is None:
            out = forward(*args, **kwargs)
            self._tuples = isinstance(out, tuple)
            return out
        hidden = args[0] if args else kwargs["hidden_states"]
        return (hidden,) if self._tuples else hidden

    def _enter_first_layer(
        self, module: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        if self._capturing:
            raise _FirstLayerReached(args[0] if args else kwargs["hidden_states"])
        if self._current is None:
            return None
        if args:
            return (self._current, *args[1:]), kwargs
        return args, kwargs | {"hidden_states": self._current}

    # ---- filling -----------------------------------------------------------------------------------

    def capture_states(self, rows: Sequence[int]) -> Tensor:
        """Return the input of the first trained layer for rows side by side, [tokens, hidden]."""
        micro = fill_flat_row(lay_flat_row(self.data, rows), self.way).to(self.device)
        self._capturing = True
        try:
            with torch.no_grad(), self.way.open_autocast():
                self.model(**build_forward_inputs(self.model, micro, self.way), use_cache=False)
        except _FirstLayerReached as reached:
            return reached.hidden[0, : micro.example_tokens]
        finally:
            self._capturing = False
        raise RuntimeError("the first trained layer was not reached")

    @contextlib.contextmanager
    def hold_states(self, rows: Sequence[int], way: ForwardWay) -> Iterator[None]:
        """Use another way within the context, with the states of these rows from memory."""
        before, self.way = self.way, replace(way, shared=False)
        try:
            self._held = {row: self.capture_states([row]) for row in rows}
            yield
        finally:
            self.way, self._held = before, None

    def fill_store(self, folder: Path, progress: Progress) -> None:
        """Compute all rows into `folder`, or reuse a complete file of the same content.

        Raises:
            OSError: there is not enough space.
        """
        # The shortest row is the cheapest way to learn width and dtype.
        hidden = self.capture_states([int(np.argmin(self.data.lengths))])
        width, dtype = hidden.shape[-1], hidden.dtype
        size = self.token_count * width * dtype.itemsize
        folder.mkdir(exist_ok=True)
        self.folder = folder
        file = folder / f"{self._digest_content(dtype)}.bin"
        # Files of earlier settings, and one that was not completed.
        for other in folder.iterdir():
            if other != file:
                other.unlink()
        if size > min(MOST_BYTES, MOST_OF_FREE * shutil.disk_usage(folder).free) and not file.is_file():
            raise OSError(f"{size:,} bytes are more than the cache may use")
        self.file = file
        if not file.is_file() or file.stat().st_size != size:
            # Renamed only when complete: a run that is killed leaves no file that looks whole.
            part = file.with_suffix(".part")
            self.file = part
            self._write_store(part, size, width, dtype, progress)
            part.rename(file)
            self.file = file
        flat_store = torch.from_file(str(file), shared=False, size=self.token_count * width, dtype=dtype)
        self.store = flat_store.view(self.token_count, width)

    def _write_store(self, part: Path, size: int, width: int, dtype: torch.dtype, progress: Progress) -> None:
        with open(part, "wb") as target:
            if hasattr(os, "posix_fallocate"):
                # A full disk fails here, and not later as a bus error in the memory map.
                os.posix_fallocate(target.fileno(), 0, size)
            else:
                target.truncate(size)
        store = torch.from_file(str(part), shared=True, size=self.token_count * width, dtype=dtype)
        store = store.view(self.token_count, width)
        training = self.model.training
        self.model.eval()
        try:
            for rows in _split_stretches(self.data.lengths, FILL_TOKENS):
                store[self.bounds[rows[0]] : self.bounds[rows[-1] + 1]] = self.capture_states(rows).cpu()
                progress(rows[-1] + 1, len(self.data))
        finally:
            self.model.train(training)

    def _digest_content(self, dtype: torch.dtype) -> str:
        """Return a hash of the rows, a sample of the frozen weights, their number and the numeric format."""
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
    def read_states(self, micro: MicroBatch) -> Iterator[None]:
        """Make the model start at its first trained layer, with the stored states of a flat row.

        The context must include the backward pass, where checkpointed layers run again.
        """
        self._current = self._gather_states(micro)
        try:
            yield
        finally:
            self._current = None

    def _gather_states(self, micro: MicroBatch) -> Tensor:
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
        return send_tensor(torch.cat(parts), self.device)[None]

    def close(self) -> None:
        """Remove the hooks and delete the file."""
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


def _split_stretches(lengths: np.ndarray, tokens: int) -> Iterator[list[int]]:
    """Yield the rows in order, in groups of at most `tokens` tokens and at least one row."""
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


def check_prefix_states(
    cache: PrefixCache, rows: Sequence[int], losses: LossesOf, float32: bool = True
) -> str:
    """Explain why stored states must not be used; empty if some rows have the losses of the whole model.

    Args:
        float32: Compare in float32 too if the run computes in 16 bits.
    """
    # Gradients need no check: below the first trained layer there are none, and above it the same modules
    # compute them from the same numbers.
    model, way = cache.model, cache.way
    try:
        with torch.no_grad(), use_evaluation_mode(model):
            exact = computes_in_float32(model, way.autocast)
            problem = _compare_exact_states(cache, rows, losses) if float32 and not exact else ""
            return problem or _compare_states(cache, rows, losses, EXACT.loss if exact else MOST_HALF.loss)
    except Exception as error:  # layers that exchange more than hidden states
        if is_out_of_memory(error):
            raise
        return f"{type(error).__name__}: {error}"


def _compare_exact_states(cache: PrefixCache, rows: Sequence[int], losses: LossesOf) -> str:
    """Compare in float32, with states in memory instead of the file; empty if there is not enough memory."""
    if find_float32_problem(cache.model, cache.device):
        return ""
    with compute_in_float32(cache.model), cache.hold_states(rows, replace(cache.way, autocast=None)):
        return _compare_states(cache, rows, losses, EXACT.loss)


def _compare_states(cache: PrefixCache, rows: Sequence[int], losses: LossesOf, most: float) -> str:
    micro = fill_flat_row(lay_flat_row(cache.data, rows), cache.way).to(cache.device)
    whole = losses(cache.model, micro, cache.way)
    with cache.read_states(micro):
        found = losses(cache.model, micro, cache.way)
    worst = measure_loss_difference([found], [whole])
    return _("a loss differs by {worst:.2g}", worst=worst) if worst > most else ""


def make_prefix_cache(
    model: torch.nn.Module,
    data: Rows,
    way: ForwardWay,
    device: torch.device,
    folder: Path,
    rows: Sequence[int],
    progress: Progress,
    losses: LossesOf,
    quiet: int,
    float32: bool = True,
) -> tuple[PrefixCache | None, str]:
    """Fill a cache in a run's folder; or return None and the reason, empty if no layer can be skipped.

    Args:
        quiet: As for `count_frozen_layers`.
        float32: As for `check_prefix_states`.

    Raises:
        torch.OutOfMemoryError: memory ran out; the cache was removed.
    """
    frozen = count_frozen_layers(model, quiet)
    if not frozen or not way.packing:
        return None, ""
    cache = PrefixCache(model, data, way, device, frozen)
    try:
        cache.fill_store(folder / FOLDER, progress)
        problem = check_prefix_states(cache, rows, losses, float32)
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
