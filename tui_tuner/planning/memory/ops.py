"""Operations that layers are made of, as the tape sees them.

Counts are elements, not bytes. Local variables are kept exactly as long as in the code they mirror, because
what a caller still holds is part of the peak.
"""

from __future__ import annotations

from tui_tuner.methods.numbers.terms import Form
from tui_tuner.planning.memory.meter import SINGLE, Buffer, Parameter, Tape, Tensor
from tui_tuner.planning.memory.setup import Setup


def simulate_norm(tape: Tape, x: Tensor, setup: Setup, parameter: Parameter | None) -> Tensor:
    """Simulate RMSNorm as in transformers (a float32 copy is kept), or PyTorch's layer_norm."""
    family = setup.facts.family
    if family.norm in ("layer", "plain"):
        # layer_norm is on autocast's float32 list
        inner = tape.cast(x, max(x.width, parameter.width) if parameter else x.width)
        inner = tape.cast(inner, SINGLE) if setup.autocast else inner
        grads = ((parameter, parameter.count * inner.width),) if parameter else ()
        out = tape.run_op(x.count, inner.width, (inner,), (inner.buffer,), parameters=grads)
        return out if setup.autocast else tape.cast(out, x.width)
    if setup.quick:
        return _norm_at_once(tape, x, setup, parameter)
    hidden = tape.cast(x, SINGLE)
    power = tape.run_op(hidden.count, SINGLE, (hidden,), (hidden.buffer,), extra=2 * hidden.count * SINGLE)
    rows = x.count / (parameter.count if parameter else setup.facts.hidden)
    variance = tape.run_op(rows, SINGLE, (power,))
    del power
    scaled = tape.run_op(
        hidden.count, SINGLE, (hidden, variance), (hidden.buffer,), extra=hidden.count * SINGLE
    )
    hidden = scaled
    del scaled
    late = family.norm_after or family.norm_late  # the weights are applied in float32
    back = hidden if late else tape.cast(hidden, x.width)
    width = max(back.width, parameter.width if parameter else setup.norm)
    grads = ((parameter, parameter.count * width),) if parameter else ()
    saved = (back.buffer,) if parameter else ()
    extra = back.count * width if parameter else 0.0
    out = tape.run_op(back.count, width, (back,), saved, parameters=grads, extra=extra)
    return tape.cast(out, x.width) if late or setup.form is Form.NORMS else out


def _norm_at_once(tape: Tape, x: Tensor, setup: Setup, parameter: Parameter | None) -> Tensor:
    """Simulate RMSNorm as one kernel (`compute.kernels.norm`): keeps its input and a float32 per row."""
    family = setup.facts.family
    late = family.norm_after or family.norm_late
    width = max(x.width, parameter.width if parameter else setup.norm)
    rows = x.count / (parameter.count if parameter else setup.facts.hidden)
    inner = tape.cast(x, width)
    kept = (inner.buffer, Buffer(tape.meter, rows * SINGLE))
    grads = ((parameter, parameter.count * width),) if parameter else ()
    out = tape.run_op(x.count, width, (inner,), kept, parameters=grads)
    return tape.cast(out, x.width) if late or setup.form is Form.NORMS else out


def simulate_fused_rotation(tape: Tape, x: Tensor) -> Tensor:
    """Simulate the rotation written into one tensor (`compute.kernels.rotary`)."""
    return tape.run_op(x.count, x.width, (x,))


def simulate_fused_gating(tape: Tape, gate: Tensor, up: Tensor) -> Tensor:
    """Simulate a gated product in one step (`compute.kernels.gated_product`): keeps both inputs only."""
    size = gate.count * gate.width
    return tape.run_op(gate.count, gate.width, (gate, up), (gate.buffer, up.buffer), extra=size)


def simulate_plain_rotation(tape: Tape, x: Tensor) -> Tensor:
    """Simulate `x * cos + rotate_half(x) * sin`; only the small cos and sin are kept."""
    straight = tape.run_op(x.count, x.width, (x,))
    first = tape.run_op(x.count / 2, x.width, (), view=x.buffer)
    negative = tape.run_op(x.count / 2, x.width, (first,))
    turned = tape.run_op(
        x.count, x.width, (x,), extra=x.count * x.width
    )  # cat; its gradient goes through slices
    del first, negative
    crossed = tape.run_op(x.count, x.width, (turned,))
    del turned
    return tape.run_op(x.count, x.width, (), same=(straight, crossed))


def simulate_addition(tape: Tape, left: Tensor, right: Tensor) -> Tensor:
    width = max(left.width, right.width)
    same = tuple(part for part in (left, right) if part.width == width)
    narrow = tuple(part for part in (left, right) if part.width != width)
    return tape.run_op(left.count, width, narrow, same=same)


def simulate_multiplication(tape: Tape, left: Tensor, right: Tensor) -> Tensor:
    width = max(left.width, right.width)
    # the gradient of the narrower one is computed in the wider one's dtype, and cast
    extra = left.count * width if left.width != right.width else 0.0
    return tape.run_op(left.count, width, (left, right), (left.buffer, right.buffer), extra=extra)


def simulate_activation(tape: Tape, x: Tensor, setup: Setup) -> Tensor:
    """Simulate SiLU or GELU, one kernel that keeps its input, or `gelu_new`, written out in eight."""
    if setup.facts.activation != "gelu_new":
        return tape.run_op(x.count, x.width, (x,), (x.buffer,))
    # Each line of `0.5 * x * (1 + tanh(c * (x + 0.044715 * x**3)))` is a kernel with a result of its own
    half = tape.run_op(x.count, x.width, (x,))
    inner = tape.cast(x, SINGLE if setup.autocast else x.width)  # autocast runs pow in float32
    width = inner.width
    cube = tape.run_op(x.count, width, (inner,), (inner.buffer,), extra=2 * x.count * width)
    del inner
    cube = tape.run_op(x.count, width, (cube,))
    total = simulate_addition(tape, x, cube)
    del cube
    total = tape.run_op(x.count, width, (total,))
    bent = Buffer(tape.meter, x.count * width)
    total = tape.run_op(x.count, width, (total,), (bent,), view=bent)
    del bent
    raised = tape.run_op(x.count, width, (), same=(total,))
    del total
    return simulate_multiplication(tape, half, raised)


def simulate_dropout(tape: Tape, x: Tensor, rate: float) -> Tensor:
    """Simulate dropout, which keeps a mask of one byte per element; free at rate 0."""
    if not rate:
        return x
    # torch keeps a boolean mask, one byte an element, even where the input has 16 bits
    mask = Buffer(tape.meter, x.count)
    return tape.run_op(x.count, x.width, (x,), (mask,))
