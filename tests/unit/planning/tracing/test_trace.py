"""Tier 1 against tier 2: the ledger against the installed libraries' own code, traced."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import threading
import time

import psutil
import pytest

from tui_tuner.errors import RunError
from tui_tuner.launch.helper import Cancelled
from tui_tuner.launch.tracing import Tracer
from tui_tuner.methods.numbers.terms import NO_LAYERS, Form, Sublayers
from tui_tuner.models.catalog import find_catalog_config
from tui_tuner.models.facts import read_config_facts
from tui_tuner.planning import trace_check
from tui_tuner.planning.memory.setup import Setup
from tui_tuner.planning.memory.stack import find_installed_stack, parse_stack
from tui_tuner.planning.trace_check import explain_untraceable, make_trace_request

pytest.importorskip("peft")
ALL = frozenset(["all-linear"])
WIDE = {"weight": 4, "norm": 4, "embedding": 4}
FULL = {"kind": "full", "whole_model": True, "rank": 0, **WIDE}
HALF = {"kind": "full", "whole_model": True, "rank": 0, "autocast": False}
FREEZE = {**FULL, "kind": "freeze", "whole_model": False, "whole_layers": True, "layers": 4}
HEAD_ALONE = {**FREEZE, "layers": NO_LAYERS, "trains_head": True}
NF4 = {"quantization": "nf4"}
INT8 = {"quantization": "int8"}
DORA = {"kind": "dora", "form": Form.MAGNITUDES}
ADALORA = {"kind": "adalora", "form": Form.SINGULAR, "measured": 3}
EXPERTS = {"targets": frozenset(["all-linear", "experts"])}
QUICK = {"quick": True}
CHECKPOINTING = {"checkpointing": True}
EVERY_SECOND = {"checkpointing": True, "every_second": True}
OFFLOAD = {"checkpointing": True, "offload": True}
LLAMA, MIXTRAL = "meta-llama/Llama-3.2-1B", "mistralai/Mixtral-8x7B-v0.1"
SPARSE = {
    "hidden_size": 1024,
    "num_hidden_layers": 3,
    "num_attention_heads": 16,
    "num_key_value_heads": 4,
    "intermediate_size": 5632,
    "moe_intermediate_size": 704,
    "shared_expert_intermediate_size": 2816,
    "num_experts": 16,
    "num_experts_per_tok": 4,
    "vocab_size": 32000,
}
RAW = {
    "bert": {"model_type": "bert"},
    "gpt2": {"model_type": "gpt2", "n_embd": 768, "n_layer": 12, "n_head": 12, "vocab_size": 50257},
    "gpt2 by other names": {"model_type": "gpt2", "hidden_size": 384, "num_hidden_layers": 9},
    "phi": {
        "model_type": "phi",
        "hidden_size": 2048,
        "num_hidden_layers": 24,
        "num_attention_heads": 32,
        "intermediate_size": 8192,
        "vocab_size": 51200,
    },
    "qwen2_moe": {**SPARSE, "model_type": "qwen2_moe", "num_hidden_layers": 12},
    "one dense layer of three": {**SPARSE, "model_type": "qwen2_moe", "mlp_only_layers": [1]},
    "the last of three is dense": {
        **SPARSE,
        "model_type": "qwen3_moe",
        "head_dim": 64,
        "mlp_only_layers": [2],
    },
}


def bottleneck(style, size, **more):
    told = Sublayers(style, (size,), scaled=style == "parallel", **more)
    return {"kind": "bottleneck", "form": Form.SUBLAYERS, "rank": 0, "sublayers": told}


def fusion(style, sizes):
    told = Sublayers(style, sizes, fused=True)
    return {"kind": "fusion", "form": Form.SUBLAYERS, "rank": 0, "sublayers": told}


GRID = [
    (LLAMA, {}),
    (LLAMA, {"autocast": False}),
    (LLAMA, {**CHECKPOINTING, "dropout": 0.1}),
    (LLAMA, {**NF4, "accumulate": True}),
    (LLAMA, {**NF4, "double_quant": False, **CHECKPOINTING}),
    (LLAMA, INT8),
    (LLAMA, {**INT8, **CHECKPOINTING}),
    (LLAMA, DORA),
    (LLAMA, {**DORA, **NF4, **CHECKPOINTING}),
    (LLAMA, ADALORA),
    (LLAMA, {**ADALORA, **NF4, **CHECKPOINTING, "dropout": 0.1}),
    (LLAMA, {"ranks": (("v_proj", 64), ("down_proj", 2))}),
    (LLAMA, FULL),  # tied
    (LLAMA, {**FULL, "accumulate": True}),
    (LLAMA, {**HALF, **CHECKPOINTING}),
    (LLAMA, FREEZE),
    (LLAMA, {**FREEZE, **CHECKPOINTING}),
    ("Qwen/Qwen3-8B", HEAD_ALONE),
    ("Qwen/Qwen3-8B", {**HEAD_ALONE, "chunk": 523, "accumulate": True}),
    (LLAMA, EVERY_SECOND),
    (LLAMA, {**FREEZE, **EVERY_SECOND, "layers": 7}),
    (LLAMA, {**OFFLOAD, "supervised": 0.1}),
    ("Qwen/Qwen3-8B", {**NF4, **EVERY_SECOND}),
    ("Qwen/Qwen3-8B", {**NF4, **OFFLOAD}),
    (LLAMA, {"layers": 2, "supervised": 0.3}),
    (LLAMA, {"logits": "full"}),
    (LLAMA, {"chunk": 523, **CHECKPOINTING}),
    (LLAMA, {"chunk": 3500, **CHECKPOINTING}),
    (LLAMA, {"padded": True, "attention": "masked", "expand_keys": True}),
    (LLAMA, {**QUICK, **CHECKPOINTING, "dropout": 0.1}),
    (LLAMA, {**QUICK, **NF4}),
    (LLAMA, {**QUICK, **INT8, **CHECKPOINTING}),
    (LLAMA, {**QUICK, **WIDE, "autocast": False, "compute": 4}),
    ("Qwen/Qwen3-8B", {**QUICK, **NF4, "dropout": 0.05}),
    (MIXTRAL, {**QUICK, **CHECKPOINTING}),
    (LLAMA, {**QUICK, **FULL}),
    ("microsoft/phi-4", {**QUICK, "targets": frozenset(["qkv_proj"])}),
    (MIXTRAL, {}),
    (MIXTRAL, {**NF4, **CHECKPOINTING}),
    (MIXTRAL, {**EXPERTS, **CHECKPOINTING}),
    ("one dense layer of three", EXPERTS),
    ("the last of three is dense", {**QUICK, "targets": frozenset(["v_proj", "experts.down_proj"])}),
    (MIXTRAL, FULL),
    ("qwen2_moe", {}),
    ("one dense layer of three", {**NF4, **CHECKPOINTING}),
    ("the last of three is dense", FULL),
    ("the last of three is dense", {**CHECKPOINTING, "targets": frozenset(["q_proj", "o_proj"])}),
    ("gpt2", {}),
    ("gpt2", FULL),
    ("gpt2 by other names", {}),
    ("gpt2", {**NF4, **CHECKPOINTING}),
    ("phi", {}),
    ("phi", {**FULL, **CHECKPOINTING}),
    ("EleutherAI/pythia-160m", {}),
    ("EleutherAI/pythia-160m", HALF),
    ("microsoft/phi-4", {"targets": frozenset(["qkv_proj"])}),
    ("Qwen/Qwen3-8B", FULL),
    ("Qwen/Qwen3-8B", {**NF4, "dropout": 0.05}),
    ("Qwen/Qwen2.5-7B", {"attention": "eager", "targets": frozenset(["q_proj", "v_proj"])}),
    ("google/gemma-2-2b", {"attention": "eager"}),
    ("ibm-granite/granite-3.1-2b-base", {"rank": 64}),
    ("allenai/OLMo-2-0425-1B", FULL),
    (LLAMA, bottleneck("pfeiffer", 128)),
    (LLAMA, {**bottleneck("houlsby", 128, layer_norm="after", keeps_input=True), **NF4}),
    ("gpt2", {**bottleneck("parallel", 384, layer_norm="before"), **CHECKPOINTING}),
    (LLAMA, {**bottleneck("pfeiffer", 128), **QUICK, "layers": 4}),
    (LLAMA, fusion("pfeiffer", (128, 128, 128))),
    ("Qwen/Qwen3-8B", {**fusion("houlsby", (256, 128)), **NF4, **CHECKPOINTING}),
]


def setup(name, **changes):
    facts = read_config_facts(RAW.get(name) or find_catalog_config(name), name)
    return Setup(
        facts, find_installed_stack(), 4, 1024, **{"targets": ALL, "logits": "supervised", **changes}
    )


@pytest.fixture(scope="module")
def tracer(helper):
    return Tracer(seconds=240, helper=helper)


@pytest.mark.parametrize(("name", "changes"), GRID)
def test_ledger_and_trace_agree_within_one_percent(tracer, name, changes):
    found = tracer.check_setup(setup(name, **changes))
    assert abs(found.peak_difference) < 0.01, found
    assert found.is_confirmed and "Confirmed" in found.describe_check()


def test_a_wrong_ledger_is_corrected(tracer):
    right = tracer.check_setup(setup(LLAMA))
    wrong = dataclasses.replace(right, computed=right.computed / 2)
    assert not wrong.is_confirmed
    assert f"{right.traced / 2**30:.2f} GiB" in wrong.describe_check() and "+100" in wrong.describe_check()
    assert "backward" in wrong.describe_check() or "loss" in wrong.describe_check()
    assert wrong.to_json()["traced_gib"] == pytest.approx(right.traced / 2**30)


def test_what_cannot_be_traced_says_why(tracer):
    foreign = dataclasses.replace(setup("Qwen/Qwen3-8B"), stack=parse_stack("transformers==4.48.1"))
    assert "versions" in explain_untraceable(foreign)
    with pytest.raises(RunError, match="versions"):
        tracer.check_setup(foreign)
    assert "padding" in explain_untraceable(setup(LLAMA, padded=True))
    assert "embeddings" in explain_untraceable(setup(LLAMA, train_embeddings=True))
    assert "does not generate text" in explain_untraceable(setup("bert"))
    broken = setup(LLAMA, targets=frozenset(["no_such_layer"]))
    with pytest.raises(RunError, match=r"trace failed.*no_such_layer"):
        tracer.check_setup(broken)


def test_a_trace_can_be_given_up_and_its_process_stays_warm(tracer):
    # While a new process imports the libraries, it does not hear of anything.
    tracer.check_setup(setup(LLAMA))
    pid = tracer.helper.start_process("trace")
    request = tracer.helper.prepare_request("trace", {**make_trace_request(setup(LLAMA)), "layers": [200]})
    threading.Timer(0.3, request.cancel).start()
    began = time.monotonic()
    with pytest.raises(Cancelled):
        request.wait_for_result()
    assert time.monotonic() - began < 3 and request.pid == pid
    assert tracer.check_setup(setup(LLAMA)).is_confirmed and tracer.helper.start_process("trace") == pid


def test_a_killed_process_says_so_and_the_next_question_starts_another():
    with Tracer(seconds=240) as tracer:
        first = tracer.helper.start_process("trace")
        os.kill(first, signal.SIGSTOP)  # it is seen alive, and dies before it can answer
        threading.Timer(0.5, os.kill, (first, signal.SIGKILL)).start()
        with pytest.raises(RunError, match="ended by signal 9"):
            tracer.check_setup(setup(LLAMA))
        assert tracer.check_setup(setup(LLAMA)).is_confirmed


def test_a_trace_has_a_time_limit():
    with Tracer(seconds=0.1) as tracer:
        process = tracer.helper.start_process("trace")
        with pytest.raises(RunError, match="longer than"):
            tracer.check_setup(setup(LLAMA))
        assert not psutil.pid_exists(process)


def test_the_process_ends_with_whoever_started_it():
    code = (
        "import os\nfrom tui_tuner.launch.tracing import Tracer\n"
        "print(Tracer().helper.start_process('trace'), flush=True)\nos._exit(1)\n"
    )
    pid = int(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout)
    deadline = time.monotonic() + 60
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline, "the tracing process is still there"
        time.sleep(0.2)


def test_asking_needs_no_torch():
    code = "import sys, tui_tuner.launch.tracing\nassert not {'torch', 'transformers'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert trace_check.AGREE == 0.01
