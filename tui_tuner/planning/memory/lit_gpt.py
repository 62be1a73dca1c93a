"""lit-gpt's own model code, as its `finetune/*.py` run it in `bf16-true` on one GPU.

Read from lit-gpt of October 2023 (`lit_gpt/model.py`, `lora.py`, `adapter.py`, `adapter_v2.py`, `rmsnorm.py`,
`utils.py`, `finetune/lora.py`), lightning 2.1 (`fabric/wrappers.py`, `plugins/precision/half.py` and
`bitsandbytes.py`), bitsandbytes 0.41.1 (`autograd/_functions.py`, `nn/modules.py`) and torch 2.1
(`derivatives.yaml`). What differs from transformers and PEFT, in bytes a token:

- `LoRAQKVLinear` pads its update with `index_copy`, whose derivative keeps the source.
- Queries, keys and values are views of one product, so the values keep all three.
- `cat` makes queries that lie head by head, and so does the result of attention: it is copied to be reshaped.
- `RMSNorm` keeps a float32 copy; the norm's weight is frozen, so its 16-bit input is not kept.
- bitsandbytes' `MatMul4Bit` keeps its input wherever that has a gradient, and dequantises into float16
  before it casts, so that two copies of the matrix are there; the head is quantised as well.
- Fabric casts the pieces of the logits to float32 while the 16-bit ones are still there, and the training
  step holds on to them; the softmax of every piece is kept in float32.
"""

from __future__ import annotations

from collections.abc import Iterator

from tui_tuner.methods.numbers.terms import Form
from tui_tuner.models.architectures.family import Linear
from tui_tuner.models.facts import ModelFacts
from tui_tuner.planning.memory.attention_steps import simulate_fused_kernel
from tui_tuner.planning.memory.meter import HALF, HEAD, SINGLE, Buffer, Parameter, Tape, Tensor
from tui_tuner.planning.memory.ops import simulate_addition, simulate_dropout, simulate_multiplication
from tui_tuner.planning.memory.setup import Setup

PIECE = 128  # `lm_head_chunk_size`: positions of each row whose logits are one tensor
DROPOUT = 0.05  # `lora_dropout` of finetune/lora.py
PROMPT = 10  # `adapter_prompt_length`
ADAPTERS = (Form.LLAMA_ADAPTER, Form.LLAMA_ADAPTER_V2)  # of finetune/adapter.py and adapter_v2.py
START = 2  # `adapter_start_layer`: the layers below have no adapter
NO_SHARED_NORM = ("gpt_neox",)  # parallel blocks of which each branch has a norm of its own


class LitLayer:
    """One `Block`; `trained` says whether it has adapters (or, in full fine-tuning, gradients)."""

    def __init__(self, setup: Setup, trained: bool) -> None:
        self.setup, self.trained = setup, trained
        self.family = setup.facts.family
        self.tokens = float(setup.total_tokens)
        self.full = setup.trains_weights and trained
        self.parameters: list[Parameter] = []
        self.linears = {shape.name: LitMatrix(self, shape) for shape in list_lit_linears(setup.facts)}
        # Parallel blocks read one norm for attention and MLP (`shared_attention_norm`)
        shared = self.family.parallel and setup.facts.model_type not in NO_SHARED_NORM
        self.norms = [self.norm_weight() for _ in range(1 if shared else 2)]
        self.prompt = self.gate = None
        if trained and setup.form in ADAPTERS:
            self.prompt = self._add_parameter(float(PROMPT * setup.facts.hidden))
            self.gate = self._add_parameter(float(setup.facts.heads))

    def _add_parameter(self, count: float) -> Parameter:
        parameter = Parameter(count, self.setup.adapter)
        self.parameters.append(parameter)
        return parameter

    def norm_weight(self) -> Parameter | None:
        """Return a trained norm weight; None if it is frozen."""
        if not self.full and not (self.trained and self.setup.form is Form.LLAMA_ADAPTER_V2):
            return None
        return self._add_parameter(float(self.setup.facts.hidden))

    def __call__(self, tape: Tape, x: Tensor) -> Tensor:
        normed = simulate_lit_norm(self, tape, x, self.norms[0])
        attended = self._run_attention(tape, normed)
        if self.family.parallel:
            second = normed if len(self.norms) == 1 else simulate_lit_norm(self, tape, x, self.norms[1])
            return simulate_addition(tape, simulate_addition(tape, self._run_mlp(tape, second), attended), x)
        x = simulate_addition(tape, attended, x)
        return simulate_addition(
            tape, self._run_mlp(tape, simulate_lit_norm(self, tape, x, self.norms[1])), x
        )

    def _run_attention(self, tape: Tape, x: Tensor) -> Tensor:
        facts = self.setup.facts
        query_count, kv_count = self.tokens * facts.query_dim, self.tokens * facts.kv_dim
        product = self.linears["attn"](tape, x)
        query, key, value = (
            tape.run_op(count, HALF, (product,), view=product.buffer)
            for count in (query_count, kv_count, kv_count)
        )
        if facts.kv_heads != facts.heads:  # `reshape` after `expand` copies
            query, key, value = (tape.run_op(query_count, HALF, (part,)) for part in (query, key, value))
        del product
        query, key = self._rotate_heads(tape, query), self._rotate_heads(tape, key)
        out = simulate_fused_kernel(tape, query, key, value, self.tokens * facts.heads, query_count)
        del key, value
        if self.prompt is not None and self.gate is not None:
            out = self._attend_prompt(tape, query, out, self.prompt, self.gate)
        del query
        out = tape.run_op(
            query_count, HALF, (out,)
        )  # the kernel's result lies head by head, so `reshape` copies
        return self.linears["proj"](tape, out)

    def _attend_prompt(
        self, tape: Tape, query: Tensor, out: Tensor, prompt: Parameter, gate: Parameter
    ) -> Tensor:
        """Simulate `y + gating_factor * ay`, where `ay` attends to keys and values of a trained prompt."""
        width = float(self.setup.batch * PROMPT * self.setup.facts.query_dim)
        grads = ((prompt, prompt.count * HALF),)
        key = tape.run_op(width, HALF, (), parameters=grads)
        value = tape.run_op(width, HALF, (), parameters=grads)
        seen = simulate_fused_kernel(
            tape, query, key, value, self.tokens * self.setup.facts.heads, query.count
        )
        product = seen.count * HALF  # before it is summed over the rows
        gated = tape.run_op(
            seen.count, HALF, (seen,), (seen.buffer,), parameters=((gate, gate.count * HALF),), extra=product
        )
        return simulate_addition(tape, out, gated)

    def _rotate_heads(self, tape: Tape, x: Tensor) -> Tensor:
        """Simulate `apply_rope` with a float32 table, then `cat` with the part that is not rotated."""
        turned = tape.run_op(x.count, HALF, (x,))
        straight = tape.run_op(x.count, SINGLE, (x,))
        crossed = tape.run_op(x.count, SINGLE, (turned,))
        del turned
        roped = tape.run_op(x.count, SINGLE, (), same=(straight, crossed))
        del straight, crossed
        return tape.run_op(x.count, HALF, (tape.cast(roped, HALF),))

    def _run_mlp(self, tape: Tape, x: Tensor) -> Tensor:
        names = self.family.mlp
        first = self.linears[names[0]](tape, x)
        if len(names) == 3:
            second = self.linears[names[1]](tape, x)
            inner = simulate_multiplication(tape, _run_activation(tape, first), second)
            del first, second
            return self.linears[names[2]](tape, inner)
        return self.linears[names[1]](tape, _run_activation(tape, first))


def _run_activation(tape: Tape, x: Tensor) -> Tensor:
    """Simulate SiLU or GELU: one kernel that keeps its input (lit-gpt calls only torch's fused ones)."""
    return tape.run_op(x.count, x.width, (x,), (x.buffer,))


def list_lit_linears(facts: ModelFacts) -> Iterator[Linear]:
    """Return the matrices of a block; queries, keys and values are one matrix."""
    bias = facts.attention_bias
    out = facts.query_dim + 2 * facts.kv_dim
    yield Linear("attn", facts.hidden, out, bias, "attention")
    output_bias = facts.family.output_bias
    yield Linear(
        "proj", facts.query_dim, facts.hidden, bias if output_bias is None else output_bias, "attention"
    )
    yield from (linear for linear in facts.layer_linears if linear.group == "mlp")


def simulate_lit_norm(layer: LitLayer, tape: Tape, x: Tensor, weight: Parameter | None) -> Tensor:
    """Simulate `RMSNorm` in float32, or `torch.nn.LayerNorm`."""
    grads = ((weight, weight.count * SINGLE),) if weight else ()
    if layer.family.norm != "rms":
        return tape.run_op(x.count, x.width, (x,), (x.buffer,), parameters=grads)
    # lit-gpt writes RMSNorm out in float32, and every intermediate that a derivative needs is kept
    single = tape.cast(x, SINGLE)
    power = tape.run_op(x.count, SINGLE, (single, single), (single.buffer,))
    mean = tape.run_op(x.count / layer.setup.facts.hidden, SINGLE, (power,))
    del power
    normed = tape.run_op(x.count, SINGLE, (single, mean), (single.buffer,), extra=x.count * SINGLE)
    del single, mean
    # A frozen weight needs no gradient, so its input is not kept
    kept = (normed.buffer,) if weight else ()
    scaled = tape.run_op(x.count, SINGLE, (normed,), kept, parameters=grads)
    del normed
    return tape.cast(scaled, x.width)


class LitMatrix:
    """`LoRALinear` or, for queries, keys and values, `LoRAQKVLinear`."""

    def __init__(self, layer: LitLayer, shape: Linear) -> None:
        self.shape, self.setup = shape, layer.setup
        self.count = float(shape.inputs * shape.outputs)
        self.quantised = self.setup.quantization != "none"
        self.weight = Parameter(self.count, self.setup.weight) if layer.full else None
        self.parts = self._list_enabled() if layer.trained and self.setup.rank else []
        self.down = self.up = self.bias = self.scale = None
        if layer.trained and self.setup.form is Form.LLAMA_ADAPTER_V2:
            self.bias, self.scale = (Parameter(float(shape.outputs), self.setup.adapter) for _ in range(2))
        if self.parts:
            rank = float(self.setup.rank)
            self.down = Parameter(rank * len(self.parts) * shape.inputs, self.setup.adapter)
            self.up = Parameter(rank * sum(self.parts), self.setup.adapter)
        own = (self.weight, self.down, self.up, self.bias, self.scale)
        layer.parameters += [parameter for parameter in own if parameter is not None]

    def _list_enabled(self) -> list[int]:
        """Return the output sizes of the parts that have an adapter."""
        facts, targets = self.setup.facts, self.setup.targets
        everything = "all-linear" in targets
        if self.shape.name != "attn":
            # lit-gpt names the output projection `proj`; targets are given by the names in transformers
            known = {"proj": "o_proj"}.get(self.shape.name, self.shape.name)
            return [self.shape.outputs] if everything or known in targets else []
        sizes = {"q_proj": facts.query_dim, "k_proj": facts.kv_dim, "v_proj": facts.kv_dim}
        return [size for name, size in sizes.items() if everything or name in targets]

    def __call__(self, tape: Tape, x: Tensor) -> Tensor:
        rows = x.count / self.shape.inputs
        result = simulate_lit_linear(self.setup, tape, x, self.count, rows * self.shape.outputs, self.weight)
        if self.bias is not None and self.scale is not None:
            return simulate_shifted_linear(tape, result, self.bias, self.scale)
        if self.down is None or self.up is None:
            return result
        kept = simulate_dropout(tape, x, self.setup.dropout)
        low = tape.run_op(
            rows * self.setup.rank * len(self.parts), HALF, (kept,), (kept.buffer,),
            parameters=((self.down, self.down.count * HALF),),
        )  # fmt: skip
        del kept
        update = tape.run_op(
            rows * sum(self.parts), HALF, (low,), (low.buffer,), parameters=((self.up, self.up.count * HALF),)
        )
        del low
        # Only queries, keys and values share a matrix of which a part may have no adapter
        if sum(self.parts) < self.shape.outputs:
            update = self._pad_update(tape, update, rows)
        update = tape.run_op(update.count, HALF, (update,))  # * scaling
        return tape.run_op(result.count, HALF, (), same=(result, update))

    def _pad_update(self, tape: Tape, update: Tensor, rows: float) -> Tensor:
        """Simulate `zero_pad`: zeros for the parts without an adapter; `index_copy` keeps its source."""
        source = tape.run_op(update.count, HALF, (update,))  # `reshape` of a transposed tensor copies
        zeros = Buffer(tape.meter, rows * self.shape.outputs * HALF)
        padded = tape.run_op(rows * self.shape.outputs, HALF, (source,), (source.buffer,))
        del zeros
        return padded


def simulate_shifted_linear(tape: Tape, x: Tensor, bias: Parameter, scale: Parameter) -> Tensor:
    """Simulate `AdapterV2Linear`: `adapter_scale * (x + adapter_bias)`."""
    moved = tape.run_op(x.count, HALF, (), same=(x,), parameters=((bias, bias.count * HALF),))
    grads = ((scale, scale.count * HALF),)
    return tape.run_op(x.count, HALF, (moved,), (moved.buffer,), parameters=grads, extra=x.count * HALF)


def simulate_lit_linear(
    setup: Setup, tape: Tape, x: Tensor, weights: float, count: float, trained: Parameter | None = None
) -> Tensor:
    """Simulate `torch.nn.Linear`, or bitsandbytes' `Linear4bit` in its place."""
    if setup.quantization == "none":
        grads = ((trained, weights * HALF),) if trained else ()
        return tape.run_op(count, HALF, (x,), (x.buffer,) if trained else (), parameters=grads)
    whole = Buffer(tape.meter, 2 * weights * HALF, "dequantised weights")  # float16, and its bfloat16 cast
    del whole
    whole = Buffer(tape.meter, weights * HALF, "dequantised weights")
    out = tape.run_op(count, HALF, (x,), (x.buffer,), extra=2 * weights * HALF)
    del whole
    return out


def simulate_lit_loss(
    setup: Setup, tape: Tape, holder: list[Tensor], table: Parameter
) -> tuple[Tensor, Buffer | None]:
    """Simulate the final norm, `lm_head` in pieces, and cross-entropy of each piece.

    Args:
        holder: The last block's output, which is taken out of the list, so that nothing else holds it.
        table: The embeddings.
    """
    facts = setup.facts
    layer = LitLayer(setup, setup.whole_model or setup.form is Form.LLAMA_ADAPTER_V2)
    hidden = simulate_lit_norm(layer, tape, holder.pop(), layer.norms[0])
    tape.meter.kind = HEAD
    weights = float(facts.vocab * facts.hidden)
    own = None
    if setup.whole_model:
        own = table if facts.tied else Parameter(weights, setup.embedding)
        tape.meter.held.append(own)
    pair: tuple[Parameter, ...] = ()
    if setup.form is Form.LLAMA_ADAPTER_V2:
        pair = tuple(Parameter(float(facts.vocab), setup.adapter) for _ in range(2))
    # Each piece is so many positions of every row of the batch
    pieces = [min(PIECE, setup.length - start) * setup.batch for start in range(0, setup.length, PIECE)]
    halves = []
    for rows in pieces:
        part = tape.run_op(float(rows * facts.hidden), HALF, (hidden,), view=hidden.buffer)
        half = simulate_lit_linear(setup, tape, part, weights, float(rows * facts.vocab), own)
        if pair:
            half = simulate_shifted_linear(tape, half, *pair)
        halves.append(half)
        del part, half
    del hidden
    # Fabric converts all pieces of the output at once, while the 16-bit ones still exist
    wholes = [tape.cast(half, SINGLE) for half in halves]
    del halves
    losses = []
    for whole in wholes:
        kept = Buffer(tape.meter, whole.count * SINGLE)
        scores = tape.run_op(whole.count, SINGLE, (whole,), (kept,), view=kept)
        losses.append(tape.run_op(whole.count / facts.vocab, SINGLE, (scores,)))
        del kept, scores
    # The training step keeps its `logits` until it returns
    tape.held = tuple(whole.buffer for whole in wholes)
    return tape.run_op(1, SINGLE, tuple(losses)), None
