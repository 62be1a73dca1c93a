"""Models that cannot be used, each said in one message."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.conftest import MakeConfig
from tui_tuner.config.schema import ModelSection
from tui_tuner.errors import HardwareError, HubError, ModelError
from tui_tuner.models.loading import load_model, load_tokenizer


@pytest.fixture
def copy(tiny_model: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_model, tmp_path / "copy"))


def test_a_folder_without_a_tokenizer(copy: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (copy / name).unlink()
    with pytest.raises(ModelError, match="no tokenizer"):
        load_tokenizer(ModelSection(name=str(copy)))


def test_a_folder_without_weights_or_with_pickled_ones(copy: Path, make_config: MakeConfig) -> None:
    (copy / "model.safetensors").unlink()
    config = make_config(model__name=str(copy))
    with pytest.raises(ModelError, match="no weights"):
        load_model(config, "cpu")
    (copy / "pytorch_model.bin").write_bytes(b"not opened")
    with pytest.raises(ModelError, match="pickles"):
        load_model(config, "cpu")


def test_folders_that_are_no_models(tmp_path: Path, copy: Path) -> None:
    with pytest.raises(ModelError, match="no such folder"):
        load_tokenizer(ModelSection(name=str(tmp_path / "absent")))
    (copy / "config.json").unlink()
    with pytest.raises(ModelError, match=r"no config\.json"):
        load_tokenizer(ModelSection(name=str(copy)))
    (copy / "adapter_config.json").write_text("{}")
    with pytest.raises(ModelError, match="This is an adapter"):
        load_tokenizer(ModelSection(name=str(copy)))


def test_damaged_files(copy: Path, make_config: MakeConfig) -> None:
    config = make_config(model__name=str(copy))
    weights = (copy / "model.safetensors").read_bytes()
    (copy / "model.safetensors").write_bytes(weights[:-5])
    with pytest.raises(ModelError, match="is damaged"):
        load_model(config, "cpu")
    (copy / "model.safetensors").write_bytes(weights)
    (copy / "config.json").write_text('{"model_type": "never_heard_of"}')
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_model(config, "cpu")
    (copy / "tokenizer.json").write_text("{")
    with pytest.raises(ModelError, match="is damaged"):
        load_tokenizer(ModelSection(name=str(copy)))


def test_weights_that_are_not_all_there(copy: Path, make_config: MakeConfig) -> None:
    from safetensors.torch import load_file, save_file

    tensors = load_file(copy / "model.safetensors")
    del tensors["model.layers.1.mlp.up_proj.weight"]
    save_file(tensors, copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"1 weights .* model\.layers\.1\.mlp\.up_proj\.weight"):
        load_model(make_config(model__name=str(copy)), "cpu")


def test_weights_of_another_shape_than_the_config_says(copy: Path, make_config: MakeConfig) -> None:
    from safetensors.torch import load_file, save_file

    tensors = load_file(copy / "model.safetensors")
    name = "model.layers.1.mlp.up_proj.weight"
    tensors[name] = tensors[name][:3].clone()
    save_file(tensors, copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"1 weights have a different shape .*layers\.1\.mlp\.up_proj"):
        load_model(make_config(model__name=str(copy)), "cpu")


def test_a_hub_that_cannot_be_reached(make_config: MakeConfig) -> None:
    with pytest.raises(HubError, match="cannot be reached"):
        load_tokenizer(ModelSection(name="nobody/no-such-model"))
    with pytest.raises(HubError, match="cannot be reached"):
        load_model(make_config(model__name="nobody/no-such-model"), "cpu")


def test_an_absent_gpu(make_config: MakeConfig) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(HardwareError, match="GPU"):
        load_model(make_config(), "cuda:0")


def test_architectures_that_cannot_be_built(make_config: MakeConfig, tiny_model: Path) -> None:
    tokenizer = load_tokenizer(ModelSection(name=str(tiny_model)))
    for shape, words in (
        ({"model_type": "never_heard_of"}, "architecture"),
        ({"hidden_size": 8}, "model_type is missing"),
        ({"model_type": "llama", "hidden_size": 30, "num_attention_heads": 7}, "architecture"),
        ({"model_type": "llama", "vocab_size": 10}, "vocab_size 10"),
    ):
        config = make_config(model={"name": "new", "architecture": shape}, method={"kind": "full"})
        with pytest.raises(ModelError, match=words):
            load_model(config, "cpu", tokenizer)
