"""Score memory predictions against published measurements.

Run as `python tests/benchmarks/bench_memory.py [--csv PATH]`.

Prints every row, then median, p95 and worst error of tier A, and the share of tier B within 10 %.
Rows with padded batches of unknown length are computed at the length their notes give.
"""

from __future__ import annotations

import argparse
import csv
import re
import statistics
import time
from pathlib import Path
from typing import Any

from tui_tuner.methods.numbers.terms import Form
from tui_tuner.models.catalog import find_catalog_config
from tui_tuner.models.facts import ModelFacts, read_config_facts
from tui_tuner.planning.estimate import make_estimate
from tui_tuner.planning.gpus import find_gpu_card
from tui_tuner.planning.memory.ledger import make_ledger
from tui_tuner.planning.memory.lit_gpt import DROPOUT, START
from tui_tuner.planning.memory.setup import Setup
from tui_tuner.planning.memory.stack import PROGRAMS, make_library_stack

# Adapters by their names in PEFT
FORMS = {
    "dora": Form.MAGNITUDES,
    "ia3": Form.FACTORS,
    "vera": Form.SHARED,
    "loha": Form.HADAMARD,
    "lokr": Form.KRONECKER,
    "boft": Form.BUTTERFLY,
    "oft": Form.ROTATION,
    "fourierft": Form.SPECTRUM,
    "waveft": Form.SPECTRUM,
    "miss": Form.FOLDED,
}
FIXTURE = Path(__file__).parent.parent / "fixtures" / "vram" / "published.csv"
LLAMA = {"model_type": "llama", "vocab_size": 32000, "num_attention_heads": 32}
LLAMA3 = {"model_type": "llama", "vocab_size": 128256, "num_key_value_heads": 8, "head_dim": 128}
MODELS = {
    "ibm/PowerLM-3b": {
        "model_type": "granite", "hidden_size": 2304, "num_hidden_layers": 40, "num_attention_heads": 36,
        "num_key_value_heads": 36, "intermediate_size": 9216, "vocab_size": 49152,
        "tie_word_embeddings": True,
    },
    "meta-llama/Llama-3.2-3B": {
        **LLAMA3, "hidden_size": 3072, "num_hidden_layers": 28, "num_attention_heads": 24,
        "intermediate_size": 8192, "tie_word_embeddings": True,
    },
    "Llama-3.1-8B": {
        **LLAMA3, "hidden_size": 4096, "num_hidden_layers": 32, "num_attention_heads": 32,
        "intermediate_size": 14336,
    },
    "Llama-2-7B": {**LLAMA, "hidden_size": 4096, "num_hidden_layers": 32, "intermediate_size": 11008},
    "Llama-2-13B": {
        **LLAMA, "hidden_size": 5120, "num_hidden_layers": 40, "intermediate_size": 13824,
        "num_attention_heads": 40,
    },
    "phi-1.5": {
        "model_type": "phi", "hidden_size": 2048, "num_hidden_layers": 24, "num_attention_heads": 32,
        "intermediate_size": 8192, "vocab_size": 51200,
    },
    "StableLM-Alpha-3B": {
        "model_type": "gpt_neox", "hidden_size": 4096, "num_hidden_layers": 16, "num_attention_heads": 32,
        "intermediate_size": 16384, "vocab_size": 50688,
    },
    "mistralai/Mistral-7B-v0.1": {
        "model_type": "mistral", "hidden_size": 4096, "num_hidden_layers": 32, "num_attention_heads": 32,
        "num_key_value_heads": 8, "intermediate_size": 14336, "vocab_size": 32000,
    },
}  # fmt: skip
MODELS["Llama-3.2-3B"] = MODELS["meta-llama/Llama-3.2-3B"]
SHORT = {"q": "q_proj", "k": "k_proj", "v": "v_proj", "o": "o_proj"}
VERSIONS = {"lit-gpt": "2023.10", "torchtune": "0.5"}
PROMPTS = {
    "prompt_tuning": "prompt_tuning",
    "ptuning": "p_tuning",
    "p_tuning": "p_tuning",
    "prefixtuning": "prefix_tuning",
    "prefix_tuning": "prefix_tuning",
}
MLP = ("gate_proj", "up_proj", "down_proj")


def facts_of(name: str) -> ModelFacts | None:
    """Shapes of a row's model; None where they are not known here."""
    last = name.split("/")[-1]
    known = MODELS.get(name) or next((MODELS[key] for key in MODELS if key.split("/")[-1] == last), None)
    known = known or find_catalog_config(name)
    return read_config_facts(known, name) if known else None


def targets_of(row: dict[str, str], facts: ModelFacts) -> frozenset[str]:
    names: set[str] = set()
    for word in re.findall(r"\w+", row["targets"].split("(")[0]):
        names |= set(MLP) if word == "mlp" else {SHORT.get(word, word)}
    if "all" in names:
        names |= {"all-linear"}
    if facts.model_type == "gpt_neox" and "lit-gpt" not in row["source"]:
        names = {"query_key_value"}
    return frozenset(names)


def setup_of(row: dict[str, str]) -> Setup | None:
    """The row's settings as plain numbers; None where its model or its length is not known."""
    facts, tokens = facts_of(row["model"]), length_of(row)
    if facts is None or tokens is None:
        return None
    notes, head = row["notes"], row["liger_or_fused_ce"]
    versions = dict(zip(("torch", "transformers", "peft", "bitsandbytes"), _versions(notes), strict=True))
    program = next((name for name in PROGRAMS if name in row["source"]), "")
    if program:
        versions[program] = VERSIONS[program]
    mixed = row["precision"] == "bf16" and "fw=" in notes
    plain = "fp32" not in row["precision"] and not mixed
    kept = "kept alive" in notes
    fields = method_of(row, facts, program)
    if not fields.get("prefix"):
        tokens += fields.get("virtual_tokens", 0)
    return Setup(
        facts=facts,
        stack=make_library_stack({name: version for name, version in versions.items() if version}),
        batch=int(row["micro_batch"]),
        length=tokens,
        padded="dynamic" in row["seq_len"],
        quantization="nf4" if "nf4" in row["quant"] else "none",
        double_quant=any(word in row["quant"] for word in ("dq", "double", "torchao")),
        norm=4 if "norms upcast to fp32" in notes else 2,
        adapter=2 if plain else 4,
        autocast=mixed,
        checkpointing=row["grad_ckpt"].startswith("yes"),
        attention="masked" if "mask" in row["attn"] else "flash",
        expand_keys="mask" in row["attn"],
        logits="kept" if kept else "chunked" if "chunked" in head else "full",
        keep_cache=kept,
        foreach="foreach" in row["optimizer"] or row["optimizer"] == "torch.AdamW",
        compiled=program == "torchtune" and not notes.startswith("packed;"),
        in_backward="in bwd" in row["optimizer"] or "/opt-in-bwd" in notes,
        offload="offload" in row["grad_ckpt"],
        optimizer=_optimizer(row["optimizer"]),
        **fields,
    )


def length_of(row: dict[str, str]) -> int | None:
    """Tokens of a sequence: what the notes say of padded batches, else the row's own length."""
    noted = re.search(r"x\s?(\d+) tok", row["notes"])
    if noted and "dynamic" in row["seq_len"]:
        return int(noted.group(1))
    found = re.findall(r"\d+", row["seq_len"])
    return int(found[-1]) if found else None


def method_of(row: dict[str, str], facts: ModelFacts, program: str) -> dict[str, Any]:
    """The row's method in the words of a `Setup`."""
    name = row["method"].split()[0]
    if name.startswith("full"):
        return {"kind": "full", "whole_model": True, "rank": 0}
    if name == "adapter":
        return {"form": Form.LLAMA_ADAPTER, "rank": 0, "layers": facts.layers - START}
    if name == "adapter_v2":
        return {"form": Form.LLAMA_ADAPTER_V2, "rank": 0}
    if name in PROMPTS:
        return prompt_of(row, facts, PROMPTS[name])
    form, norms = FORMS.get(name, Form.LOW_RANK), name in ("ln_tuning", "trainable_tokens")
    if "dora" in row["method"] and "bdlora" not in row["method"]:
        form = Form.MAGNITUDES
    dropout = re.search(r"lora_dropout=([\d.]+)", row["notes"])
    usual = DROPOUT if program == "lit-gpt" else 0.0
    return {
        "form": form,
        "trains_norms": norms,
        "targets": targets_of(row, facts),
        "rank": 0 if norms else int(row["rank"] or 8),
        "dropout": float(dropout.group(1)) if dropout else usual,
        "feedforward": frozenset(MLP if "gate_proj" in row["targets"] else ("down_proj",)),
    }


def prompt_of(row: dict[str, str], facts: ModelFacts, kind: str) -> dict[str, Any]:
    """A prompt method, whose virtual tokens follow from the number of trained elements."""
    trained = re.search(r"trainable=(\d+)", row["notes"])
    elements = int(trained.group(1)) if trained else 20 * facts.hidden
    if kind == "p_tuning":  # three linear layers of the model's width beside the tokens
        elements -= 3 * facts.hidden * (facts.hidden + 1)
    each = facts.layers * 2 * facts.kv_dim if kind == "prefix_tuning" else facts.hidden
    encoder = facts.hidden if kind == "p_tuning" else 0
    virtual = {"virtual_tokens": max(1, elements // each), "prefix": kind == "prefix_tuning"}
    return {"kind": kind, "rank": 0, "encoder": encoder, **virtual}


def _optimizer(words: str) -> str:
    if "paged" in words:
        return "paged_adamw_8bit"
    return "adamw_8bit" if "8bit" in words else "adamw"


def _versions(notes: str) -> list[str]:
    found = []
    for key in (r"torch(?=\d)", r"tf(?=\d)", r"peft(?=\d)", r"bnb(?=\d)"):
        match = re.search(key + r"([\d.]+)", notes)
        found.append(match.group(1).rstrip(".") if match else "")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--csv", type=Path, default=FIXTURE)
    path = parser.parse_args().csv
    errors: dict[str, list[float]] = {"A": [], "B": []}
    slowest = 0.0
    print(f"{'tier':4} {'model':26} {'method':34} {'B x S':>9} {'measured':>9} {'predicted':>9} {'error':>7}")
    with open(path, newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            setup = setup_of(row) if row["tier"] in errors else None
            if setup is None:
                print(f"{row['tier']:4} {row['model'][:26]:26} {row['method'][:34]:34} not scored")
                continue
            start = time.perf_counter()
            found = make_estimate(make_ledger(setup), setup, find_gpu_card("A100-80"))
            slowest = max(slowest, time.perf_counter() - start)
            predicted = found.reserved if "reserved" in row["metric"] else found.allocated
            measured = float(row["measured_peak_gib"])
            error = predicted / measured - 1
            errors[row["tier"]].append(abs(error))
            shape = f"{setup.batch}x{setup.length}"
            print(
                f"{row['tier']:4} {row['model'][:26]:26} {row['method'][:34]:34} {shape:>9} {measured:9.2f} "
                f"{predicted:9.2f} {error:+7.2%}"
            )
    for tier, values in errors.items():
        if values:
            ordered = sorted(values)
            p95 = ordered[min(len(ordered) - 1, round(0.95 * (len(ordered) - 1)))]
            within = sum(value <= 0.10 for value in values) / len(values)
            print(
                f"tier {tier}: {len(values)} rows, median {statistics.median(values):.2%}, p95 {p95:.2%}, "
                f"worst {ordered[-1]:.2%}, within 10 % {within:.0%}"
            )
    print(f"slowest estimate {slowest * 1e3:.1f} ms")


if __name__ == "__main__":
    main()
