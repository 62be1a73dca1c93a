"""Several adapters combined into one: what each way computes, said again without peft."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from tests.core.test_session import logits
from tui_tuner.cli.command_list import app
from tui_tuner.errors import TunerError
from tui_tuner.inference.combining import combine_adapters
from tui_tuner.inference.origin import find_origin
from tui_tuner.methods.saved.weighted_sum import Recipe
from tui_tuner.runs.store import RunStore

SCALE = 2.0  # alpha / rank


def make(folder: Path, base: Path, seed: int, **changes: Any) -> Path:
    """A LoRA adapter with random weights."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(seed)
    values = {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "down_proj"], "task_type": "CAUSAL_LM"}
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(base), LoraConfig(**{**values, **changes}))
    with torch.no_grad():
        for weight in model.parameters():
            if weight.requires_grad:
                weight.copy_(0.1 * torch.randn_like(weight))
    model.save_pretrained(str(folder))
    return folder


@pytest.fixture
def two(tiny_model: Path, tmp_path: Path) -> list[Path]:
    return [make(tmp_path / f"adapter-{seed}", tiny_model, seed) for seed in (1, 2)]


def combined(folders: list[Path], target: Path, **recipe: Any) -> dict[str, torch.Tensor]:
    store = RunStore(target.parent / "no-runs")
    weights = recipe.pop("weights", (0.7, 0.3))
    made = combine_adapters(
        [find_origin(str(one), store) for one in folders], Recipe(weights, **recipe), target
    )
    return load_file(made / "adapter_model.safetensors")


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "adapter_model.safetensors")


def updates(folder: Path) -> dict[str, torch.Tensor]:
    """What an adapter adds to each weight."""
    found, told = tensors(folder), json.loads((folder / "adapter_config.json").read_text())
    root = told["r"] ** 0.5 if told.get("use_rslora") else told["r"]
    downs = [name for name in found if ".lora_A." in name]
    return {
        name: told["lora_alpha"] / root * found[name.replace("_A.", "_B.")] @ found[name] for name in downs
    }


def test_linear_adds_the_matrices_with_the_roots_of_their_weights(two: list[Path], tmp_path: Path) -> None:
    found = combined(two, tmp_path / "both")
    one, other = map(tensors, two)
    assert found.keys() == one.keys()
    for name, weight in found.items():
        wanted = (0.7 * SCALE) ** 0.5 * one[name] + (0.3 * SCALE) ** 0.5 * other[name]
        torch.testing.assert_close(weight, wanted, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("way", ["cat", "svd"])
@pytest.mark.parametrize("root", [False, True])
def test_cat_and_svd_add_the_updates_exactly(tmp_path: Path, tiny_model: Path, way: str, root: bool) -> None:
    folders = [
        make(tmp_path / f"rank-{rank}", tiny_model, rank, r=rank, use_rslora=root, lora_alpha=6)
        for rank in (2, 3)
    ]
    combined(folders, tmp_path / "both", way=way, rank=5, weights=(1.5, -0.5))
    one, other, found = map(updates, (*folders, tmp_path / "both"))
    for name, weight in found.items():
        torch.testing.assert_close(weight, 1.5 * one[name] - 0.5 * other[name], atol=1e-5, rtol=1e-4)
    assert json.loads((tmp_path / "both" / "adapter_config.json").read_text())["r"] == 5


PATTERNS = {"rank_pattern": {"q_proj": 6, "layers.1.mlp.down_proj": 2}, "alpha_pattern": {"q_proj": 3}}


@pytest.mark.parametrize("way", ["linear", "dare", "cat", "svd"])
def test_ranks_of_single_modules_are_kept(tmp_path: Path, tiny_model: Path, way: str) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    folders = [make(tmp_path / f"adapter-{seed}", tiny_model, seed, **PATTERNS) for seed in (1, 2)]
    rank = 12 if way == "svd" else 0
    found = combined(folders, tmp_path / "both", way=way, density=1.0, rank=rank, weights=(1.0, 1.0))
    shapes = {len(weight) for name, weight in found.items() if name.endswith("lora_A.weight")}
    assert shapes == ({2, 4, 6} if way in ("linear", "dare") else {12})

    def load(folder: Path) -> Any:
        base = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
        return PeftModel.from_pretrained(base, folder)

    model = load(tmp_path / "both")
    ones = [load(folder) for folder in folders]
    for name, layer in model.named_modules():
        if not hasattr(layer, "get_delta_weight"):
            continue
        parts = [one.get_submodule(name) for one in ones]
        if way in ("cat", "svd"):
            wanted = sum(part.get_delta_weight("default") for part in parts)
        else:
            up, down = (
                sum(getattr(part, side)["default"].weight for part in parts) for side in ("lora_B", "lora_A")
            )
            wanted = parts[0].scaling["default"] * up @ down
        torch.testing.assert_close(layer.get_delta_weight("default"), wanted, atol=1e-4, rtol=1e-4)


def test_ties_trims_elects_signs_and_merges_what_agrees(two: list[Path], tmp_path: Path) -> None:
    found = combined(two, tmp_path / "both", way="ties", density=0.5)
    one, other = map(tensors, two)
    for name, weight in found.items():
        trimmed = []
        for tensor in (one[name], other[name]):
            kept = torch.zeros_like(tensor).flatten()
            largest = tensor.abs().flatten().topk(int(0.5 * tensor.numel())).indices
            kept[largest] = tensor.flatten()[largest]
            trimmed.append(kept.view_as(tensor))
        sign = torch.where(trimmed[0] + trimmed[1] >= 0, 1, -1)  # elected before weights are applied
        roots = [(share * SCALE) ** 0.5 for share in (0.7, 0.3)]
        stacked = torch.stack([root * part for root, part in zip(roots, trimmed, strict=True)])
        agrees = stacked.sign() == sign
        wanted = (stacked * agrees).sum(0) / agrees.sum(0).clamp(min=1)
        torch.testing.assert_close(weight, wanted, atol=1e-6, rtol=1e-5)


def test_dare_drops_at_random_and_scales_up_the_rest(two: list[Path], tmp_path: Path) -> None:
    found = combined(two, tmp_path / "both", way="dare", density=0.25)
    again = combined(two, tmp_path / "again", way="dare", density=0.25)
    other = combined(two, tmp_path / "other", way="dare", density=0.25, seed=7)
    whole = combined(two, tmp_path / "whole", way="dare", density=1.0)
    linear = combined(two, tmp_path / "linear")
    parts = [tensors(folder) for folder in two]
    kept = drawn = 0
    for name, weight in found.items():
        assert torch.equal(weight, again[name]) and not torch.equal(weight, other[name])
        torch.testing.assert_close(whole[name], linear[name], atol=1e-6, rtol=1e-6)
        up = [
            (share * SCALE) ** 0.5 / 0.25 * part[name] for share, part in zip((0.7, 0.3), parts, strict=True)
        ]
        sums = torch.stack([torch.zeros_like(weight), up[0], up[1], up[0] + up[1]])
        assert float((sums - weight).abs().min(0).values.max()) < 1e-5
        kept += int((weight != 0).sum())
        drawn += weight.numel()
    assert kept / drawn == pytest.approx(1 - 0.75**2, abs=0.03)


def test_plain_peft_loads_the_combination_and_it_answers_as_the_sum(
    two: list[Path], tmp_path: Path, tiny_model: Path
) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    combined(two, tmp_path / "both", way="cat")
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny_model), tmp_path / "both")
    base = AutoModelForCausalLM.from_pretrained(tiny_model)
    with torch.no_grad():
        for share, folder in zip((0.7, 0.3), two, strict=True):
            for name, update in updates(folder).items():
                place = name.removeprefix("base_model.model.").replace(".lora_A", "")
                base.get_parameter(place).add_(share * update)
    torch.testing.assert_close(logits(model.eval()), logits(base.eval()), atol=1e-5, rtol=1e-5)


def test_what_cannot_be_combined_is_refused(two: list[Path], tmp_path: Path, tiny_model: Path) -> None:
    def refused(*folders: Path, **recipe: Any) -> str:
        with pytest.raises(TunerError) as error:
            combined([two[0], *folders], tmp_path / "never", **recipe)
        assert not (tmp_path / "never").exists()
        return f"{error.value.what} {error.value.hint}"

    assert "of one rank" in refused(make(tmp_path / "a", tiny_model, 3, r=2))
    assert "4 and 2 beside" in refused(make(tmp_path / "g", tiny_model, 3, rank_pattern={"q_proj": 2}))
    assert "only adapters of LoRA" in refused(make(tmp_path / "b", tiny_model, 3, use_dora=True))
    headed = make(tmp_path / "c", tiny_model, 3, modules_to_save=["lm_head"])
    assert "a head or embeddings" in refused(headed)
    assert "other layers" in refused(make(tmp_path / "d", tiny_model, 3, layers_to_transform=[1]))
    elsewhere = make(tmp_path / "e", tiny_model, 3)
    told = json.loads((elsewhere / "adapter_config.json").read_text())
    (elsewhere / "adapter_config.json").write_text(json.dumps({**told, "base_model_name_or_path": "a/b"}))
    assert "another model" in refused(elsewhere)
    assert "nothing to combine" in refused(tiny_model)
    assert "1 weights" in refused(two[1], weights=(1.0,))
    torn = make(tmp_path / "f", tiny_model, 3)
    data = (torn / "adapter_model.safetensors").read_bytes()
    (torn / "adapter_model.safetensors").write_bytes(data[:-9])
    assert "damaged" in refused(torn)
    save_file({"x": torch.zeros(2)}, torn / "adapter_model.safetensors")
    assert "other layers" in refused(torn) or "own" in refused(torn)


def test_the_command_says_what_it_made(two: list[Path], tmp_path: Path) -> None:
    call = ["merge", *map(str, two), "--weights", "2,1", "--how", "ties", "-o", str(tmp_path / "both")]
    found = CliRunner().invoke(app, [*call, "--json"])
    assert found.exit_code == 0, found.output
    assert json.loads(found.output)["weights"] == [2.0, 1.0]
    assert json.loads((tmp_path / "both" / "combined.json").read_text())["how"] == "ties"
    for changed, said in (
        (["--how", "mean"], "unknown"),
        (["--weights", "a"], "no list of numbers"),
        ([], "there already"),
    ):
        again = CliRunner().invoke(app, [*call, *changed])
        assert said in str(again.exception)
