"""Forward passes, line by line as in transformers' modelling code and PEFT's layers.

Counts are elements, not bytes. Local variables are kept exactly as long as in the code they mirror, because
what a caller still holds is part of the peak.
"""

from __future__ import annotations

from tui_tuner.models.facts import Linear
from tui_tuner.planning.memory.meter import HALF, SINGLE, Buffer, Parameter, Tape, Tensor
from tui_tuner.planning.memory.setup import Setup

FLASH_QUERY_BLOCK = 128


class Layer:
    """One decoder or encoder layer; `trained` says whether anything in it has a gradient."""

    def __init__(self, setup: Setup, trained: bool) -> None:
        self.setup, self.trained = setup, trained
        facts = setup.facts
        self.family = facts.family
        self.tokens = float(setup.tokens)
        self.full = setup.full and trained
        self.parameters: list[Parameter] = []
        self.linears = {linear.name: Matrix(self, linear) for linear in facts.linears}
        self.names = [linear.name for linear in facts.linears]
        self.norms = [self._norm_parameter(facts.hidden) for _ in range(max(2, self.family.norms))]
        self.mask: Buffer | None = None

    def _norm_parameter(self, size: int) -> Parameter | None:
        if not self.full and self.setup.variant != "ln":
            return None
        if self.family.norm == "plain" or not self.trained:
            return None
        parameter = Parameter(size, self.setup.norm)
        self.parameters.append(parameter)
        return parameter

    def linear(self, tape: Tape, x: Tensor, name: str) -> Tensor:
        return self.linears[name](tape, x)

    def __call__(self, tape: Tape, x: Tensor) -> Tensor:
        if self.family.parallel:
            return self._parallel(tape, x)
        if self.family.encoder and self.family.norm_bias:
            return self._post_norm(tape, x)
        residual = x
        sandwich = self.family.norms == 4
        after = self.family.norm_after
        hidden = x if after else norm(tape, x, self, self.norms[0])
        hidden = self.attention(tape, hidden)
        if after:
            hidden = norm(tape, hidden, self, self.norms[0])
        if sandwich:
            hidden = norm(tape, hidden, self, self.norms[1])
        hidden = self._join(tape, residual, hidden)
        residual = hidden
        if not after:
            hidden = norm(tape, hidden, self, self.norms[-1])
        hidden = self.mixture(tape, hidden) if self.setup.facts.moe else self.mlp(tape, hidden)
        if after:
            hidden = norm(tape, hidden, self, self.norms[-1])
        if sandwich:
            hidden = norm(tape, hidden, self, self.norms[2])
        return self._join(tape, residual, hidden)

    def _join(self, tape: Tape, residual: Tensor, hidden: Tensor) -> Tensor:
        if self.family.multipliers:
            hidden = tape.op(hidden.count, hidden.width, (hidden,))
        return add(tape, residual, hidden)

    def _parallel(self, tape: Tape, x: Tensor) -> Tensor:
        hidden = norm(tape, x, self, self.norms[0])
        attended = self.attention(tape, hidden)
        fed = self.mlp(tape, hidden)
        return add(tape, add(tape, attended, fed), x)

    def _post_norm(self, tape: Tape, x: Tensor) -> Tensor:
        attended = dropout(tape, self.attention(tape, x), 0.1)
        hidden = norm(tape, add(tape, attended, x), self, self.norms[0])
        del attended
        fed = dropout(tape, self.mlp(tape, hidden), 0.1)
        return norm(tape, add(tape, fed, hidden), self, self.norms[1])

    def attention(self, tape: Tape, x: Tensor) -> Tensor:
        setup = self.setup
        query, key, value = self._project(tape, x)
        if not self.family.learned_positions:
            query, key = rotate(tape, query), rotate(tape, key)
        out = self._attend(tape, query, key, value)
        if setup.keep_cache:
            tape.meter.held.append(Buffer(tape.meter, key.count * key.width + value.count * value.width))
        query = key = value = x
        return self.linear(tape, out, self._output_name())

    def _output_name(self) -> str:
        return next(n for n in reversed(self.names) if self.linears[n].shape.group == "attention")

    def _project(self, tape: Tape, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        facts = self.setup.facts
        query_count, kv_count = self.tokens * facts.query_dim, self.tokens * facts.kv_dim
        if facts.low_rank_key:
            return self._latent(tape, x)
        if len(self.family.attention) == 2:
            fused = self.linear(tape, x, self.family.attention[0])
            parts = [
                tape.op(count, fused.width, (fused,), view=fused.buffer)
                for count in (query_count, kv_count, kv_count)
            ]
            return parts[0], parts[1], parts[2]
        query = self.linear(tape, x, self.family.attention[0])
        if self.family.qk_norm:
            query = norm(tape, query, self, None)
        key = self.linear(tape, x, self.family.attention[1])
        if self.family.qk_norm:
            key = norm(tape, key, self, None)
        value = self.linear(tape, x, self.family.attention[2])
        return query, key, value

    def _latent(self, tape: Tape, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        facts = self.setup.facts
        if facts.low_rank_query:
            low = norm(tape, self.linear(tape, x, "q_a_proj"), self, None)
            query = self.linear(tape, low, "q_b_proj")
        else:
            query = self.linear(tape, x, "q_proj")
        packed = self.linear(tape, x, "kv_a_proj_with_mqa")
        both = self.linear(tape, norm(tape, packed, self, None), "kv_b_proj")
        key = tape.op(self.tokens * facts.query_dim, both.width, (both,))  # cat with the rotated part
        value = tape.op(self.tokens * facts.heads * facts.value_dim, both.width, (both,), view=both.buffer)
        return query, key, value

    def _attend(self, tape: Tape, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        setup, facts = self.setup, self.setup.facts
        heads = self.tokens * facts.heads
        if query.width == SINGLE and setup.compute == HALF and setup.attention == "flash":
            query, key, value = (tape.cast(part, HALF) for part in (query, key, value))
        if setup.attention == "eager":
            return self._eager(tape, query, key, value)
        expanded = key.count < query.count and setup.expand_keys
        if expanded:
            key = tape.op(query.count, key.width, (key,))
            value = tape.op(query.count, value.width, (value,))
        logsumexp = Buffer(tape.meter, SINGLE * heads)
        out_count = query.count if not facts.value_dim else heads * facts.value_dim
        saved = [query.buffer, key.buffer, value.buffer, logsumexp]
        mask = 0.0
        if setup.attention == "masked":
            mask = float(setup.batch * setup.length * setup.length * query.width)
            saved.append(Buffer(tape.meter, mask))
        # FlashAttention 2's backward pass accumulates dq in float32 and keeps a float32 row sum
        extra = SINGLE * (query.count + heads)
        if key.count < query.count:
            extra += 2 * query.count * query.width  # dk and dv of all heads, before they are summed
        out = Buffer(tape.meter, out_count * query.width)
        saved.append(out)
        return tape.op(out_count, query.width, (query, key, value), tuple(saved), extra=extra, view=out)

    def _eager(self, tape: Tape, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """`eager_attention_forward`: scores in the clear, softmax in float32."""
        setup = self.setup
        if key.count < query.count:
            key = tape.op(query.count, key.width, (key,))
            value = tape.op(query.count, value.width, (value,))
        count = float(setup.facts.heads) * setup.batch * setup.length * setup.length
        width = HALF if setup.autocast else query.width
        scores = tape.op(count, width, (query, key), (query.buffer, key.buffer))
        scores = tape.op(count, width, (scores,))
        if self.family.softcap:  # tanh(scores / cap) * cap
            bent = Buffer(tape.meter, count * width)
            scores = tape.op(count, width, (scores,), (bent,), view=bent)
            del bent
            scores = tape.op(count, width, (scores,))
        scores = tape.op(count, width, (), same=(scores,))
        soft = Buffer(tape.meter, count * SINGLE)
        weights = tape.op(count, SINGLE, (scores,), (soft,), view=soft)
        del scores, soft
        weights = tape.cast(weights, width)
        out = tape.op(query.count, width, (weights, value), (weights.buffer, value.buffer))
        return tape.op(query.count, width, (out,))

    def mlp(self, tape: Tape, x: Tensor, suffix: str = "mlp") -> Tensor:
        names = self.family.mlp
        if len(names) == 3:
            gate = activate(tape, self.linear(tape, x, names[0]), self.setup)
            up = self.linear(tape, x, names[1])
            return self.linear(tape, multiply(tape, gate, up), names[2])
        first = self.linear(tape, x, names[0])
        if self.family.gated:
            half = first.count / 2
            gate = tape.op(half, first.width, (first,), view=first.buffer)
            up = tape.op(half, first.width, (first,), view=first.buffer)
            return self.linear(tape, multiply(tape, up, activate(tape, gate, self.setup)), names[1])
        name = names[1] if names[1] in self.linears else self._output_name()
        return self.linear(tape, activate(tape, first, self.setup), name)

    def mixture(self, tape: Tape, x: Tensor) -> Tensor:
        """Routed experts: every token goes through `experts_per_token` of them, weighted."""
        facts = self.setup.facts
        router = self.linear(tape, x, "gate")
        weights = tape.op(router.count, SINGLE, (router,))  # softmax, in float32
        routed = self.tokens * facts.experts_per_token
        total = tape.op(x.count, x.width, (), same=(x,))
        gathered = tape.op(routed * facts.hidden, x.width, (x,))
        names = self.family.mlp
        if len(names) == 3:
            gate = activate(tape, self.linear(tape, gathered, names[0]), self.setup)
            up = self.linear(tape, gathered, names[1])
            out = self.linear(tape, multiply(tape, gate, up), names[2])
            del gate, up
        else:
            out = self.linear(
                tape, activate(tape, self.linear(tape, gathered, names[0]), self.setup), names[1]
            )
        scaled = tape.op(out.count, out.width, (out,), (out.buffer, weights.buffer))
        del out, gathered
        total = tape.op(x.count, x.width, (scaled,), same=(total,), view=total.buffer)
        if facts.shared_ffn:
            total = add(tape, total, self._shared_expert(tape, x))
        return total

    def _shared_expert(self, tape: Tape, x: Tensor) -> Tensor:
        facts = self.setup.facts
        inner = self.tokens * facts.shared_ffn
        gate = activate(tape, tape.op(inner, HALF, (x,)), self.setup)
        up = tape.op(inner, HALF, (x,))
        return tape.op(x.count, x.width, (multiply(tape, gate, up),))


class Matrix:
    """A linear layer: frozen or trained, quantised or not, with or without an adapter (PEFT)."""

    def __init__(self, layer: Layer, shape: Linear) -> None:
        setup = layer.setup
        self.shape, self.setup = shape, setup
        self.count = float(shape.inputs * shape.outputs) * shape.copies
        self.quantised = setup.quantization != "none" and setup.stack.quantises(shape)
        self.width = setup.weight
        self.trained = layer.full
        self.weight = Parameter(self.count, self.width) if self.trained else None
        self.adapted = layer.trained and bool(setup.rank) and setup.stack.adapts(shape, setup.targets)
        self.down = self.up = self.magnitude = self.vector = None
        if self.adapted and setup.variant == "ia3":
            self.vector = Parameter(float(shape.outputs), setup.adapter)
        elif self.adapted:
            self.down = Parameter(float(setup.rank * shape.inputs) * shape.copies, setup.adapter)
            self.up = Parameter(float(setup.rank * shape.outputs) * shape.copies, setup.adapter)
            if setup.variant == "dora":
                self.magnitude = Parameter(float(shape.outputs), setup.adapter)
        own = (self.weight, self.down, self.up, self.magnitude, self.vector)
        layer.parameters += [parameter for parameter in own if parameter is not None]

    def __call__(self, tape: Tape, x: Tensor) -> Tensor:
        rows = x.count / self.shape.inputs
        result = self._quantised(tape, x, rows) if self.quantised else self._plain(tape, x, rows)
        return self._adapt(tape, x, result, rows) if self.adapted else result

    def _plain(self, tape: Tape, x: Tensor, rows: float) -> Tensor:
        setup = self.setup
        width = setup.compute if setup.autocast else max(self.width, x.width)
        inner = tape.cast(x, width)
        saved: list[Buffer] = []
        parameters: tuple[tuple[Parameter, float], ...] = ()
        if self.weight is not None:
            saved.append(inner.buffer)
            parameters = ((self.weight, self.count * width),)
        if self.width != width:  # autocast's copy of the weights, kept for the input's gradient
            copy = Buffer(tape.meter, self.count * width, "16-bit copies of weights")
            saved.append(copy)
            if self.weight is not None:
                tape.meter.cache.append(copy)
        return tape.op(rows * self.shape.outputs, width, (inner,), tuple(saved), parameters=parameters)

    def _quantised(self, tape: Tape, x: Tensor, rows: float) -> Tensor:
        """bitsandbytes: Linear4bit computes in `compute` and returns what came in; Linear8bitLt keeps its
        input, and multiplies int8 into int32."""
        setup = self.setup
        width = setup.compute
        whole = self.count / self.shape.copies * width  # one matrix, dequantised
        out_count = rows * self.shape.outputs
        if setup.quantization == "int8":
            temporary = Buffer(tape.meter, x.count + SINGLE * out_count, "int8 products")
            out = tape.op(out_count, x.width, (x,), (x.buffer,), extra=whole)
            del temporary
            return out
        inner = tape.cast(x, width)
        temporary = Buffer(tape.meter, whole, "dequantised weights")
        out = tape.op(out_count, width, (inner,), extra=whole)
        del temporary
        return tape.cast(out, x.width)

    def _adapt(self, tape: Tape, x: Tensor, result: Tensor, rows: float) -> Tensor:
        """`result + lora_B(lora_A(dropout(x))) * scaling`, or IA3's `result * scaling`."""
        setup, width = self.setup, result.width
        if self.vector is not None:
            grads = ((self.vector, self.vector.count * setup.adapter),)
            extra = result.count * setup.adapter  # the product, before it is summed over the rows
            scaled = tape.op(
                result.count, setup.adapter, (result,), (result.buffer,), parameters=grads, extra=extra
            )
            return tape.cast(scaled, width)
        if not (setup.autocast and self.quantised):  # PEFT's 4-bit layers leave the cast to autocast
            x = tape.cast(x, setup.adapter)
        x_in = dropout(tape, x, setup.dropout)
        compute = setup.compute if setup.autocast else setup.adapter
        x_in = tape.cast(x_in, compute)
        assert self.down is not None and self.up is not None
        small = rows * setup.rank
        copies = self._copies(tape, compute)
        low = tape.op(
            small,
            compute,
            (x_in,),
            (x_in.buffer, *copies),
            parameters=((self.down, self.down.count * compute),),
        )
        del x_in
        out_count = rows * self.shape.outputs
        high = tape.op(
            out_count, compute, (low,), (low.buffer,), parameters=((self.up, self.up.count * compute),)
        )
        high = tape.op(out_count, high.width, (high,))
        if self.magnitude is not None:
            high = self._dora(tape, result, high)
        total = add(tape, result, high)
        del high
        return tape.cast(total, width)

    def _copies(self, tape: Tape, compute: int) -> tuple[Buffer, ...]:
        """Autocast's 16-bit copies of the adapter."""
        assert self.down is not None and self.up is not None
        if self.down.width == compute:
            return ()
        copy = Buffer(tape.meter, (self.down.count + self.up.count) * compute, "16-bit copies of weights")
        tape.meter.cache.append(copy)
        return (copy,)

    def _dora(self, tape: Tape, result: Tensor, high: Tensor) -> Tensor:
        """`(scale - 1) * base + scale * lora` (PEFT's DoRA layer); the norm itself has no gradient."""
        assert self.magnitude is not None
        base = tape.op(result.count, result.width, (result,), (result.buffer,))
        scaled = tape.op(
            high.count,
            high.width,
            (high,),
            (high.buffer,),
            parameters=((self.magnitude, self.magnitude.count * high.width),),
        )
        return add(tape, base, scaled)


def norm(tape: Tape, x: Tensor, layer: Layer, parameter: Parameter | None) -> Tensor:
    """RMSNorm as transformers writes it (a float32 copy is kept), or PyTorch's layer_norm."""
    setup = layer.setup
    if layer.family.norm in ("layer", "plain"):
        inner = tape.cast(x, SINGLE) if setup.autocast else x
        grads = ((parameter, parameter.count * inner.width),) if parameter else ()
        return tape.op(x.count, inner.width, (inner,), (inner.buffer,), parameters=grads)
    hidden = tape.cast(x, SINGLE)
    power = tape.op(hidden.count, SINGLE, (hidden,), (hidden.buffer,), extra=2 * hidden.count * SINGLE)
    rows = x.count / setup.facts.hidden
    variance = tape.op(rows, SINGLE, (power,))
    del power
    scaled = tape.op(hidden.count, SINGLE, (hidden, variance), (hidden.buffer,), extra=hidden.count * SINGLE)
    hidden = scaled
    del scaled
    back = tape.cast(hidden, x.width)
    width = max(back.width, setup.norm)
    grads = ((parameter, parameter.count * width),) if parameter else ()
    saved = (back.buffer,) if parameter else ()
    extra = back.count * width if parameter else 0.0
    return tape.op(back.count, width, (back,), saved, parameters=grads, extra=extra)


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
