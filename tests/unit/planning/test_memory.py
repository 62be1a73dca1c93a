"""The memory ledger: shape of the answer, published rows, and libraries' own behaviour."""

from __future__ import annotations

import csv
import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.call_counting import count_calls
from tui_tuner.config.schema import RunConfig
from tui_tuner.errors import HardwareError, UsageError
from tui_tuner.models.facts import read_config_facts
from tui_tuner.planning.estimate import estimate_memory
from tui_tuner.planning.gpus import CARDS, find_gpu_card
from tui_tuner.planning.memory.ledger import make_ledger
from tui_tuner.planning.memory.setup import Setup
from tui_tuner.planning.memory.stack import find_installed_stack, make_library_stack, parse_stack
from tui_tuner.planning.memory.static import list_static_rows

ROOT = Path(__file__).parents[2]
REPOSITORY = Path(__file__).parents[3]
MOST_CALLS = 100_000
LLAMA_8B = {
    "model_type": "llama",
    "hidden_size": 4096,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "intermediate_size": 14336,
    "vocab_size": 128256,
}
MIXTRAL = {
    "model_type": "mixtral",
    "hidden_size": 4096,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "intermediate_size": 14336,
    "vocab_size": 32000,
}
BERT = {"model_type": "bert"}
GPT2 = {"model_type": "gpt2", "n_embd": 768, "n_layer": 12, "n_head": 12, "vocab_size": 50257}


def run(facts=LLAMA_8B, card="A100-80", **sections):
    sections.setdefault("training", {})
    sections["training"].setdefault("micro_batch", 2)
    return estimate_memory(RunConfig.model_validate(sections), facts=read_config_facts(facts), card=card)


@pytest.mark.parametrize("facts", [LLAMA_8B, MIXTRAL, BERT, GPT2])
@pytest.mark.parametrize("method", ["lora", "full", "freeze", "dora"])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_rows_sum_to_the_peak_and_to_the_device(facts, method, checkpointing):
    found = run(
        facts,
        method={"kind": method, "layers": 2 if method == "freeze" else None},
        training={"gradient_checkpointing": checkpointing},
    )
    peak = sum(row.gib for row in found.rows if row.phase == found.phase)
    assert peak == pytest.approx(found.allocated, abs=1e-9)
    assert sum(row.gib for row in found.rows) == pytest.approx(found.device, abs=1e-9)
    assert all(row.gib > 0 for row in found.rows)
    assert found.static <= found.allocated <= found.reserved <= found.device
    assert max(found.phases.values()) == pytest.approx(found.allocated, abs=1e-9)


def test_published_rows_are_met():
    """Tier A of the published measurements, scored by the same code as the benchmark."""
    path = ROOT / "benchmarks" / "bench_memory.py"
    spec = importlib.util.spec_from_file_location("bench_memory", path)
    bench = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(bench)
    errors = []
    with open(bench.FIXTURE, newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if "reserved" not in row["metric"]:
                peak = make_ledger(bench.setup_of(row)).peak_phase.total_bytes / 2**30
                errors.append(abs(peak / float(row["measured_peak_gib"]) - 1))
    assert len(errors) == 8
    assert max(errors) < 0.01


def test_four_bit_bytes_per_parameter():
    """0.51587 bytes with double quantisation, 0.5625 without (bitsandbytes' block sizes)."""
    facts = read_config_facts(LLAMA_8B)
    quantised = facts.layers * sum(linear.weights for linear in facts.layer_linears)

    def bytes_per_parameter(double):
        setup = Setup(
            facts,
            find_installed_stack(),
            1,
            16,
            rank=0,
            quantization="nf4",
            double_quant=double,
            workspace=0.0,
        )
        rows = list_static_rows(setup)
        rest = 2 * (facts.parameters - quantised)
        return (rows["weights"] + rows["quantisation constants"] - rest) / quantised

    assert bytes_per_parameter(True) == pytest.approx(0.51587, rel=1e-3)
    assert bytes_per_parameter(False) == pytest.approx(0.5625, rel=1e-3)


def test_levers_move_memory_the_way_they_do():
    base = run().allocated
    assert run(training={"gradient_checkpointing": True}).allocated < base
    assert run(training={"micro_batch": 1}).allocated < base
    assert run(model={"quantization": "nf4"}).allocated < base
    assert run(training={"loss": "full_logits"}).allocated >= base
    assert run(model={"attention": "eager"}).allocated > base
    assert run(data={"packing": False}).allocated > base
    assert run(method={"dropout": 0.1}).allocated > base
    assert run(method={"kind": "full"}).allocated > 3 * base
    small = run(method={"kind": "full"}, training={"optimizer": "adamw_8bit"}).allocated
    paged = run(method={"kind": "full"}, training={"optimizer": "paged_adamw_8bit"}).static
    assert paged < run(method={"kind": "full"}, training={"optimizer": "adamw_8bit"}).static
    assert small < run(method={"kind": "full"}).allocated


def test_full_fine_tuning_bytes_per_parameter():
    """Float32 weights with mixed precision: 16 bytes a parameter when the optimizer steps."""
    found = run(method={"kind": "full"}, data={"max_length": 16}, training={"micro_batch": 1})
    parameters = read_config_facts(LLAMA_8B).parameters
    assert found.phases["optimizer step"] * 2**30 / parameters == pytest.approx(16, rel=0.01)


def test_older_libraries_need_more_for_logits():
    facts, stacks = read_config_facts(LLAMA_8B), ("4.45.2", "4.48.1", "5.23.0")
    old, middle, new = (
        make_ledger(
            Setup(
                facts,
                make_library_stack({"transformers": version, "torch": "2.4.1"}),
                1,
                4096,
                checkpointing=True,
            )
        ).peak_phase.total_bytes
        / (facts.vocab * 4096)
        for version in stacks
    )
    assert middle - old == pytest.approx(2, abs=0.3), "the 16-bit logits are kept"
    assert middle - new == pytest.approx(2, abs=0.3), "the shifted copy is gone"


def test_older_bitsandbytes_keeps_the_inputs_of_4_bit_layers():
    facts, tokens = read_config_facts(LLAMA_8B), 512

    def kept(version):
        stack = make_library_stack({"transformers": "5.23.0", "torch": "2.13.0", "bitsandbytes": version})
        setup = Setup(facts, stack, 1, tokens, rank=0, trains_norms=True, quantization="nf4", autocast=False)
        return next(phase for phase in make_ledger(setup).phases if phase.name == "loss").rows["activations"]

    # of q, k and v together, of gate and up together, and of down; that of o is attention's own result
    inputs = 2 * (4096 + 4096 + 14336)
    assert (kept("0.41.1") - kept("0.43.3")) / (32 * tokens) == pytest.approx(inputs, rel=0.02)


def test_estimates_are_fast_and_need_no_torch(tmp_path):
    code = (
        "import sys\n"
        "from tests.call_counting import count_calls\n"
        "from tui_tuner.config.schema import RunConfig\n"
        "from tui_tuner.planning.estimate import estimate_memory\n"
        "config = RunConfig.model_validate({'model': {'name': sys.argv[1]}})\n"
        "estimate_memory(config, card='T4')\n"
        "used = count_calls(lambda: estimate_memory(config, card='RTX 4090'))\n"
        "assert not {'torch', 'transformers', 'peft'} & set(sys.modules), sorted(sys.modules)\n"
        "print(used)\n"
    )
    (tmp_path / "config.json").write_text(json.dumps(LLAMA_8B))
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
        cwd=REPOSITORY,
    )
    assert int(done.stdout) < MOST_CALLS


def test_a_big_model_takes_no_longer():
    big = {**LLAMA_8B, "num_hidden_layers": 126, "hidden_size": 16384, "num_attention_heads": 128}
    assert count_calls(lambda: run(big)) < MOST_CALLS


def test_unknown_architectures_and_stacks_are_unverified():
    strange = run({**LLAMA_8B, "model_type": "llama9000"})
    assert not strange.verified and "llama9000" in strange.reason and strange.band > run().band
    facts = read_config_facts(LLAMA_8B)
    config = RunConfig.model_validate({"training": {"micro_batch": 1}})
    future = estimate_memory(config, facts=facts, stack=parse_stack("transformers==7.0.0"))
    assert not future.verified and "7.0.0" in future.reason
    assert estimate_memory(
        config, facts=facts, stack=parse_stack("transformers==4.48.1,torch==2.4.1")
    ).verified


@pytest.mark.parametrize("text", ["transformers", "transformers==", "nonsense==1.0", "torch=2.4"])
def test_bad_stacks_are_refused(text):
    with pytest.raises(UsageError):
        parse_stack(text)


def test_cards_by_name_and_size():
    assert find_gpu_card("rtx4090").name == "RTX 4090"
    assert find_gpu_card("NVIDIA A100-80GB").name == "A100-80"
    assert find_gpu_card("24GiB").usable == 24
    assert find_gpu_card("3090").name == "RTX 3090"
    assert all(0 < card.usable < card.total for card in CARDS.values())
    for wrong in ("RTX 9999", "-5GiB", "0", "1e9GiB", "9090", ""):
        with pytest.raises(HardwareError):
            find_gpu_card(wrong)
