"""torchtune's model code, as its single-device recipes run it in bfloat16.

Read from torchtune 0.3 to 0.5 (`modules/transformer.py`, `attention.py`, `feed_forward.py`, `rms_norm.py`,
`peft/lora.py`, `loss/ce_chunked_output_loss.py`, `training/_compile.py`, `_activation_offloading.py`,
`recipes/full_finetune_single_device.py`) and torchao 0.6 (`dtypes/nf4tensor.py`). With `compile`, each layer
is compiled on its own with a break at flex attention; what it keeps was read off the graphs that
`min_cut_rematerialization_partition` makes of such a layer (torch 2.13):

- a norm keeps its 16-bit input and row statistics, not a float32 copy;
- an MLP keeps both inputs of the gate, and their product only where the last matrix or its adapter needs it;
- a piece of the loss keeps its 16-bit logits and row statistics, and no softmax.

Either way inputs of matrices are kept where the matrix or its adapter is trained, and keys and values are
expanded to all heads.
"""

from __future__ import annotations

from tui_tuner.models.architectures.family import Linear
from tui_tuner.planning.memory.attention_steps import simulate_fused_kernel
from tui_tuner.planning.memory.meter import HALF, HEAD, SINGLE, Buffer, Parameter, Tape, Tensor
from tui_tuner.planning.memory.ops import simulate_addition, simulate_multiplication, simulate_plain_rotation
from tui_tuner.planning.memory.setup import Setup

PIECES = 8  # `num_output_chunks` of CEWithChunkedOutputLoss
STASH = 5  # `max_fwd_stash_size` of OffloadActivations: checkpoints still on their way to the host


class TuneLayer:
    """One `TransformerSelfAttentionLayer`; `trained` says whether anything in it has a gradient."""

    def __init__(self, setup: Setup, trained: bool) -> None:
        self.setup, self.trained = setup, trained
        self.family = setup.facts.family
        self.tokens = float(setup.total_tokens)
        self.full = setup.trains_weights and trained
        self.parameters: list[Parameter] = []
        self.linears = {shape.name: TuneMatrix(self, shape) for shape in setup.facts.layer_linears}
        self.norms = [self.norm_weight(), self.norm_weight()]

    def norm_weight(self) -> Parameter | None:
        """Return a trained norm weight; None if it is frozen."""
        if not self.full:
            return None
        weight = make_tune_parameter(self.setup, float(self.setup.facts.hidden), self.setup.norm)
        self.parameters.append(weight)
        return weight

    def __call__(self, tape: Tape, x: Tensor) -> Tensor:
        setup = self.setup
        attended = self._run_attention(
            tape, simulate_tune_norm(setup, tape, x, self.norms[0], setup.compiled)
        )
        x = simulate_addition(tape, attended, x)
        del attended
        return simulate_addition(
            tape, x, self._run_mlp(tape, simulate_tune_norm(setup, tape, x, self.norms[1], setup.compiled))
        )

    def _run_attention(self, tape: Tape, x: Tensor) -> Tensor:
        facts, names = self.setup.facts, self.family.attention
        query = self._rotate_heads(tape, self.linears[names[0]](tape, x))
        key = self._rotate_heads(tape, self.linears[names[1]](tape, x))
        value = self.linears[names[2]](tape, x)
        del x
        if facts.kv_heads != facts.heads:  # `expand` and `flatten` copy
            key, value = (tape.run_op(query.count, HALF, (part,)) for part in (key, value))
        out = simulate_fused_kernel(tape, query, key, value, self.tokens * facts.heads, query.count)
        del query, key, value
        return self.linears[names[3]](tape, out)

    def _rotate_heads(self, tape: Tape, x: Tensor) -> Tensor:
        if self.setup.compiled:
            return tape.run_op(x.count, HALF, (x,))
        return tape.cast(simulate_plain_rotation(tape, tape.cast(x, SINGLE)), HALF)

    def _run_mlp(self, tape: Tape, x: Tensor) -> Tensor:
        names = self.family.mlp
        gate, up = self.linears[names[0]](tape, x), self.linears[names[1]](tape, x)
        del x
        if self.setup.compiled:
            inner = simulate_multiplication(tape, gate, up)
        else:
            inner = simulate_multiplication(tape, tape.run_op(gate.count, HALF, (gate,), (gate.buffer,)), up)
        del gate, up
        return self.linears[names[2]](tape, inner)


def make_tune_parameter(setup: Setup, count: float, width: int, uses: int = 1) -> Parameter:
    """Make a trained weight. An optimizer in the backward pass frees its gradient after all `uses`."""
    return Parameter(count, width, uses if setup.in_backward else 0)


def simulate_tune_norm(
    setup: Setup, tape: Tape, x: Tensor, weight: Parameter | None, compiled: bool
) -> Tensor:
    """Simulate `RMSNorm` in float32, op by op or in one kernel."""
    grads = ((weight, weight.count * HALF),) if weight else ()
    rows = x.count / setup.facts.hidden
    if compiled:
        return tape.run_op(
            x.count, HALF, (x,), (x.buffer, Buffer(tape.meter, SINGLE * rows)), parameters=grads
        )
    single = tape.cast(x, SINGLE)
    power = tape.run_op(x.count, SINGLE, (single,), (single.buffer,), extra=2 * x.count * SINGLE)
    mean = tape.run_op(rows, SINGLE, (power,))
    del power
    normed = tape.run_op(x.count, SINGLE, (single, mean), (single.buffer,), extra=x.count * SINGLE)
    del single, mean
    back = tape.cast(normed, HALF)
    del normed
    return tape.run_op(x.count, HALF, (back,), (back.buffer,) if weight else (), parameters=grads)


class TuneMatrix:
    """`torch.nn.Linear`, `LoRALinear`, or the latter over torchao's NF4 (`LinearNF4` keeps no input)."""

    def __init__(self, layer: TuneLayer, shape: Linear) -> None:
        setup = layer.setup
        self.shape, self.setup = shape, setup
        self.count = float(shape.inputs * shape.outputs)
        self.quantised = setup.quantization == "nf4"
        self.weight = make_tune_parameter(setup, self.count, setup.weight) if layer.full else None
        self.down = self.up = None
        if layer.trained and setup.rank and setup.stack.adapts_linear(shape, setup.targets):
            self.down = Parameter(float(setup.rank * shape.inputs), setup.adapter)
            self.up = Parameter(float(setup.rank * shape.outputs), setup.adapter)
        own = (self.weight, self.down, self.up)
        layer.parameters += [parameter for parameter in own if parameter is not None]

    def __call__(self, tape: Tape, x: Tensor) -> Tensor:
        rows = x.count / self.shape.inputs
        grads = ((self.weight, self.count * HALF),) if self.weight else ()
        # A frozen weight needs no input for its gradient, whether quantised or not
        saved = (x.buffer,) if self.weight else ()
        whole = self.count * HALF if self.quantised else 0.0
        temporary = Buffer(tape.meter, whole, "dequantised weights")
        out = tape.run_op(rows * self.shape.outputs, HALF, (x,), saved, parameters=grads, extra=whole)
        del temporary
        if self.down is None or self.up is None:
            return out
        low = tape.run_op(
            rows * self.setup.rank, HALF, (x,), (x.buffer,), parameters=((self.down, self.down.count * HALF),)
        )
        high = tape.run_op(
            rows * self.shape.outputs, HALF, (low,), (low.buffer,),
            parameters=((self.up, self.up.count * HALF),),
        )  # fmt: skip
        # The compiler fuses the scaling into the sum
        if not self.setup.compiled:
            high = tape.run_op(high.count, HALF, (high,))  # * alpha / rank
        return tape.run_op(out.count, HALF, (), same=(out, high))


def simulate_tune_loss(
    setup: Setup, tape: Tape, holder: list[Tensor], table: Parameter
) -> tuple[Tensor, Buffer | None]:
    """Simulate the final norm, the output head and cross-entropy, whole or in pieces.

    Args:
        holder: The last layer's output, which is taken out of the list, so that nothing else holds it.
        table: The embeddings, which the head shares where they are tied.
    """
    facts = setup.facts
    full = setup.whole_model
    weight = make_tune_parameter(setup, float(facts.hidden), setup.norm) if full else None
    # The final norm is outside of the layers, which alone are compiled
    hidden = simulate_tune_norm(setup, tape, holder.pop(), weight, False)
    tape.meter.kind = HEAD
    if setup.offload:
        tape.held = (Buffer(tape.meter, STASH * hidden.count * HALF, "checkpoints"),)
    pieces = PIECES if setup.logits == "chunked" else 1
    own = None
    if full:
        weights = float(facts.vocab * facts.hidden)
        own = table if facts.tied else make_tune_parameter(setup, weights, setup.embedding, pieces)
        tape.meter.held.append(own)
    logits = []
    for _ in range(pieces):
        part = tape.run_op(hidden.count / pieces, HALF, (hidden,), view=hidden.buffer)
        grads = ((own, own.count * HALF),) if own else ()
        count = setup.total_tokens * facts.vocab / pieces
        logits.append(tape.run_op(count, HALF, (part,), (part.buffer,) if own else (), parameters=grads))
        del part
    del hidden
    if pieces == 1:  # the model itself returns float32
        logits = [tape.cast(logits.pop(), SINGLE)]
    losses = [_run_entropy(setup, tape, piece) for piece in logits]
    del logits
    return tape.run_op(1, SINGLE, tuple(losses)), None


def _run_entropy(setup: Setup, tape: Tape, logits: Tensor) -> Tensor:
    """Simulate cross-entropy of one piece in float32; compiled it keeps the logits, else the softmax."""
    rows = logits.count / setup.facts.vocab
    if setup.compiled:
        scattered = 0.0 if setup.stack.at_least("torch", 2, 5) else logits.count * SINGLE
        return tape.run_op(rows, SINGLE, (logits,), (logits.buffer,), extra=scattered)
    single = tape.cast(logits, SINGLE)
    kept = Buffer(tape.meter, single.count * SINGLE)
    scores = tape.run_op(single.count, SINGLE, (single,), (kept,), view=kept)
    return tape.run_op(rows, SINGLE, (scores,))
