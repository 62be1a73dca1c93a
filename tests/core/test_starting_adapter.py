"""A run that begins with an adapter: trained on, merged first, or frozen under a new one."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

from tests.conftest import MakeConfig, Trained
from tests.core.test_session import Train, logits, reacting
from tui_tuner.config.load import read_config
from tui_tuner.config.schema import RunConfig
from tui_tuner.launch.beforehand import check_beforehand
from tui_tuner.methods.saved.starting_adapter import count_frozen, follow_adapter
from tui_tuner.training.load_run import load_run
from tui_tuner.training.starting import MERGED, START

LORA: dict[str, Any] = {"kind": "lora", "rank": 4, "alpha": 8}
KINDS: list[dict[str, Any]] = [
    {"kind": "rslora", "rank": 3, "layers": 2},
    {"kind": "dora", "rank": 4, "targets": ["q_proj", "down_proj"]},
    {"kind": "loha", "rank": 3},
    {"kind": "vera", "rank": 16},
    {"kind": "lokr", "rank": 3, "decompose_factor": 4},
    {"kind": "ln_tuning"},
    {"kind": "oft", "rotation_block": 8},
    {"kind": "boft", "rotation_block": 8},
    {"kind": "fourierft", "frequencies": 200},
    {"kind": "randlora", "rank": 8},
    {"kind": "ia3"},
    {"kind": "prompt_tuning", "virtual_tokens": 4},
    {"kind": "p_tuning_v2", "virtual_tokens": 4},
    {"kind": "bottleneck", "style": "parallel", "reduction": 8, "layer_norm": "before", "layers": 2},
]
PISSA: dict[str, Any] = {"kind": "rslora", "rank": 4, "init": "pissa", "rank_pattern": {"q_proj": 2}}


@pytest.fixture
def first(make_config: MakeConfig, train: Train) -> Trained:
    """A run with LoRA of rank 4."""
    return begun(make_config, train, LORA)


def begun(make_config: MakeConfig, train: Train, method: dict[str, Any], **more: Any) -> Trained:
    run = train(make_config(method=method, training__max_steps=3, **more))
    assert run.outcome.status == "completed", run.outcome
    return run


def plain(folder: Path) -> torch.Tensor:
    """What a final folder computes with plain peft, or plain transformers."""
    from peft import PeftConfig, PeftModel
    from peft.tuners.tuners_utils import BaseTunerLayer
    from transformers import AutoModelForCausalLM

    import tui_tuner.methods.bottlenecks.tuner  # noqa: F401  # peft hears of bottleneck adapters

    if not (folder / "adapter_config.json").is_file():
        return logits(AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32))
    name = PeftConfig.from_pretrained(str(folder)).base_model_name_or_path
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(name, dtype=torch.float32), folder)
    below = sorted(one.parent.name for one in folder.glob("below_*/adapter_config.json"))
    for one in below:
        model.load_adapter(str(folder / one), one)
    for module in model.modules():
        if below and isinstance(module, BaseTunerLayer):
            module.set_adapter([*below, "default"])
    return logits(model.eval())


def exec_card(folder: Path) -> None:
    """Run the lines of a model card that load the model, where the card is."""
    code = (folder / "README.md").read_text().split("```python")[1].split("messages =")[0]
    assert 'folder = "."' in code
    names: dict[str, Any] = {}
    exec(code.replace('folder = "."', f"folder = {str(folder)!r}"), names)
    torch.testing.assert_close(logits(names["model"].float()), plain(folder), atol=1e-5, rtol=1e-5)


class Started(NamedTuple):
    """A run, and what it computed before its first step."""

    run: Trained
    before: torch.Tensor

    @property
    def folder(self) -> Any:
        return self.run.folder


def starting(train: Train, config: RunConfig, **more: Any) -> Started:
    """Train, and keep what the model computes before its first step."""
    from tui_tuner.training.train import Training

    kept: list[torch.Tensor] = []

    def keep(trained: Trained) -> None:
        inner = Training.train_run

        def look(self: Any) -> Any:
            self.model.eval()
            kept.append(logits(self.model))
            self.model.train()
            return inner(self)

        patch.setattr(Training, "train_run", look)

    with pytest.MonkeyPatch.context() as patch:
        run = train(config, before=keep, **more)
    assert run.outcome.status == "completed", run.outcome
    return Started(run, kept[0])


def name_case(method: dict[str, Any]) -> str:
    return f"{method['kind']}-{method['init']}" if "init" in method else str(method["kind"])


@pytest.mark.parametrize("method", [LORA, *KINDS], ids=name_case)
def test_an_adapter_is_trained_on(make_config: MakeConfig, train: Train, method: dict[str, Any]) -> None:
    one = begun(make_config, train, method)
    config = make_config(
        method={"kind": method["kind"]}, model__adapter=one.folder.name, training__max_steps=3
    )
    two = starting(train, config)
    torch.testing.assert_close(two.before, plain(one.folder.best_path), atol=1e-5, rtol=1e-5)
    assert not torch.allclose(plain(two.folder.last_path), two.before, atol=1e-5)
    torch.testing.assert_close(
        logits(load_run(two.folder, "last", "cpu").model), plain(two.folder.last_path), atol=1e-5, rtol=1e-5
    )
    before, after = (
        json.loads((run.folder.last_path / "adapter_config.json").read_text()) for run in (one, two)
    )
    for name in ("r", "lora_alpha", "num_virtual_tokens", "layers_to_transform", "style", "size", "layers"):
        assert before.get(name) == after.get(name)
    resolved = {event["field"]: event for event in two.run.sink.of("resolved")}
    assert resolved["model.adapter"]["value"] == str(one.folder.best_path)
    settled = read_config(two.folder.path / "config.resolved.yaml")
    for name in ("rank", "virtual_tokens", "layers", "style", "reduction", "layer_norm"):
        if name in method:
            assert getattr(settled.method, name) == method[name]
            assert f"method.{name}" in resolved or getattr(config.method, name) == method[name]


def test_what_began_as_a_part_of_the_weights_is_trained_on_as_lora(
    make_config: MakeConfig, train: Train
) -> None:
    """What is saved of it has twice the rank; nothing is taken out of the base model, or measured, again."""
    one = begun(make_config, train, PISSA)
    for init in ("pissa", "eva"):
        method = {"kind": "rslora", "init": init}
        config = make_config(method=method, model__adapter=one.folder.name, training__max_steps=2)
        two = starting(train, config)
        torch.testing.assert_close(two.before, plain(one.folder.best_path), atol=1e-5, rtol=1e-5)
        last = two.folder.last_path
        loaded = load_run(two.folder, "last", "cpu").model
        torch.testing.assert_close(logits(loaded), plain(last), atol=1e-5, rtol=1e-5)
        settled = read_config(two.folder.path / "config.resolved.yaml").method
        assert (settled.init, settled.rank, settled.rank_pattern) == ("default", 8, {"q_proj": 4})
        assert json.loads((last / "adapter_config.json").read_text())["r"] == 8


@pytest.mark.parametrize("use", ["continue", "merge", "stack"])
def test_a_run_that_began_with_an_adapter_resumes_to_the_bit(
    make_config: MakeConfig, train: Train, first: Trained, use: str
) -> None:
    config = make_config(
        method=LORA,
        model={**make_config().model.model_dump(), "adapter": str(first.folder.path), "adapter_use": use},
        training__max_steps=6,
        training__report_every=1e-6,
    )
    whole = train(config)
    assert whole.outcome.status == "completed", whole.outcome
    stopped = train(config, before=reacting({2: ["stop"]}))
    assert stopped.outcome.status == "stopped"
    # the adapter that it began with may be gone by then
    moved = first.folder.path.rename(first.folder.path.with_name("elsewhere"))
    resumed = train(config, resume=stopped.folder)
    assert resumed.outcome.status == "completed", resumed.outcome
    assert {**stopped.steps(), **resumed.steps()} == whole.steps()
    for name in ("last", "best"):
        files = [run.folder.path / name / "adapter_model.safetensors" for run in (whole, stopped)]
        assert files[0].read_bytes() == files[1].read_bytes()
    newest = max(stopped.folder.checkpoints_path.glob("step-*"), key=lambda path: int(path.name[5:])).name
    torch.testing.assert_close(
        logits(load_run(stopped.folder, newest, "cpu").model), plain(stopped.folder.last_path)
    )
    shutil.rmtree(moved)


MERGED_METHODS: list[dict[str, Any]] = [
    LORA,
    {"kind": "full"},
    {"kind": "prompt_tuning", "virtual_tokens": 3},
    {"kind": "bottleneck", "style": "parallel"},
    PISSA,
]


@pytest.mark.parametrize("method", MERGED_METHODS, ids=name_case)
def test_an_adapter_is_merged_first(
    make_config: MakeConfig, train: Train, first: Trained, method: dict[str, Any]
) -> None:
    config = make_config(method=method, training__max_steps=3)
    config = with_adapter(config, first.folder.name, "merge")
    two = starting(train, config)
    merged = two.folder.path / MERGED
    torch.testing.assert_close(plain(merged), plain(first.folder.best_path), atol=1e-5, rtol=1e-5)
    if method["kind"] != "prompt_tuning":
        torch.testing.assert_close(two.before, plain(merged), atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(
            logits(load_run(two.folder, "last", "cpu").model),
            plain(two.folder.last_path),
            atol=1e-5,
            rtol=1e-5,
        )
    if method["kind"] != "full":
        told = json.loads((two.folder.last_path / "adapter_config.json").read_text())
        assert told["base_model_name_or_path"] == str(merged)


@pytest.mark.parametrize(
    ("below", "above"),
    [
        (LORA, {"kind": "rslora", "rank": 2}),
        ({"kind": "ia3"}, {"kind": "ia3"}),
        (KINDS[2], KINDS[2]),
        (LORA, PISSA),
        (PISSA, {"kind": "lora", "rank": 2, "init": "olora"}),
        (LORA, {"kind": "lora", "rank": 2, "init": "eva"}),
    ],
    ids=["lora", "ia3", "loha", "pissa", "olora", "eva"],
)
def test_a_new_adapter_is_trained_on_top_of_a_frozen_one(
    make_config: MakeConfig, train: Train, below: dict[str, Any], above: dict[str, Any]
) -> None:
    from safetensors.torch import load_file

    one = begun(make_config, train, below)
    config = with_adapter(make_config(method=above, training__max_steps=3), one.folder.name, "stack")
    two = starting(train, config)
    last = two.folder.last_path
    torch.testing.assert_close(two.before, plain(one.folder.best_path), atol=1e-5, rtol=1e-5)
    assert not torch.allclose(plain(last), two.before, atol=1e-5)
    for name, weight in load_file(last / "below_1" / "adapter_model.safetensors").items():
        assert torch.equal(weight, load_file(one.folder.best_path / "adapter_model.safetensors")[name])
    loaded = load_run(two.folder, "last", "cpu").model
    torch.testing.assert_close(logits(loaded), plain(last), atol=1e-5, rtol=1e-5)
    from tui_tuner.methods import merge

    torch.testing.assert_close(logits(merge(loaded)), plain(last), atol=1e-5, rtol=1e-5)
    exec_card(last)
    # and a third one on top of both
    three = starting(
        train, with_adapter(make_config(method=above, training__max_steps=1), str(last), "stack")
    )
    torch.testing.assert_close(three.before, plain(last), atol=1e-5, rtol=1e-5)
    assert {path.name for path in three.folder.last_path.glob("below_*")} == {"below_1", "below_2"}


def with_adapter(config: RunConfig, name: str, use: str = "continue") -> RunConfig:
    from tui_tuner.config.values import edit_values

    return edit_values(config, {"model.adapter": name, "model.adapter_use": use})


def refused(config: RunConfig) -> Any:
    from tui_tuner.errors import TunerError

    with pytest.raises(TunerError) as error:
        check_beforehand(config)
    return error.value


def test_what_does_not_fit_is_refused_before_a_run(
    make_config: MakeConfig, train: Train, first: Trained, tiny_model: Path, tmp_path: Path
) -> None:
    name = first.folder.name
    check_beforehand(with_adapter(make_config(method=LORA), name))
    check_beforehand(with_adapter(make_config(method=LORA), f"{name}/last"))
    found = refused(with_adapter(make_config(method={"kind": "dora"}), name))
    assert found.field == "method.kind" and "method.kind=lora" in found.hint
    found = refused(with_adapter(make_config(method={"kind": "vera"}), name, "stack"))
    assert found.field == "model.adapter_use" and "merge" in found.hint
    assert refused(with_adapter(make_config(), "no-such-run")).field == "model.adapter"
    assert "no adapter_config.json" in refused(with_adapter(make_config(), str(tiny_model))).what
    file = tmp_path / "adapter.txt"
    file.write_text("an adapter")
    assert "no adapter_config.json" in refused(with_adapter(make_config(), str(file))).what
    # another model, or the same folder with other weights
    other = tmp_path / "other"
    shutil.copytree(tiny_model, other)
    check_beforehand(with_adapter(make_config(model__name=str(other), method=LORA), name))
    weights = bytearray((other / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (other / "model.safetensors").write_bytes(bytes(weights))
    found = refused(with_adapter(make_config(model__name=str(other), method=LORA), name))
    assert found.field == "model.name" and str(tiny_model) in found.hint
    # a damaged file
    torn = tmp_path / "torn"
    shutil.copytree(first.folder.last_path, torn)
    data = (torn / "adapter_model.safetensors").read_bytes()
    (torn / "adapter_model.safetensors").write_bytes(data[:-20])
    assert "weights are damaged" in refused(with_adapter(make_config(), str(torn))).what
    prompt = begun(make_config, train, {"kind": "prompt_tuning", "virtual_tokens": 3})
    found = refused(with_adapter(make_config(), prompt.folder.name, "merge"))
    assert "changes no weight" in found.what
    between = begun(make_config, train, {"kind": "bottleneck"}).folder.name
    found = refused(with_adapter(make_config(method={"kind": "bottleneck"}), between, "stack"))
    assert found.field == "model.adapter_use"
    found = refused(with_adapter(make_config(method=LORA), between, "merge"))
    assert found.field == "model.adapter_use" and "cannot be merged" in found.what
    found = refused(with_adapter(make_config(method=LORA), between))
    assert found.field == "method.kind" and "=bottleneck" in found.hint and "merge" not in found.hint
    whole = begun(make_config, train, {"kind": "full"})
    assert "trained a whole model" in refused(with_adapter(make_config(), whole.folder.name)).what
    network = begun(make_config, train, {"kind": "p_tuning", "virtual_tokens": 3, "encoder_size": 8})
    kind = {"kind": "p_tuning", "virtual_tokens": 3}
    assert (
        "not kept after training" in refused(with_adapter(make_config(method=kind), network.folder.name)).what
    )


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"method": {"kind": "full"}}, "full trains the model's own weights; use merge"),
        ({"model__adapter_use": "merge", "model__quantization": "nf4"}, "rounded once more"),
        ({"model__architecture": {"model_type": "llama"}, "method": {"kind": "full"}}, "trained model"),
        ({"method": {"kind": "fusion", "adapters": ["a", "b"]}}, "model.adapter: fusion is trained on the"),
    ],
)
def test_contradictions_are_refused_by_the_config(
    make_config: MakeConfig, values: dict[str, Any], said: str
) -> None:
    with pytest.raises(Exception, match=said):
        make_config(model__adapter="x", **values)


def test_ranks_that_were_shared_out_are_merged_first_and_not_trained_on(
    make_config: MakeConfig, train: Train
) -> None:
    method = {"kind": "adalora", "rank": 4, "final_rank": 2}
    one = train(make_config(method=method, training__max_steps=10))
    assert one.outcome.status == "completed", one.outcome
    for use, field in (("continue", "model.adapter"), ("stack", "model.adapter_use")):
        found = refused(with_adapter(make_config(method={"kind": "adalora"}), one.folder.name, use))
        assert found.field == field and "model.adapter_use=merge" in found.hint
    config = with_adapter(make_config(method=LORA, training__max_steps=2), one.folder.name, "merge")
    two = starting(train, config)
    torch.testing.assert_close(two.before, plain(one.folder.best_path), atol=1e-5, rtol=1e-5)


def test_a_head_goes_on_from_the_one_that_was_trained(
    make_config: MakeConfig, train: Train, tmp_path: Path
) -> None:
    rows = [
        {"text": f"row {place} is {'good' if place % 2 else 'bad'}", "label": "yn"[place % 2]}
        for place in range(40)
    ]
    path = tmp_path / "classes.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    values = {"task": "classification", "data__path": str(path)}
    one = begun(make_config, train, LORA, **values)
    found = []
    for use in ("continue", "merge", "stack"):
        config = with_adapter(make_config(method=LORA, training__max_steps=2, **values), one.folder.name, use)
        run = train(config)
        assert run.outcome.status == "completed", run.outcome
        found.append(run.sink.of("evaluation")[0]["metrics"]["loss"])
    ended = load_run(one.folder, "best", "cpu")
    assert ended.model is not None and max(found) - min(found) < 1e-5


def test_plans_know_what_a_run_begins_with(make_config: MakeConfig, first: Trained) -> None:
    config = follow_adapter(with_adapter(make_config(method={"kind": "lora"}), first.folder.name))
    assert (config.method.rank, config.method.alpha) == (4, 8) and count_frozen(config) == ()
    config = follow_adapter(with_adapter(make_config(method={"kind": "lora"}), first.folder.name, "stack"))
    assert config.method.rank == 16
    trained = sum(count_frozen(config))
    assert trained == 3 * 4 * (64 * 2 * 2 + (64 + 32) * 2 + (64 + 128) * 3)


def test_the_copy_of_an_adapter_is_needed(make_config: MakeConfig, train: Train, first: Trained) -> None:
    config = with_adapter(make_config(method=LORA, training__max_steps=3), first.folder.name)
    stopped = train(config, before=reacting({1: ["stop"]}))
    shutil.rmtree(stopped.folder.path / START)
    resumed = train(config, resume=stopped.folder)
    assert resumed.outcome.status == "failed" and "lost the adapter" in resumed.outcome.message
