"""What an optimizer keeps for each trained tensor between two steps, and needs for a moment during one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tui_tuner.config.kinds.optimizers import find_optimizer

SINGLE = 4  # bytes of a float32 number
ROUND = 512  # the CUDA allocator's smallest block
SMALL_STATE = 4096  # bitsandbytes keeps 32-bit state below this many elements
PAGED_STATE = 100_000  # and pages only above this many
STATE_BLOCK = 256  # elements that share a scale in 8-bit states
CODES = 2 * 256 * SINGLE  # bytes of the two tables of 8-bit numbers, which all tensors share


@dataclass(frozen=True)
class TrainedTensors:
    """Tensors of one size that have a gradient and optimizer state.

    Attributes:
        width: Bytes of an element.
        counted: They are among the frozen tensors already: a few of the model's own weights.
        shape: Empty if unknown.
        inside: They are in the layers. table: They are embeddings.
    """

    count: float
    width: int
    copies: float
    adapter: bool
    counted: bool = False
    shape: tuple[int, ...] = ()
    inside: bool = False
    table: bool = False

    @property
    def size(self) -> float:
        return self.count * self.width


def round_up(size: float) -> float:
    """Round up to what the allocator hands out for a tensor of so many bytes."""
    return -(-size // ROUND) * ROUND


def is_special_matrix(optimizer: str, tensor: TrainedTensors, rank: int) -> bool:
    """Return whether an optimizer for matrices takes a tensor itself, and does not leave it to AdamW."""
    kind = find_optimizer(optimizer)
    fits = tensor.inside and len(tensor.shape) == 2 and min(tensor.shape) >= kind.find_least_side(rank)
    return kind.for_matrices and fits


def count_state_bytes(optimizer: str, tensor: TrainedTensors, rank: int = 0) -> float:
    """Return the optimizer state of one tensor, in bytes of device memory.

    Args:
        rank: `training.optimizer_rank`, for the optimizers that read it.
    """
    count, width = tensor.count, tensor.width
    if is_special_matrix(optimizer, tensor, rank):
        return _count_matrix_state(optimizer, tensor, rank)
    if optimizer.endswith("8bit"):
        return _count_8bit_state(optimizer, tensor)
    if optimizer == "lion":
        return round_up(count * SINGLE)
    if optimizer == "adafactor":
        return _count_adafactor_state(tensor)
    if optimizer == "sgd":
        return 0.0
    # Two moments, or with Schedule-Free one of them and the point that the average is made of
    return 2 * round_up(count * width)


def _count_matrix_state(optimizer: str, tensor: TrainedTensors, rank: int) -> float:
    if optimizer == "muon":
        return round_up(tensor.size)
    short, long = min(tensor.shape), max(tensor.shape)
    moments = 2 * round_up(rank * long * SINGLE)
    # GaLore keeps its directions. APOLLO draws them anew, and keeps the size of its last step.
    return moments + round_up((rank * short if optimizer == "galore" else 1) * SINGLE)


def _count_8bit_state(optimizer: str, tensor: TrainedTensors) -> float:
    count = tensor.count
    # bitsandbytes makes paged buffers from this size on only; managed memory is outside torch's counters
    if optimizer.startswith("paged") and count >= PAGED_STATE:
        return 0.0 if tensor.table else 2 * round_up(-(-count // STATE_BLOCK) * SINGLE)
    # Below this size it keeps 32-bit states whatever the optimizer is called (`min_8bit_size`), and for
    # embeddings this program tells it to
    if count < SMALL_STATE or tensor.table:
        return 2 * round_up(count * SINGLE)
    return 2 * (round_up(count) + round_up(-(-count // STATE_BLOCK) * SINGLE))


def _count_adafactor_state(tensor: TrainedTensors) -> float:
    root = round_up(SINGLE)  # root mean square of the weights
    if len(tensor.shape) == 1:
        return root + round_up(tensor.count * SINGLE)
    if tensor.shape:
        *_unused, rows, columns = tensor.shape
        return root + round_up(tensor.count / columns * SINGLE) + round_up(tensor.count / rows * SINGLE)
    return root + 2 * round_up(tensor.count**0.5 * SINGLE)


def sum_states(optimizer: str, tensors: Iterable[TrainedTensors], rank: int) -> float:
    """Return the optimizer state of all trained tensors, in bytes."""
    found, in_codes = 0.0, False
    for one in tensors:
        found += count_state_bytes(optimizer, one, rank) * one.copies
        in_codes |= optimizer.endswith("8bit") and one.count >= SMALL_STATE and not one.table
    return found + (round_up(CODES / 2) * 2 if in_codes else 0.0)


def count_temporary_bytes(
    optimizer: str, tensors: Iterable[TrainedTensors], rank: int, foreach: bool
) -> float:
    """Return the bytes that exist only while the optimizer steps.

    Args:
        foreach: It goes through all tensors at once.
    """
    known = list(tensors)
    # The for-each AdamW writes the denominators of all tensors at once; the fused one keeps nothing
    if foreach:
        return sum(round_up(one.size) * one.copies for one in known)
    if optimizer == "adafactor":
        return 2 * max((one.count * SINGLE for one in known), default=0.0)
    taken = [one for one in known if is_special_matrix(optimizer, one, rank)]
    if optimizer == "muon":  # the gradient with momentum, and three matrices of the iteration in bfloat16
        return max((one.size + 3 * one.count * 2 for one in taken), default=0.0)
    # The update in float32, a 16-bit gradient as well; and for GaLore the products of its sides and their
    # eigenvectors, with room for finding them
    sides = 4.0 * SINGLE if optimizer == "galore" else 0.0
    updates = (
        one.count * (SINGLE if one.width == SINGLE else 2 * SINGLE) + sides * min(one.shape) ** 2
        for one in taken
    )
    return max(updates, default=0.0)
