"""Methods of peft whose updates have a shape of their own: what holds for each, and what is refused."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.conftest import MakeConfig, Trained
from tests.core.kinds.adapter_checks import check_reload, read_logits, stir
from tests.core.test_session import reacting
from tui_tuner.config.kinds.method_kind import Trait
from tui_tuner.config.kinds.methods import METHODS
from tui_tuner.config.schema import RunConfig
from tui_tuner.errors import ConfigError
from tui_tuner.launch.beforehand import check_config_method
from tui_tuner.methods import attach, merge
from tui_tuner.methods.attached import find_model_method
from tui_tuner.methods.numbers.update_shapes import split_side
from tui_tuner.methods.saved.putting import put_adapter
from tui_tuner.models.loading import load_model

Train = Callable[..., Trained]
KINDS: dict[str, dict[str, Any]] = {
    "lokr": {"rank": 4, "decompose_factor": 4},
    "ln_tuning": {},
    "oft": {"rotation_block": 8},
    "boft": {"rotation_block": 8},
    "fourierft": {"frequencies": 200},
    "randlora": {"rank": 8},
}


def choose(kind: str, **more: Any) -> dict[str, Any]:
    return {"method": {"kind": kind, **KINDS[kind], **more}}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("kind", KINDS)
def test_it_begins_as_the_base_and_merges_as_it_computes(
    make_config: MakeConfig, tmp_path: Path, kind: str, dtype: str
) -> None:
    config = make_config(model__dtype=dtype, **choose(kind))
    base = load_model(config, "cpu")
    before = read_logits(base).float()
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # such as peft's of layers that it does not know
        model = attach(base, config)
    assert torch.equal(read_logits(model).float(), before), "it begins as the base model"
    trained = [one for one in model.parameters() if one.requires_grad]
    assert {one.dtype for one in trained} == {torch.float32}, "small steps get lost in 16 bits"
    model.train()
    model(input_ids=torch.arange(3, 23).view(1, 20)).logits.float().square().mean().backward()
    assert all(one.grad is not None for one in trained)
    stir(model)
    logits = read_logits(model).float()
    assert (logits - before).abs().max() > 1e-3
    find_model_method(model).save_model(model, tmp_path)
    close = 1e-5 if dtype == "float32" else 0.05  # 16-bit weights round what is merged into them
    loaded = put_adapter(load_model(config, "cpu"), tmp_path)
    assert torch.allclose(read_logits(loaded).float(), logits, atol=close)
    assert torch.allclose(read_logits(merge(model)).float(), logits, atol=close)


@pytest.mark.parametrize("kind", KINDS)
def test_a_resumed_run_ends_the_same_and_plain_peft_loads_it(
    make_config: MakeConfig, train: Train, kind: str
) -> None:
    config = make_config(
        training__max_steps=6,
        training__batch_size=4,
        evaluation__every=None,
        training__report_every=1e-6,
        output__save_every=2,
        data__max_length=64,
        **choose(kind),
    )
    whole = train(config)
    assert whole.outcome.status == "completed", whole.outcome
    stopped = train(config, before=reacting({3: ["stop"]}))
    assert stopped.outcome.status == "stopped" and 3 <= max(stopped.steps()) < 6
    train(config, resume=stopped.folder)
    one, other = (run.folder.path / "last" / "adapter_model.safetensors" for run in (whole, stopped))
    assert one.read_bytes() == other.read_bytes()
    check_reload(config, whole.folder.path / "last")


@pytest.mark.parametrize("kind", KINDS)
def test_bits_are_refused_where_peft_does_not_train_on_them(make_config: MakeConfig, kind: str) -> None:
    values: dict[str, Any] = {"model": {"quantization": "nf4"}, "method": {"kind": kind}}
    if not METHODS[kind].has_trait(Trait.QUANTISABLE):
        with pytest.raises(ValueError, match="cannot be trained with"):
            RunConfig.model_validate(values)
        return
    pytest.importorskip("bitsandbytes")
    for bits in ("nf4", "int8"):
        config = make_config(model__quantization=bits, **choose(kind))
        model = attach(load_model(config, "cpu"), config)
        stir(model)
        model(input_ids=torch.arange(3, 23).view(1, 20)).logits.float().square().mean().backward()
        assert all(one.grad is not None for one in model.parameters() if one.requires_grad)


@pytest.mark.parametrize(
    ("method", "field", "words"),
    [
        ({"kind": "oft", "rotation_block": 24}, "method.rotation_block", "16 and 32: .*rotation_block=16"),
        ({"kind": "boft", "rotation_block": 3}, "method.rotation_block", "2 and 4"),
        ({"kind": "oft", "rotation_block": 4096}, "method.rotation_block", "64"),
        ({"kind": "lokr", "rank": 17}, "method.rank", "which is 16"),
        ({"kind": "randlora", "rank": 65}, "method.rank", "which is 64"),
        ({"kind": "fourierft", "frequencies": 2049}, "method.frequencies", "2,048"),
        ({"kind": "oft", "targets": ["q_prj"]}, "method.targets", "q_proj"),
    ],
)
def test_what_does_not_fit_is_refused_with_its_field(
    make_config: MakeConfig, method: dict[str, Any], field: str, words: str
) -> None:
    config = make_config(method=method)
    for refuse in (check_config_method, lambda config: attach(load_model(config, "cpu"), config)):
        with pytest.raises(ConfigError, match=words) as caught:
            refuse(config)
        assert caught.value.field == field


@pytest.mark.parametrize("kind", ["lokr", "oft", "boft"])
def test_matrices_that_lie_the_other_way_round_are_refused(
    make_config: MakeConfig, tmp_path: Path, kind: str
) -> None:
    from transformers import GPT2Config, GPT2LMHeadModel

    GPT2LMHeadModel(GPT2Config(n_embd=32, n_layer=1, n_head=2, vocab_size=60)).save_pretrained(tmp_path)
    config = make_config(model__name=str(tmp_path), method={"kind": kind, **KINDS[kind]})
    for refuse in (check_config_method, lambda config: attach(load_model(config, "cpu"), config)):
        with pytest.raises(ConfigError, match="Use lora") as caught:
            refuse(config)
        assert caught.value.field == "method.kind"


@pytest.mark.parametrize("kind", ["fourierft", "randlora", "ln_tuning"])
def test_the_others_merge_there(make_config: MakeConfig, tmp_path: Path, kind: str) -> None:
    from transformers import GPT2Config, GPT2LMHeadModel

    GPT2LMHeadModel(GPT2Config(n_embd=32, n_layer=2, n_head=2, vocab_size=60)).save_pretrained(tmp_path)
    config = make_config(model__name=str(tmp_path), method={"kind": kind, **KINDS[kind]})
    model = attach(load_model(config, "cpu"), config)
    stir(model)
    logits = read_logits(model)
    assert torch.allclose(read_logits(merge(model)), logits, atol=1e-5)


def test_sides_are_split_as_peft_splits_them() -> None:
    from peft.tuners.lokr.layer import factorization

    for size in (*range(1, 200), 768, 896, 4096, 11008):
        assert split_side(size) == factorization(size)
        for factor in (1, 2, 4, 7, 8, 16, 30):
            if factor <= size:
                assert split_side(size, factor) == factorization(size, factor), (size, factor)


def test_norms_are_named_as_others_name_them(make_config: MakeConfig) -> None:
    config = make_config(method={"kind": "ln_tuning"})
    model = attach(load_model(config, "cpu"), config)
    names = {"input_layernorm", "post_attention_layernorm", "norm"}
    assert set(model.active_peft_config.target_modules) == names
    config = make_config(method={"kind": "ln_tuning", "layers": 1})
    model = attach(load_model(config, "cpu"), config)
    trained = {name.split(".ln_tuning")[0] for name, one in model.named_parameters() if one.requires_grad}
    assert {name.split("base_model.model.model.")[1] for name in trained} == {
        "layers.2.input_layernorm",
        "layers.2.post_attention_layernorm",
        "norm",
    }


def test_permutations_of_boft_are_one_for_each_width(make_config: MakeConfig) -> None:
    config = make_config(**choose("boft"))
    model = attach(load_model(config, "cpu"), config)
    held = {one.boft_P.data_ptr() for one in model.modules() if "boft_P" in getattr(one, "_buffers", {})}
    assert len(held) == 2, "one for 64 inputs and one for 128"
