"""The ledger against what this program's own runs took on a GPU.

One H100 80GB, torch 2.11.0+cu130, transformers 5.23.0, peft 0.21.2, bitsandbytes 0.50.2, at a time when each
sequence of a flat row went to PyTorch's attention on its own (`attention="apart"`). Measured is
`torch.cuda.max_memory_allocated` over the first three optimizer steps; the shapes are those of the very
passes that were computed, so nothing here is a worst case.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from tui_tuner.compute.chunks import count_chunk_rows
from tui_tuner.demo import MODEL_DIR
from tui_tuner.models.facts import read_config_facts
from tui_tuner.planning.memory.ledger import STEP, make_ledger
from tui_tuner.planning.memory.setup import Setup
from tui_tuner.planning.memory.stack import Stack

VERSIONS = {"torch": "2.11.0+cu130", "transformers": "5.23.0", "peft": "0.21.2", "bitsandbytes": "0.50.2"}
LLAMA_8B = {
    "model_type": "llama",
    "hidden_size": 4096,
    "num_hidden_layers": 32,
    "intermediate_size": 14336,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
    "tie_word_embeddings": False,
}
WORKSPACES = 2 * 33_554_432.0  # of cuBLAS on Hopper, in the thread that runs forward and in autograd's
# tokens and targets of each step's only pass, what it took in bytes, and how it was computed
QLORA = ([(7018, 3537), (5392, 2725), (5107, 2581)], 50_303_506_432, {"quantization": "nf4"})
LORA = ([(6635, 3344), (4700, 2377), (3695, 1876)], 20_326_194_176, {"checkpointing": True})
DEMO = ([(1242, 619), (1226, 603), (1248, 625)], 1.018 * 130_820_100, {"rank": 32})
WIDE = {"weight": 4, "norm": 4, "embedding": 4, "compute": 4, "autocast": False}


def setup(facts: dict[str, Any], tokens: int, targets: int, **changes: Any) -> Setup:
    found = read_config_facts(facts)
    planned = Setup(
        found,
        Stack(VERSIONS),
        1,
        tokens,
        supervised=targets / tokens,
        targets=frozenset(["all-linear"]),
        attention="apart",
        logits="supervised",
        chunk=count_chunk_rows(found.vocab, "cuda"),
        workspace=WORKSPACES,
    )
    return replace(planned, **changes)


def peak_of_steps(facts: dict[str, Any], passes: list[tuple[int, int]], **changes: Any) -> float:
    """The highest peak of the first steps: before the first has ended there are no optimizer states."""
    setups = [
        setup(facts, tokens, targets, states=step > 0, **changes)
        for step, (tokens, targets) in enumerate(passes)
    ]
    return max(make_ledger(one).peak_phase.total_bytes for one in setups)


@pytest.mark.parametrize(
    ("facts", "run"), [(LLAMA_8B, QLORA), (LLAMA_8B, LORA), ("demo", DEMO)], ids=["qlora", "lora", "demo"]
)
def test_runs_on_a_gpu_are_met_within_one_percent(facts: Any, run: Any) -> None:
    passes, measured, how = run
    if facts == "demo":
        facts, how = json.loads((MODEL_DIR / "config.json").read_text()), {**how, **WIDE}
    assert peak_of_steps(facts, passes, **how) == pytest.approx(measured, rel=0.01)


def test_the_first_step_makes_the_optimizer_states() -> None:
    first, later = (make_ledger(setup(LLAMA_8B, 2048, 1024, states=states)) for states in (False, True))
    adapters = later.static["adapters"]
    for one, other in zip(first.phases, later.phases, strict=True):
        assert other.total_bytes - one.total_bytes == (0 if one.name == STEP else 2 * adapters)
        assert one.rows.get("optimizer states", 0) == (2 * adapters if one.name == STEP else 0)
