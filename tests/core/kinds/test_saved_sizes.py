"""The predicted size of what a method saves, against the files that it writes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.conftest import MakeConfig
from tests.fusable import NEEDS, make_adapters
from tui_tuner.config.kinds.methods import METHODS
from tui_tuner.config.schema import RunConfig
from tui_tuner.methods import attach, find_method
from tui_tuner.models.facts import load_facts
from tui_tuner.models.loading import load_model
from tui_tuner.planning.data_facts import DataFacts
from tui_tuner.planning.heads.parameters import count_run_parameters
from tui_tuner.tasks import find_task

DATA = DataFacts(400, 60.0, 90, outputs=3)
VARIANTS: list[dict[str, Any]] = [
    *({"kind": kind} for kind in METHODS),
    {"kind": "lora", "init": "pissa"},
    {"kind": "dora", "init": "olora", "rank_pattern": {"q_proj": 2}},
    {"kind": "lora", "train_embeddings": True, "layers": 1},
    {"kind": "prefix_tuning", "encoder_size": 24},
    {"kind": "bottleneck", "style": "houlsby", "layer_norm": "before"},
]


def weigh(folder: Path) -> int:
    """The bytes of all tensors in the safetensors files of a folder."""
    found = 0
    for path in folder.glob("*.safetensors"):
        with open(path, "rb") as file:
            head = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        found += sum(
            one["data_offsets"][1] - one["data_offsets"][0]
            for name, one in head.items()
            if name != "__metadata__"
        )
    return found


def save(config: RunConfig, folder: Path) -> int:
    """What the method of a run saves as soon as it is attached, in bytes."""
    task = find_task(config.task)
    torch.manual_seed(0)
    values = {"num_labels": DATA.outputs, "pad_token_id": 0} if config.task_kind.decides else {}
    model = attach(
        load_model(config, "cpu", None, task.auto_class, values, task.new_modules), config, task.peft_type
    )
    folder.mkdir()
    find_method(config.method.kind).save_model(model, folder)
    return weigh(folder)


@pytest.mark.parametrize("method", VARIANTS, ids=lambda method: "-".join(map(str, method.values())))
@pytest.mark.parametrize("task", ["sft", "classification"])
def test_the_saved_file_is_as_large_as_predicted(
    make_config: MakeConfig, tiny_model: Path, tmp_path: Path, task: str, method: dict[str, Any]
) -> None:
    dtype = "float32" if task == "sft" else "bfloat16"  # in 16 bits a head is smaller than an adapter
    method = {"rank": 4, **NEEDS.get(method["kind"], {}), **method}
    if "adapters" in method:
        method["adapters"] = make_adapters(str(tiny_model), tmp_path)
    config = make_config(
        task=task, method=method, model={"name": str(tiny_model), "dtype": dtype}, data={"path": "demo"}
    )
    counts = count_run_parameters(config, load_facts(config.model), DATA)
    saved = save(config, tmp_path / "saved")
    share = config.method.kept_rank / 4 if config.method.reads_field("final_rank") else 1
    head = counts.measure_file(dtype) - 4 * counts.stored
    # AdaLoRA takes ranks away until the end; before, it saves all of them
    assert head + 4 * counts.stored / share == saved
