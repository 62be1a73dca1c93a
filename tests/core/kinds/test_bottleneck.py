"""Bottleneck adapters and their fusion: numbers of the adapters library, runs, the file that loads them."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.conftest import MakeConfig, Trained, chat_rows, write_jsonl
from tests.core.test_session import reacting
from tests.fusable import make_adapters
from tests.matrix.bottleneck.cases import CASES
from tests.matrix.bottleneck.ours import compute
from tui_tuner.config.schema import RunConfig
from tui_tuner.errors import ConfigError, ModelError
from tui_tuner.methods import attach, find_method, merge
from tui_tuner.models.facts import load_facts
from tui_tuner.models.loading import load_model
from tui_tuner.planning.heads.parameters import count_run_parameters

Train = Callable[..., Trained]
FIGURES = Path(__file__).parents[2] / "fixtures" / "adapters-1.3.json"
IDS = torch.tensor([[5, 9, 12, 40, 7, 3]])


@pytest.fixture(scope="module")
def theirs() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(FIGURES.read_text(encoding="utf-8"))
    return found


@pytest.mark.parametrize(("model", "case"), CASES)
def test_outputs_are_those_of_the_adapters_library(theirs: dict[str, Any], model: str, case: str) -> None:
    """Recorded by `python -m tests.matrix.bottleneck.compare --record`, version 1.3.0."""
    told, own = theirs[f"{model}, {case}"], compute(model, case)
    torch.testing.assert_close(
        torch.tensor(own["logits"]), torch.tensor(told["logits"]), atol=1e-5, rtol=1e-5
    )
    assert own["sum"] == pytest.approx(told["sum"], rel=1e-5)


def load_alone(last: Path, auto_class: str) -> torch.Tensor:
    """What a model says that was loaded in a process of its own, by the file in its folder."""
    code = f"""
import json, sys, torch, transformers
sys.path.insert(0, {str(last)!r})
from load_adapter import load_adapter
told = json.load(open({str(last / "adapter_config.json")!r}))
base = transformers.{auto_class}.from_pretrained(told["base_model_name_or_path"], dtype=torch.float32)
model = load_adapter(base, {str(last)!r}).eval()
torch.save(model(input_ids=torch.tensor({IDS.tolist()})).logits, {str(last / "said.pt")!r})
assert not [name for name in sys.modules if name.startswith(("tui_tuner", "peft"))]
"""
    done = subprocess.run(
        [sys.executable, "-I", "-c", code], capture_output=True, text=True, cwd=last, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found: torch.Tensor = torch.load(last / "said.pt", weights_only=True)
    return found


def say(model: Any) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model.eval()(input_ids=IDS).logits
    return found


def load_here(last: Path) -> Any:
    from transformers import AutoModelForCausalLM

    from tui_tuner.methods.saved.putting import put_adapter

    told = json.loads((last / "adapter_config.json").read_text())
    return put_adapter(AutoModelForCausalLM.from_pretrained(told["base_model_name_or_path"]), last)


def test_two_runs_are_fused_by_a_third(make_config: MakeConfig, train: Train, tmp_path: Path) -> None:
    """Two adapters trained on different data, named by their runs; the fusion learns, and they stay."""
    runs = []
    for number, (first, style) in enumerate(((0, "gelu"), (30, "relu"))):
        rows = write_jsonl(tmp_path / f"rows-{number}.jsonl", chat_rows(60)[first : first + 30])
        method = {"kind": "bottleneck", "style": "houlsby", "reduction": 8, "non_linearity": style}
        rate = {"training__max_steps": 12, "training__learning_rate": 0.02}
        config = make_config(data__path=str(rows), method=method, output__name=f"stage-{number}", **rate)
        runs.append(train(config))
        assert runs[-1].outcome.status == "completed"
    config = make_config(
        method={"kind": "fusion", "adapters": ["stage-0", "stage-1"]},
        training__max_steps=16,
        training__learning_rate=0.02,
    )
    fused = train(config)
    assert fused.outcome.status == "completed", fused.outcome
    losses = [loss for _step, loss in sorted(fused.steps().items())]
    assert sum(losses[-4:]) < sum(losses[:4])
    last = fused.folder.last_path
    weights = load_file(last / "adapter_model.safetensors")
    for number, run in enumerate(runs):
        for name, weight in load_file(run.folder.best_path / "adapter_model.safetensors").items():
            place, _dot, end = name.partition(".bottleneck_")
            if end == "up.bias":
                assert torch.equal(weights[f"{place}.fusion_adapters.up_bias"][number], weight)
    values = [weight for name, weight in weights.items() if name.endswith("fusion_value.weight")]
    assert values and all(not torch.equal(one, torch.eye(len(one)) + 1e-6) for one in values)
    here = load_here(last)
    torch.testing.assert_close(load_alone(last, "AutoModelForCausalLM"), say(here), atol=0, rtol=0)
    with pytest.raises(ModelError, match="cannot be merged"):
        merge(here)


@pytest.mark.parametrize("style", ["pfeiffer", "parallel"])
def test_the_file_in_the_folder_loads_it_without_this_program(
    make_config: MakeConfig, train: Train, style: str
) -> None:
    method = {"kind": "bottleneck", "style": style, "reduction": 4, "layer_norm": "before"}
    last = train(make_config(method=method)).folder.last_path
    torch.testing.assert_close(load_alone(last, "AutoModelForCausalLM"), say(load_here(last)), atol=0, rtol=0)
    card = (last / "README.md").read_text(encoding="utf-8")
    assert "from load_adapter import load_adapter" in card


@pytest.mark.parametrize("kind", ["bottleneck", "fusion"])
def test_a_run_that_was_stopped_goes_on_bit_for_bit(
    make_config: MakeConfig, train: Train, tiny_model: Path, tmp_path: Path, kind: str
) -> None:
    needs = {"adapters": make_adapters(str(tiny_model), tmp_path)} if kind == "fusion" else {}
    config = make_config(method={"kind": kind, **needs}, training__report_every=1e-6)
    whole = train(config)
    stopped = train(config, before=reacting({3: ["stop"]}))
    assert stopped.outcome.status == "stopped"
    for adapter in needs.get("adapters", ()):  # a run has its own copies
        shutil.rmtree(adapter)
    resumed = train(config, resume=stopped.folder)
    assert {**stopped.steps(), **resumed.steps()} == whole.steps()
    weights = [load_file(run.folder.last_path / "adapter_model.safetensors") for run in (whole, resumed)]
    assert all(torch.equal(weight, weights[1][name]) for name, weight in weights[0].items())


def fused(make_config: MakeConfig, *adapters: str) -> RunConfig:
    return make_config(method={"kind": "fusion", "adapters": list(adapters)})


def refuse(config: RunConfig) -> str:
    with pytest.raises(ConfigError) as caught:
        attach(load_model(config, "cpu"), config)
    assert caught.value.field == "method.adapters"
    return str(caught.value)


def test_adapters_that_do_not_go_together_are_refused(
    make_config: MakeConfig, tiny_model: Path, tmp_path: Path
) -> None:
    first, second = make_adapters(str(tiny_model), tmp_path / "pfeiffer")
    houlsby = make_adapters(str(tiny_model), tmp_path / "houlsby", 1, style="houlsby")[0]
    parallel = make_adapters(str(tiny_model), tmp_path / "parallel", 1, style="parallel")[0]
    upper = make_adapters(str(tiny_model), tmp_path / "upper", 1, layers=1)[0]
    normed = make_adapters(str(tiny_model), tmp_path / "normed", 1, layer_norm="after")[0]
    other = tmp_path / "other"
    other.mkdir()
    for file in Path(second).iterdir():
        (other / file.name).write_bytes(file.read_bytes())
    told = json.loads((other / "adapter_config.json").read_text())
    (other / "adapter_config.json").write_text(json.dumps({**told, "base_model_name_or_path": "org/model"}))
    assert "two adapters or more" in refuse(fused(make_config, first))
    assert "different places" in refuse(fused(make_config, first, houlsby))
    assert "parallel" in refuse(fused(make_config, parallel, first))
    assert "different layers" in refuse(fused(make_config, first, upper))
    assert "norm of their own" in refuse(fused(make_config, first, normed))
    assert "made for another model" in refuse(fused(make_config, first, str(other)))
    assert "org/model" in refuse(fused(make_config, str(other), str(other)))
    assert "neither a run nor" in refuse(fused(make_config, first, "no-such-run"))
    attach(load_model(config := fused(make_config, first, second), "cpu"), config)


@pytest.mark.parametrize(
    "damage",
    [
        {"size": "48"},
        {"size": 10**400},
        {"layers": -1},
        {"scaling": None},
        {"style": "\x1b[31mpfeiffer"},
        {"non_linearity": ["relu"]},
    ],
    ids=["text", "huge", "negative", "nothing", "escape", "list"],
)
def test_damaged_settings_of_an_adapter_are_refused_and_planned_without(
    make_config: MakeConfig, tiny_model: Path, tmp_path: Path, damage: dict[str, Any]
) -> None:
    adapters = make_adapters(str(tiny_model), tmp_path)
    path = Path(adapters[0]) / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **damage}))
    config = fused(make_config, *adapters)
    assert "\x1b" not in refuse(config)
    assert count_run_parameters(config, load_facts(config.model)).adapter > 0


def test_models_without_such_places_are_refused(make_config: MakeConfig) -> None:
    from types import SimpleNamespace

    from transformers import AutoConfig, AutoModel

    shape = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
    config: Any = SimpleNamespace(method=make_config(method={"kind": "bottleneck"}).method)
    mixture = {
        "moe_intermediate_size": 8,
        "num_experts": 2,
        "num_experts_per_tok": 1,
        "num_key_value_heads": 2,
    }
    for kind, more, why in (
        ("albert", {"embedding_size": 8}, "share their weights"),
        ("qwen3_moe", mixture, "mixtures of experts"),
    ):
        model = AutoModel.from_config(AutoConfig.for_model(kind, vocab_size=40, **shape, **more))
        with pytest.raises(ConfigError, match=why) as caught:
            attach(model, config)
        assert caught.value.field == "method.kind"


def test_the_extra_loss_draws_the_values_back(
    make_config: MakeConfig, tiny_model: Path, tmp_path: Path
) -> None:
    """A hundredth of the squared distance from the identity, of each place (adapters 1.3)."""
    config = fused(make_config, *make_adapters(str(tiny_model), tmp_path))
    model = attach(load_model(config, "cpu"), config)
    values = [weight for name, weight in model.named_parameters() if ".fusion_value." in name]
    with torch.no_grad():
        values[0][0, 1] += 2.0
    extra = find_method("fusion").extra_loss(model)
    assert extra is not None and extra.item() == pytest.approx(0.04, rel=1e-3)
    extra.backward()
    assert values[0].grad is not None and values[0].grad[0, 1].item() == pytest.approx(0.04, rel=1e-3)
