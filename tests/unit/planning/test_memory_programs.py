"""Programs with model code of their own: published peaks, and what their operations keep."""

from __future__ import annotations

import dataclasses

import pytest

from tui_tuner.methods.numbers.terms import Form
from tui_tuner.models.facts import read_config_facts
from tui_tuner.planning.estimate import GIB, estimate_memory
from tui_tuner.planning.memory.head import HEAD
from tui_tuner.planning.memory.ledger import LOSS, STEP, make_ledger
from tui_tuner.planning.memory.lit_gpt import DROPOUT
from tui_tuner.planning.memory.meter import Meter, Tape
from tui_tuner.planning.memory.programs import find_simulated_program, make_program_layer
from tui_tuner.planning.memory.setup import Setup
from tui_tuner.planning.memory.stack import make_library_stack, parse_stack
from tui_tuner.planning.memory.torchtune import TuneLayer

LLAMA_7B = {
    "model_type": "llama",
    "hidden_size": 4096,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "intermediate_size": 11008,
    "vocab_size": 32000,
}
PHI = {
    "model_type": "phi",
    "hidden_size": 2048,
    "num_hidden_layers": 24,
    "num_attention_heads": 32,
    "intermediate_size": 8192,
    "vocab_size": 51200,
}
LLAMA_3B = {
    "model_type": "llama",
    "hidden_size": 3072,
    "num_hidden_layers": 28,
    "num_attention_heads": 24,
    "num_key_value_heads": 8,
    "intermediate_size": 8192,
    "vocab_size": 128256,
    "tie_word_embeddings": True,
}
LIT = {"lit-gpt": "2023.10", "torch": "2.1.0", "bitsandbytes": "0.41.1"}
TUNE = {"torchtune": "0.5", "torch": "2.5"}
HALVES = {"adapter": 2, "autocast": False, "logits": "chunked"}
NF4 = {"quantization": "nf4", "double_quant": False}


def lit(config, batch, length, **changes):
    defaults = {"targets": frozenset(["q_proj", "v_proj"]), "rank": 8, "dropout": DROPOUT, "foreach": True}
    return Setup(
        read_config_facts(config), make_library_stack(LIT), batch, length, **{**HALVES, **defaults, **changes}
    )


def tune(config, batch, length, **changes):
    full = {"whole_model": True, "kind": "full", "rank": 0}
    return Setup(
        read_config_facts(config), make_library_stack(TUNE), batch, length, **{**HALVES, **full, **changes}
    )


@pytest.mark.parametrize(
    ("setup", "gigabytes"),
    [
        (lit(PHI, 1, 1044), 4.82),
        (lit(PHI, 4, 1044), 10.68),
        (lit(PHI, 1, 1044, **NF4), 3.78),
        (lit(LLAMA_7B, 1, 1304), 21.30),
        (lit(LLAMA_7B, 2, 1304), 29.07),
        (lit(LLAMA_7B, 1, 1304, quantization="nf4"), 13.84),
        (lit(LLAMA_7B, 1, 1304, form=Form.LLAMA_ADAPTER, rank=0, layers=30), 19.98),
        (lit(LLAMA_7B, 1, 1304, form=Form.LLAMA_ADAPTER, rank=0, layers=30, **NF4), 12.68),
        (lit(LLAMA_7B, 1, 1304, form=Form.LLAMA_ADAPTER_V2, rank=0), 25.51),
        (lit(LLAMA_7B, 1, 1304, form=Form.LLAMA_ADAPTER_V2, rank=0, **NF4), 18.30),
    ],
)
def test_lit_gpt_as_it_published_it(setup, gigabytes):
    """tutorials/resource-tables.md of lit-gpt, 20 October 2023, in units of 10^9 bytes."""
    assert make_ledger(setup).peak_phase.total_bytes / 1e9 == pytest.approx(gigabytes, rel=0.01)


COMPILED = {"compiled": True}
CHECKPOINTED = {**COMPILED, "checkpointing": True}
IN_BACKWARD = {**CHECKPOINTED, "in_backward": True}


@pytest.mark.parametrize(
    ("changes", "published"),
    [
        ({"logits": "full"}, 60.0),
        (COMPILED, 42.9),
        (CHECKPOINTED, 24.9),
        (IN_BACKWARD, 23.1),
        ({**IN_BACKWARD, "offload": True}, 21.8),
    ],
)
def test_torchtune_as_it_published_it(changes, published):
    """The table of optimisations in torchtune's README: Llama 3.2 3B, 2 x 4096 packed tokens, in GiB."""
    assert make_ledger(tune(LLAMA_3B, 2, 4096, **changes)).peak_phase.total_bytes / GIB == pytest.approx(
        published, rel=0.03
    )


def activations(setup):
    """Bytes that one more layer keeps until the loss, for each token."""

    def at_loss(layers):
        facts = dataclasses.replace(setup.facts, layers=layers)
        found = make_ledger(dataclasses.replace(setup, facts=facts))
        rows = next(phase for phase in found.phases if phase.name == LOSS).rows
        return rows["activations"] + rows.get("checkpoints", 0.0)

    return (at_loss(3) - at_loss(2)) / setup.total_tokens


def test_lit_gpt_keeps_by_hand():
    """Two float32 norms, the dropped-out input with its mask, index_copy's source, rotated queries and keys,
    the product that the values are a view of, attention's result, and the MLP's three."""
    setup = lit(LLAMA_7B, 1, 1024)
    hidden, inner, heads, rank = 4096, 11008, 32, 8
    by_hand = hidden * (8 + 3 + 4 + 2 + 2 + 6 + 2) + 6 * inner + 4 * heads + 2 * 2 * rank
    assert activations(setup) == pytest.approx(by_hand, rel=1e-3)
    quantised = dataclasses.replace(setup, **NF4)
    inputs = 3 * 2 * hidden + 2 * inner  # of attn, proj, fc_1 and fc_2 together, and the MLP's proj
    assert activations(quantised) == pytest.approx(by_hand + inputs, rel=1e-3)


def test_torchtune_keeps_by_hand():
    """Inputs of the norms and of the matrices, attention's four, gate, up and their product; not compiled,
    two float32 copies in place of the norms' inputs, their 16-bit results, and SiLU's."""
    setup = tune(LLAMA_3B, 2, 1024, compiled=True)
    hidden, inner, heads = 3072, 8192, 24
    by_hand = hidden * 2 * (1 + 1 + 3 + 1 + 1 + 1) + 3 * 2 * inner + 4 * heads + 2 * 4
    assert activations(setup) == pytest.approx(by_hand, rel=1e-3)
    eager = dataclasses.replace(setup, compiled=False)
    more = 2 * (4 + 2 - 2) * hidden + 2 * inner
    assert activations(eager) == pytest.approx(by_hand + more, rel=2e-3)


def test_index_copy_keeps_its_source():
    torch = pytest.importorskip("torch")
    source = torch.randn(2, 2, requires_grad=True)
    padded = torch.zeros(2, 3).index_copy(1, torch.tensor([0, 2]), source)
    assert padded.grad_fn._saved_source.data_ptr() == source.data_ptr()


@pytest.mark.parametrize("trained", ["full", "lora"])
def test_a_compiled_mlp_keeps_what_the_partitioner_keeps(trained):
    """The second half of a torchtune layer, through AOTAutograd's min-cut partitioner."""
    torch = pytest.importorskip("torch")
    hidden, inner, tokens, rank = 64, 160, 256, 4
    kept = partitioned(torch, hidden, inner, tokens, rank, trained)
    config = {
        **LLAMA_3B,
        "hidden_size": hidden,
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
        "intermediate_size": inner,
    }
    changes = {} if trained == "full" else {"whole_model": False, "kind": "lora", "rank": rank}
    targets = frozenset(["gate_proj", "up_proj", "down_proj"])
    layer = TuneLayer(tune(config, 1, tokens, compiled=True, targets=targets, **changes), True)
    meter = Meter()
    meter.enter_phase("forward")
    tape = Tape(meter)
    x = tape.make_source(float(tokens * hidden), 2, grad=True)
    from tui_tuner.planning.memory.ops import simulate_addition
    from tui_tuner.planning.memory.torchtune import simulate_tune_norm

    normed = simulate_tune_norm(layer.setup, tape, x, layer.norms[1], True)
    out = simulate_addition(tape, x, layer._run_mlp(tape, normed))
    del normed
    assert meter.live - out.buffer.size == pytest.approx(kept, rel=0.01)


def partitioned(torch, hidden, inner, tokens, rank, trained):
    """Bytes that the compiled function keeps from forward to backward, weights aside."""
    from torch._functorch.aot_autograd import aot_module_simplified
    from torch._functorch.partitioners import min_cut_rematerialization_partition
    from torch._inductor.decomposition import select_decomp_table
    from torch.nn.functional import linear, silu

    class Half(torch.nn.Module):
        def __init__(self):
            super().__init__()
            whole, shapes = (
                trained == "full",
                {"g": (inner, hidden), "u": (inner, hidden), "d": (hidden, inner)},
            )
            self.scale = torch.nn.Parameter(torch.ones(hidden, dtype=torch.bfloat16), requires_grad=whole)
            for name, (out, into) in shapes.items():
                self.register_parameter(name, self.matrix(out, into, whole))
                if not whole:
                    self.register_parameter(f"{name}_down", self.matrix(rank, into, True))
                    self.register_parameter(f"{name}_up", self.matrix(out, rank, True))

        def matrix(self, out, into, grad):
            return torch.nn.Parameter(torch.zeros(out, into, dtype=torch.bfloat16), requires_grad=grad)

        def times(self, x, name):
            result = linear(x, getattr(self, name))
            if trained == "full":
                return result
            return result + 2 * linear(linear(x, getattr(self, f"{name}_down")), getattr(self, f"{name}_up"))

        def forward(self, x):
            single = x.float()
            normed = single * torch.rsqrt(single.pow(2).mean(-1, keepdim=True) + 1e-6)
            normed = normed.type_as(x) * self.scale
            return (x + self.times(silu(self.times(normed, "g")) * self.times(normed, "u"), "d"),)

    found = []

    def forward(graph, _):
        (output,) = (node for node in graph.graph.nodes if node.op == "output")
        values = [node.meta["val"] for node in output.args[0][1:]]
        found.extend(value for value in values if tokens in value.shape)
        return graph

    x = torch.zeros(1, tokens, hidden, dtype=torch.bfloat16, requires_grad=True)
    compiled = aot_module_simplified(
        Half(),
        (x,),
        fw_compiler=forward,
        bw_compiler=lambda graph, _: graph,
        partition_fn=min_cut_rematerialization_partition,
        decompositions=select_decomp_table(),
    )
    compiled(x)
    return sum(value.numel() * value.element_size() for value in found)


def test_an_optimizer_in_the_backward_pass_keeps_no_gradients():
    after = make_ledger(tune(LLAMA_3B, 1, 512, **CHECKPOINTED))
    within = make_ledger(tune(LLAMA_3B, 1, 512, **IN_BACKWARD))
    gradients = 2 * read_config_facts(LLAMA_3B).parameters
    step = {phase.name: phase for phase in after.phases}[STEP]
    assert step.rows["gradients"] == pytest.approx(gradients, rel=0.01)
    assert after.peak_phase.total_bytes - within.peak_phase.total_bytes > 0.5 * gradients
    table = 2 * 128256 * 3072  # tied, so its gradient waits for the embeddings' own
    assert within.phases[-2].rows["gradients"] >= table


def test_programs_are_asked_for_by_their_version():
    facts = read_config_facts(LLAMA_3B)
    from tui_tuner.config.schema import RunConfig

    config = RunConfig.model_validate({"training": {"micro_batch": 1}})
    known = estimate_memory(config, facts=facts, stack=parse_stack("torchtune==0.5.0"))
    later = estimate_memory(config, facts=facts, stack=parse_stack("torchtune==7.1"))
    assert known.verified and not later.verified and "7.1" in later.reason and later.band > known.band
    assert known.stack["torchtune"] == "0.5.0"
    ours = estimate_memory(config, facts=facts)
    assert known.allocated != ours.allocated
    mixture = {**LLAMA_3B, "model_type": "mixtral"}
    strange = estimate_memory(config, facts=read_config_facts(mixture), stack=parse_stack("lit-gpt==2023.10"))
    assert not strange.verified and "mixtral" in strange.reason
    config.method.kind = "ia3"
    odd = estimate_memory(config, facts=facts, stack=parse_stack("torchtune==0.5.0"))
    assert not odd.verified and "ia3" in odd.reason


def test_a_program_without_that_architecture_falls_back_to_transformers():
    encoder = read_config_facts({"model_type": "bert"})
    setup = Setup(encoder, make_library_stack(TUNE), 1, 64)
    assert find_simulated_program(setup) == "transformers" and not isinstance(
        make_program_layer(setup, True), TuneLayer
    )
    assert make_ledger(setup).peak_phase.rows[HEAD] > 0
