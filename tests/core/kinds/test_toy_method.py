"""A stranger adds a method by CONTRIBUTING's recipe: one new module, one entry, and all else follows."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]
PROGRAM = Path(__file__).with_name("toy_method_program.py")


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a copy of the package with the recipe's method does, in a process of its own."""
    root = tmp_path_factory.mktemp("stranger")
    copy = root / "tui_tuner"
    shutil.copytree(ROOT / "tui_tuner", copy, ignore=shutil.ignore_patterns("__pycache__"))
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    code = re.search(r"<!-- toy method -->\s*```python\n(.*?)```", text, re.S)
    entry = re.search(r"```text\n(MethodKind\(.*?\),)\n```", text, re.S)
    assert code and entry, "CONTRIBUTING.md has lost its recipe"
    (copy / "methods" / "norm_scale.py").write_text(code[1], encoding="utf-8")
    kinds = copy / "config" / "kinds" / "methods.py"
    before = kinds.read_text(encoding="utf-8")
    place = "    for kind in (\n"
    assert before.count(place) == 1
    kinds.write_text(before.replace(place, f"{place}{entry[1]}\n"), encoding="utf-8")
    answer = root / "answer.json"
    environment = {**os.environ, "PYTHONPATH": str(root), "XDG_CACHE_HOME": str(root / "cache")}
    environment["OMP_NUM_THREADS"] = "1"  # so small a model is slower with threads that wait for each other
    done = subprocess.run(
        [sys.executable, str(PROGRAM), str(root / "runs"), str(answer)],
        cwd=root,
        env=environment,
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    told: dict[str, Any] = json.loads(answer.read_text())
    assert Path(told["package"]).is_relative_to(root)
    return told


def test_the_form_offers_and_explains_it(found: dict[str, Any]) -> None:
    assert "norm_scale" in found["choices"]
    assert found["explained"].startswith("Norms decide how strong each feature of a layer is.")
    assert "arXiv 2312.11420" in found["explained"]
    assert found["without_torch"], "a screen would import torch for it"


def test_it_is_estimated(found: dict[str, Any]) -> None:
    assert found["planned"] == found["trainable"] > 0
    assert found["rate"] == 0.001 and found["gib"] > 0
    assert found["command"]["rc"] == 0, found["command"]["out"]
    assert json.loads(found["command"]["out"])["trained_parameters"] == found["trainable"]


def test_it_trains_and_resumes_bit_for_bit(found: dict[str, Any]) -> None:
    assert found["status"] == "completed" and found["stopped"] == "stopped"
    assert found["resumed"] == found["losses"]
    assert found["resumed_weights"] == found["weights"]


def test_it_loads_from_its_final_model_and_merges(found: dict[str, Any]) -> None:
    assert found["files"] == ["adapter_config.json", "adapter_model.safetensors"]
    assert found["moved"] > 1e-4, "training changed no factor"
    assert found["reloaded_apart"] == 0 and found["shared_apart"] == 0
    assert found["adapter"] and found["virtual"] == 0
    assert found["merged_apart"] < 1e-5 and found["merged_names"] == found["base_names"]
    assert not found["merged_adapter"]


def test_its_loss_and_its_change_after_a_step_are_part_of_training(found: dict[str, Any]) -> None:
    assert found["hook_calls"] == [[step, 6] for step in range(1, 7)]
    assert found["hook_losses"]["1"] == pytest.approx(found["losses"]["1"] + 1, abs=1e-5)
    assert found["least"] < found["hook_least"] == 1.0
