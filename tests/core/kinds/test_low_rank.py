"""The LoRA family: what its matrices begin as, what is saved of it, and what a resumed run goes on with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.conftest import MakeConfig, Trained
from tests.core.kinds.adapter_checks import IDS, check_reload, read_logits, small, stir
from tests.core.step.settled import make_settled
from tests.core.test_session import reacting
from tui_tuner.config.schema import RunConfig
from tui_tuner.errors import ConfigError
from tui_tuner.launch.beforehand import check_config_method
from tui_tuner.launch.parameter_count import count_parameters_on_model
from tui_tuner.methods import attach, count_model_parameters, find_method, merge
from tui_tuner.methods.adalora import plan_schedule
from tui_tuner.methods.attached import find_model_method
from tui_tuner.methods.first_values.beginnings import list_low_rank
from tui_tuner.methods.method import FirstPass
from tui_tuner.methods.stored import read_stored
from tui_tuner.models.device import Device
from tui_tuner.models.facts import load_facts
from tui_tuner.models.loading import load_model
from tui_tuner.planning.heads.parameters import count_run_parameters
from tui_tuner.planning.traps.advice import list_trap_findings
from tui_tuner.training.step.optimizers import create_optimizer

CPU = Device("cpu")
Train = Callable[..., Trained]


@pytest.mark.parametrize("kind", ["lora", "dora", "rslora"])
@pytest.mark.parametrize("init", ["pissa", "olora"])
def test_what_was_taken_out_of_the_base_fits_the_original_again(
    make_config: MakeConfig, tmp_path: Path, kind: str, init: str
) -> None:
    from peft import PeftModel

    patterns = {"rank_pattern": {"q_proj": 2}, "alpha_pattern": {r"layers\.0\..*": 6.0}}
    config = make_config(**small(kind=kind, init=init, **patterns))
    base = load_model(config, "cpu")
    before = read_logits(base)
    model = attach(base, config)
    assert torch.allclose(read_logits(model), before, atol=1e-5), "it begins as the base model"
    ranks = {layer.r["default"] for _name, layer in list_low_rank(model)}
    assert ranks == {2, 4}
    stir(model)
    trained = read_logits(model)
    assert (trained - before).abs().max() > 1e-3
    find_model_method(model).save_model(model, tmp_path)
    assert model.active_peft_config.r == 4, "saving changes nothing"
    loaded = PeftModel.from_pretrained(load_model(config, "cpu"), str(tmp_path))
    assert torch.allclose(read_logits(loaded), trained, atol=1e-5)
    with loaded.disable_adapter():
        assert torch.equal(read_logits(loaded), before)
    assert torch.allclose(read_logits(merge(model)), trained, atol=1e-5)


@pytest.mark.parametrize("init", ["pissa", "olora"])
def test_beginnings_are_those_of_peft(make_config: MakeConfig, init: str) -> None:
    from peft import LoraConfig, get_peft_model

    config = make_config(**small(init=init, targets=["q_proj", "down_proj"]))
    ours = attach(load_model(config, "cpu"), config)
    settings = LoraConfig(
        r=4, lora_alpha=config.method.alpha, target_modules=["q_proj", "down_proj"], init_lora_weights=init
    )
    theirs = get_peft_model(load_model(config, "cpu"), settings)
    for (name, one), (_name, other) in zip(list_low_rank(ours), list_low_rank(theirs), strict=True):
        products = [layer.get_delta_weight("default") for layer in (one, other)]
        assert torch.allclose(*products, atol=1e-5), name
        assert torch.allclose(one.base_layer.weight, other.base_layer.weight, atol=1e-5), name


ENDINGS = [
    {"init": "pissa"},
    {"init": "eva"},
    {"kind": "adalora", "rank": 6, "final_rank": 2},
]


@pytest.mark.parametrize("method", ENDINGS, ids=lambda method: "-".join(map(str, method.values())))
def test_a_resumed_run_ends_the_same_and_plain_peft_loads_it(
    make_config: MakeConfig, train: Train, method: dict[str, Any]
) -> None:
    config = make_config(
        training__max_steps=12,
        training__batch_size=4,
        training__learning_rate=5e-3,
        training__lora_plus_ratio=4.0,
        evaluation__every=None,
        training__report_every=1e-6,
        output__save_every=2,
        data__max_length=64,
        **small(**method),
    )
    whole = train(config)
    assert whole.outcome.status == "completed", whole.outcome
    for step in (4, 8) if "final_rank" in method else (4,):  # while AdaLoRA takes ranks away, and after that
        stopped = train(config, before=reacting({step: ["stop"]}))
        assert stopped.outcome.status == "stopped" and step <= max(stopped.steps()) < 12
        train(config, resume=stopped.folder)
        for name in ("adapter_model.safetensors", "adapter_config.json"):
            one, other = (run.folder.path / "last" / name for run in (whole, stopped))
            assert one.read_bytes() == other.read_bytes(), (step, name)
    check_reload(config, whole.folder.path / "last")


def test_what_quantising_lost_is_given_back(make_config: MakeConfig, tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes")
    from peft import PeftModel

    whole = read_logits(load_model(make_config(), "cpu"))
    apart = {}
    for init in ("default", "loftq"):
        config = make_config(model__quantization="nf4", **small(init=init, rank=16))
        model = attach(load_model(config, "cpu"), config)
        logits = read_logits(model)
        apart[init] = float((logits - whole).norm())
    assert apart["loftq"] < 0.8 * apart["default"], apart
    find_model_method(model).save_model(model, tmp_path)
    loaded = PeftModel.from_pretrained(load_model(config, "cpu"), str(tmp_path))
    assert torch.allclose(read_logits(loaded), logits, atol=1e-5), "the base is the one that everybody has"


def test_eva_begins_with_the_directions_of_the_inputs(make_config: MakeConfig) -> None:
    config = make_config(**small(init="eva", targets=["q_proj", "k_proj", "down_proj"]))
    model = attach(load_model(config, "cpu"), config)
    method = find_model_method(model)
    assert method.reads_rows(config.method) and not method.reads_rows(make_config().method)
    trained = torch.zeros(20, dtype=torch.bool)
    trained[8:] = True
    read = torch.ones(20, dtype=torch.bool)
    base = model.get_base_model()
    seen: dict[str, torch.Tensor] = {}
    layer = dict(list_low_rank(model))["model.layers.1.mlp.down_proj"]
    handle = layer.register_forward_hook(lambda _one, inputs, _out: seen.update(x=inputs[0][0, 8:]))
    before = read_logits(base)
    handle.remove()
    method.begin_with_rows(model, [FirstPass(lambda: base(input_ids=IDS), read, trained)])
    inputs = seen["x"]
    _left, _values, right = torch.linalg.svd(inputs - inputs.mean(0), full_matrices=False)
    found = layer.lora_A["default"].weight
    along = (found @ right[:4].T).abs()
    assert torch.allclose(along, torch.eye(4), atol=1e-2), "the principal directions, up to their sign"
    assert torch.equal(read_logits(model), before), "and an update of zero"
    few = [FirstPass(lambda: base(input_ids=IDS[:, :3]), read[:3], trained[:3])]
    with pytest.raises(ConfigError, match="fewer than 4 tokens") as caught:
        method.begin_with_rows(model, few)
    assert caught.value.field == "method.init"


def test_adalora_takes_ranks_away_until_the_final_ones_are_left(make_config: MakeConfig) -> None:
    config = make_config(**small(kind="adalora", rank=6, final_rank=2))
    model = attach(load_model(config, "cpu"), config)
    method, total = find_model_method(model), 20
    plan = plan_schedule(total)
    assert (plan.begin, plan.end, plan.every) == (2, 10, 1)
    layers = list_low_rank(model)
    kept = []
    stir(model)
    for step in range(1, total + 1):
        loss = model(input_ids=IDS).logits.logsumexp(-1).mean() + method.extra_loss(model)
        loss.backward()
        if step == plan.end:  # left out: ranks are settled one step later
            continue
        method.after_step(model, step, total)
        model.zero_grad()
        kept.append(sum(int((layer.lora_E["default"] != 0).sum()) for _name, layer in layers))
        stir(model) if step < plan.end else None
    assert kept[0] == kept[1] == 6 * len(layers) and kept[2] < kept[1]
    assert set(kept[plan.end :]) == {2 * len(layers)}
    assert not any(layer.ranknum["default"].requires_grad for _name, layer in layers)
    with pytest.raises(ConfigError, match="10 optimizer steps"):
        method.check_steps(config.method, 9)


@pytest.mark.parametrize("quantization", ["none", "nf4"])
def test_adalora_is_saved_as_it_computes_whatever_was_taken_away(
    make_config: MakeConfig, tmp_path: Path, quantization: str
) -> None:
    from peft import PeftModel

    config = make_config(model__quantization=quantization, **small(kind="adalora", rank=6, final_rank=2))
    model = attach(load_model(config, "cpu"), config)
    method = find_model_method(model)
    stir(model)
    for step in range(1, 13):
        (model(input_ids=IDS).logits.logsumexp(-1).mean() + method.extra_loss(model)).backward()
        method.after_step(model, step, 12)
        model.zero_grad()
        if step not in (4, 12):  # amid the schedule, and at its end
            continue
        logits, place = read_logits(model), tmp_path / str(step)
        method.save_model(model, place)
        loaded = PeftModel.from_pretrained(load_model(config, "cpu"), str(place))
        assert torch.allclose(read_logits(loaded), logits, atol=1e-5), step
        assert "default" in next(iter(model.active_peft_config.rank_pattern)), "saving changes nothing"
        model.train()
    stored = read_stored(place)
    ranks = [shape[0] for name, shape in stored.shapes.items() if "lora_A" in name]
    assert sum(ranks) == 2 * len(ranks)
    if quantization == "none":
        assert torch.allclose(read_logits(merge(model)), logits, atol=1e-5)


@pytest.mark.parametrize(
    ("values", "field", "words"),
    [
        ({"rank": 512}, "method.rank", "can hold"),
        ({"kind": "adalora", "rank": 512}, "method.rank", "can hold"),
        ({"rank_pattern": {"q_proj": 512}}, "method.rank_pattern", "can hold"),
        ({"rank_pattern": {"q_prj": 2}}, "method.rank_pattern", "Did you mean q_proj"),
        ({"alpha_pattern": {r"layers\.7\..*": 2}}, "method.alpha_pattern", "no layer"),
        ({"targets": ["down_prj"]}, "method.targets", "Did you mean down_proj"),
        ({"targets": r".*layers\.9\..*"}, "method.targets", "no linear layer"),
        ({"targets": "(q_proj"}, "method.targets", "no regular expression"),
    ],
)
def test_what_does_not_fit_the_model_is_refused_with_its_field(
    make_config: MakeConfig, values: dict[str, Any], field: str, words: str
) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        config = make_config(**small(**values))
        attach(load_model(config, "cpu"), config)
    assert caught.value.field == field


@pytest.mark.parametrize("kind", ["lora", "loha", "vera", "ia3", "adalora"])
def test_targets_are_named_by_a_regular_expression(make_config: MakeConfig, kind: str) -> None:
    from peft.tuners.tuners_utils import BaseTunerLayer

    config = make_config(**small(kind=kind, targets=r"model\.layers\.0\..*(q_proj|down_proj)"))
    model = attach(load_model(config, "cpu"), config)
    names = [name for name, module in model.named_modules() if isinstance(module, BaseTunerLayer)]
    assert [name.split("layers.")[1] for name in names] == ["0.self_attn.q_proj", "0.mlp.down_proj"]


def test_second_matrices_learn_at_a_multiple(make_config: MakeConfig) -> None:
    config = make_settled(make_config, training__lora_plus_ratio=16.0, training__learning_rate=1e-3)
    model = attach(load_model(config, "cpu"), config)
    names = {id(weight): name for name, weight in model.named_parameters()}
    optimizer = create_optimizer(model, config, CPU, find_method("lora").trains_faster)
    rates = {names[id(one)]: group["lr"] for group in optimizer.param_groups for one in group["params"]}
    assert len(rates) == sum(weight.requires_grad for weight in model.parameters())
    assert {rate for name, rate in rates.items() if "lora_B" in name} == {0.016}
    assert {rate for name, rate in rates.items() if "lora_A" in name} == {0.001}


def test_contradictions_are_found_in_the_config() -> None:
    for values, field in (
        ({"method": {"init": "pissa"}, "model": {"quantization": "nf4"}}, "method.init"),
        ({"method": {"init": "loftq"}}, "method.init"),
        ({"method": {"kind": "adalora", "rank": 4, "final_rank": 4}}, "method.final_rank"),
        ({"method": {"rank_pattern": {"(": 4}}}, "method.rank_pattern"),
        ({"method": {"rank_pattern": {"q_proj": 0}}}, "method.rank_pattern"),
    ):
        with pytest.raises(ValueError, match=field.rpartition(".")[2]):
            RunConfig.model_validate(values)
    RunConfig.model_validate({"method": {"kind": "loha", "init": "loftq"}})  # not read, so no matter


@pytest.mark.parametrize(
    ("values", "field", "code"),
    [
        ({"kind": "adalora", "rank": 4}, "method.kind", "too_few_steps"),
        ({"rank": 512}, "method.rank", "rank_above_matrix"),
        ({"rank_pattern": {"q_prj": 2}}, "method.rank_pattern", "no_such_name"),
        ({"targets": ["q_proj"], "rank_pattern": {"v_proj": 2}}, "method.rank_pattern", "no_such_name"),
    ],
)
def test_what_cannot_be_is_said_before_a_run(
    make_config: MakeConfig, values: dict[str, Any], field: str, code: str
) -> None:
    config = make_config(training__max_steps=6, **small(**values))
    with pytest.raises(ConfigError) as caught:
        check_config_method(config)
    assert caught.value.field == field
    found = {one.code: one for one in list_trap_findings(config, load_facts(config.model))}
    assert found[code].serious


def test_loha_has_no_rank_above_its_matrices(make_config: MakeConfig) -> None:
    check_config_method(make_config(**small(kind="loha", rank=64)))
    with pytest.raises(ConfigError, match="which is 64") as caught:
        check_config_method(make_config(**small(kind="loha", rank=65)))
    assert caught.value.field == "method.rank"


def test_layers_that_a_pattern_means_are_counted_on_the_model(make_config: MakeConfig) -> None:
    config = make_config(
        **small(targets=r".*layers\.1\..*(q_proj|up_proj)", rank_pattern={r"layers\.1\.mlp\..*": 2})
    )
    facts = load_facts(config.model)
    guess = count_run_parameters(config, facts)
    assert guess.doubt, "which layers it takes is in no table"
    counted = count_parameters_on_model(config, facts, None, guess, "AutoModelForCausalLM", "CAUSAL_LM")
    model = attach(load_model(config, "cpu"), config)
    assert (counted.trained, counted.total) == count_model_parameters(model)
    assert counted.adapter == counted.trained, "there is no head"
