"""Delta weights: adding gives the result, and applying gives it bit for bit, or says why not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.core.exporting.adapters import (
    TARGETS,
    load_state,
    open_folder,
    write_adapter,
    write_base,
    write_result,
)
from tui_tuner.errors import ModelError
from tui_tuner.exporting.deltas.applying import apply_delta
from tui_tuner.exporting.deltas.coding import BITS, PLACES, add_difference, code_difference, decode_difference
from tui_tuner.exporting.deltas.making import FILES, TOLD, make_delta
from tui_tuner.exporting.merging.weight_files import WeightFiles


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("size", [1e-4, 0.05, 3.0])
def test_a_coded_difference_gives_the_result_bit_for_bit(dtype: torch.dtype, size: float) -> None:
    torch.manual_seed(3)
    base = torch.randn(64, 96).to(dtype)
    result = (base.float() + size * torch.randn(64, 96)).to(dtype)
    # Numbers of very different sizes, zeros of both signs and endless ones
    result[0, :8] = torch.tensor([0.0, -0.0, 1e-6, 6e4, float("inf"), -float("inf"), 1.0, -1e-30]).to(dtype)
    coded = code_difference(base, result).parts
    found = decode_difference(base, coded)
    assert found.dtype == dtype
    view = torch.int32 if dtype == torch.float32 else torch.int16
    assert torch.equal(found.view(view), result.view(view))
    assert coded[""].dtype == dtype
    if size == 1e-4:
        assert BITS not in coded, "a small difference needs few corrections"
        added = add_difference(base[1:], coded[""][1:], dtype)
        assert torch.equal(added, result[1:]) or PLACES in coded


@pytest.fixture
def made(tmp_path: Path, tiny_tokenizer: Any) -> tuple[Path, Path, Path]:
    """(base, result, delta)."""
    from peft import LoraConfig

    base = write_base(tmp_path / "base", tiny_tokenizer)
    adapter = write_adapter(base, tmp_path / "adapter", LoraConfig(r=4, target_modules=TARGETS))
    result = open_folder(adapter)
    out = write_result(result, tmp_path / "result")
    delta = tmp_path / "delta"
    delta.mkdir()
    make_delta(
        WeightFiles(base),
        open_folder(adapter).tensors,
        delta,
        {"name": "acme/base", "revision": "r1"},
        50_000,
    )
    (delta / FILES).mkdir()
    result.write_small_files(delta / FILES)
    return base, out, delta


def test_a_delta_is_applied_bit_for_bit_and_adding_gives_the_same(
    made: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    base, result, delta = made
    told = apply_delta(str(base), str(delta), tmp_path / "applied", shard_bytes=60_000)
    found, wanted, before = load_state(tmp_path / "applied"), load_state(result), load_state(base)
    assert found.keys() == wanted.keys() and all(torch.equal(found[key], wanted[key]) for key in wanted)
    assert told["sha256"] == json.loads((delta / TOLD).read_text(encoding="utf-8"))["result"]["sha256"]
    parts: dict[str, torch.Tensor] = {}
    for path in delta.glob("delta-*.safetensors"):
        parts |= load_file(path)
    plain = {name: one for name, one in parts.items() if name in before}
    changed = [key for key in wanted if not torch.equal(wanted[key], before[key])]
    assert sorted(plain) == sorted(changed), "what is the base's own is not stored"
    for name, difference in plain.items():
        added = add_difference(before[name], difference, wanted[name].dtype)
        torch.testing.assert_close(added, wanted[name], rtol=0.01, atol=2e-4)
    assert not (delta / "config.json").exists(), "a delta must not look like a model"


def test_new_rows_are_carried(tmp_path: Path, tiny_tokenizer: Any) -> None:
    from transformers import AutoModelForCausalLM

    base = write_base(tmp_path / "base", tiny_tokenizer)
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.bfloat16)
    model.resize_token_embeddings(len(tiny_tokenizer) + 5)
    model.save_pretrained(tmp_path / "more")
    tiny_tokenizer.save_pretrained(tmp_path / "more")
    delta = tmp_path / "delta"
    delta.mkdir()
    make_delta(WeightFiles(base), WeightFiles(tmp_path / "more"), delta, {"name": "base"}, 10**9)
    (delta / FILES).mkdir()
    open_folder(tmp_path / "more").write_small_files(delta / FILES)
    apply_delta(str(base), str(delta), tmp_path / "applied")
    found, wanted = load_state(tmp_path / "applied"), load_state(tmp_path / "more")
    assert all(torch.equal(found[key], wanted[key]) for key in wanted)


def test_another_revision_of_the_base_is_refused_with_both_hashes(
    made: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    _base, result, delta = made
    told = json.loads((delta / TOLD).read_text(encoding="utf-8"))
    with pytest.raises(ModelError) as caught:
        apply_delta(str(result), str(delta), tmp_path / "applied")
    assert told["base"]["sha256"] in str(caught.value) and told["result"]["sha256"] in str(caught.value)
    assert "acme/base@r1" in str(caught.value)
    assert not (tmp_path / "applied").exists() and not list(tmp_path.glob("applied*"))


def test_a_damaged_delta_is_found(made: tuple[Path, Path, Path], tmp_path: Path) -> None:
    base, _result, delta = made
    path = sorted(delta.glob("delta-*.safetensors"))[0]
    content = bytearray(path.read_bytes())
    content[-3] ^= 0x55
    path.write_bytes(content)
    with pytest.raises(ModelError, match="damaged"):
        apply_delta(str(base), str(delta), tmp_path / "applied")
    assert not list(tmp_path.glob("applied*"))
    (delta / TOLD).write_text("{}", encoding="utf-8")
    with pytest.raises(ModelError, match="no delta"):
        apply_delta(str(base), str(delta), tmp_path / "applied")
