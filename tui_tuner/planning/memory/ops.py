"""Operations that layers are made of, as the tape sees them.

Counts are elements, not bytes. Local variables are kept exactly as long as in the code they mirror, because
what a caller still holds is part of the peak.
"""

from __future__ import annotations

from tui_tuner.planning.memory.meter import SINGLE, Buffer, Parameter, Tape, Tensor
from tui_tuner.planning.memory.setup import Setup


def norm(tape: Tape, x: Tensor, setup: Setup, parameter: Parameter | None) -> Tensor:
    """RMSNorm as transformers writes it (a float32 copy is kept), or PyTorch's layer_norm."""
    family = setup.facts.family
    if family.norm in ("layer", "plain"):
        inner = tape.cast(x, SINGLE) if setup.autocast else x
        grads = ((parameter, parameter.count * inner.width),) if parameter else ()
        return tape.op(x.count, inner.width, (inner,), (inner.buffer,), parameters=grads)
    if setup.quick:
        return _norm_at_once(tape, x, setup, parameter)
    hidden = tape.cast(x, SINGLE)
    power = tape.op(hidden.count, SINGLE, (hidden,), (hidden.buffer,), extra=2 * hidden.count * SINGLE)
    rows = x.count / (parameter.count if parameter else setup.facts.hidden)
    variance = tape.op(rows, SINGLE, (power,))
    del power
    scaled = tape.op(hidden.count, SINGLE, (hidden, variance), (hidden.buffer,), extra=hidden.count * SINGLE)
    hidden = scaled
    del scaled
    late = family.norm_after or family.norm_late  # the weights are applied in float32
    back = hidden if late else tape.cast(hidden, x.width)
    width = max(back.width, setup.norm)
    grads = ((parameter, parameter.count * width),) if parameter else ()
    saved = (back.buffer,) if parameter else ()
    extra = back.count * width if parameter else 0.0
    out = tape.op(back.count, width, (back,), saved, parameters=grads, extra=extra)
    return tape.cast(out, x.width) if late else out


def _norm_at_once(tape: Tape, x: Tensor, setup: Setup, parameter: Parameter | None) -> Tensor:
    """RMSNorm as one kernel (`compute.kernels.norm`): keeps its input and a float32 number for each row."""
    family = setup.facts.family
    late = family.norm_after or family.norm_late
    width = max(x.width, setup.norm)
    rows = x.count / (parameter.count if parameter else setup.facts.hidden)
    inner = tape.cast(x, width)
    kept = (inner.buffer, Buffer(tape.meter, rows * SINGLE))
    grads = ((parameter, parameter.count * width),) if parameter else ()
    out = tape.op(x.count, width, (inner,), kept, parameters=grads)
    return tape.cast(out, x.width) if late else out


def rotate_at_once(tape: Tape, x: Tensor) -> Tensor:
    """The rotation written into one tensor (`compute.kernels.rotary`)."""
    return tape.op(x.count, x.width, (x,))


def gate_at_once(tape: Tape, gate: Tensor, up: Tensor) -> Tensor:
    """A gated product as one step (`compute.kernels.gated`): keeps both, and not the activation."""
    size = gate.count * gate.width
    return tape.op(gate.count, gate.width, (gate, up), (gate.buffer, up.buffer), extra=size)


def rotate(tape: Tape, x: Tensor) -> Tensor:
    """`x * cos + rotate_half(x) * sin`; only the small cos and sin are kept."""
    straight = tape.op(x.count, x.width, (x,))
    first = tape.op(x.count / 2, x.width, (), view=x.buffer)
    negative = tape.op(x.count / 2, x.width, (first,))
    turned = tape.op(x.count, x.width, (x,), extra=x.count * x.width)  # cat; its gradient goes through slices
    del first, negative
    crossed = tape.op(x.count, x.width, (turned,))
    del turned
    return tape.op(x.count, x.width, (), same=(straight, crossed))


def add(tape: Tape, left: Tensor, right: Tensor) -> Tensor:
    width = max(left.width, right.width)
    same = tuple(part for part in (left, right) if part.width == width)
    narrow = tuple(part for part in (left, right) if part.width != width)
    return tape.op(left.count, width, narrow, same=same)


def multiply(tape: Tape, left: Tensor, right: Tensor) -> Tensor:
    width = max(left.width, right.width)
    return tape.op(left.count, width, (left, right), (left.buffer, right.buffer))


def activate(tape: Tape, x: Tensor, setup: Setup) -> Tensor:
    """SiLU or GELU: one kernel that keeps its input; or `gelu_new`, written out in eight."""
    if setup.facts.activation != "gelu_new":
        return tape.op(x.count, x.width, (x,), (x.buffer,))
    half = tape.op(x.count, x.width, (x,))
    inner = tape.cast(x, SINGLE if setup.autocast else x.width)  # autocast runs pow in float32
    width = inner.width
    cube = tape.op(x.count, width, (inner,), (inner.buffer,), extra=2 * x.count * width)
    del inner
    cube = tape.op(x.count, width, (cube,))
    total = add(tape, x, cube)
    del cube
    total = tape.op(x.count, width, (total,))
    bent = Buffer(tape.meter, x.count * width)
    total = tape.op(x.count, width, (total,), (bent,), view=bent)
    del bent
    raised = tape.op(x.count, width, (), same=(total,))
    del total
    return multiply(tape, half, raised)


def dropout(tape: Tape, x: Tensor, rate: float) -> Tensor:
    """Keeps a mask of one byte an element; nothing at rate 0."""
    if not rate:
        return x
    mask = Buffer(tape.meter, x.count)
    return tape.op(x.count, x.width, (x,), (mask,))
