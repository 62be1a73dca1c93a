"""The way to the first step: what is imported, what is said, what is read ahead, what is computed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import types
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.core.test_hidden_by_rounding import ORDER, ROWS, halved, llama
from tests.core.ways import checker
from tui_tuner.compute import precision
from tui_tuner.compute import self_check as checking
from tui_tuner.compute.self_check import find_fastest_way
from tui_tuner.config.schema import ModelSection
from tui_tuner.models import libraries, weight_reading
from tui_tuner.models.libraries import hide_packages, show_packages
from tui_tuner.models.weight_reading import ReadAhead, list_weight_files

HEAVY = ("bitsandbytes", "datasets", "pandas", "pyarrow", "scipy", "sklearn", "torch._inductor.lowering")
ONE_RUN = """
import sys
from pathlib import Path
from tui_tuner.config.load import load_config
from tui_tuner.runs.control import CommandReceiver
from tui_tuner.runs.journal import JournalWriter
from tui_tuner.runs.store import RunStore
from tui_tuner.training import session

config = load_config(sys.argv[1])
run = RunStore(sys.argv[2]).create_run(config)
journal = JournalWriter(run.events_path, run.name)
outcome = session.run_training(config, run, journal, CommandReceiver(run.control_path))
assert outcome.status == "completed", outcome
print("imported", *(name for name in sys.argv[3:] if sys.modules.get(name)))
print("journal", run.events_path)
from peft.tuners.lora import Linear4bit  # there where bitsandbytes is
from transformers.utils import is_bitsandbytes_available
import peft.helpers
assert is_bitsandbytes_available() and peft.helpers.bnb.nn.Linear4bit
for name in [name for name in sys.modules if name.startswith("transformers.loss.")]:
    text = Path(sys.modules[name].__file__).read_text(encoding="utf-8")
    if "import linear_sum_assignment" in text:
        print("left", name.rpartition(".")[2], hasattr(sys.modules[name], "linear_sum_assignment"))
print("then", *(name for name in sys.argv[3:] if sys.modules.get(name)))
"""


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> dict[str, str]:
    """What a process says that trains LoRA over plain weights, and then asks for 4-bit ones."""
    from tests.conftest import chat_rows, write_jsonl
    from tui_tuner.config.load import build_config, dump_config

    folder = tmp_path_factory.mktemp("start")
    rows = write_jsonl(folder / "chats.jsonl", chat_rows(40))
    values = {
        "model": {"name": str(tiny_model), "dtype": "float32"},
        "data": {"path": str(rows), "validation": None, "max_length": 256},
        "method": {"kind": "lora", "targets": ["q_proj"]},
        "training": {"max_steps": 1, "batch_size": 4},
        "evaluation": {"samples": 0},
    }
    config = folder / "config.yaml"
    config.write_text(dump_config(build_config(values)), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-c", ONE_RUN, str(config), str(folder / "runs"), *HEAVY],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "HF_HUB_OFFLINE": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    lines = [line.partition(" ") for line in done.stdout.splitlines()]
    found = {name: rest for name, _space, rest in lines if name != "left"}
    return found | {"left": ", ".join(rest for name, _space, rest in lines if name == "left")}


def test_a_run_imports_only_what_it_needs_and_the_rest_is_there_later(told: dict[str, str]) -> None:
    assert told["imported"] == ""
    assert "bitsandbytes" in told["then"].split()


def test_no_module_is_left_without_a_name_that_it_would_have_taken(told: dict[str, str]) -> None:
    assert "loss_rt_detr True" in told["left"] and "False" not in told["left"]


def test_every_wait_before_the_first_step_is_announced_and_counted(told: dict[str, str]) -> None:
    lines = [json.loads(line) for line in Path(told["journal"]).read_text(encoding="utf-8").splitlines()]
    first = next(place for place, line in enumerate(lines) if line["kind"] == "step")
    phases = [line for line in lines[:first] if line["kind"] == "phase"]
    order = list(dict.fromkeys(phase["note"] or phase["name"] for phase in phases))
    wanted = [
        "importing torch and transformers",
        "tokenizer",
        "tokenizing",
        "model",
        "weights of the model",
        "attaching the method",
        "comparing fast ways to compute with plain forward passes",
        "training",
    ]
    assert [note for note in order if note in wanted] == wanted
    for note in (wanted[0], wanted[4], wanted[6]):
        counts = [(phase["done"], phase["total"]) for phase in phases if phase["note"] == note]
        assert counts == sorted(counts) and len({done for done, _total in counts}) > 1
        assert all(done <= total for done, total in counts)
    counted = {phase["note"] or phase["name"]: phase.get("unit") for phase in phases if phase["done"]}
    assert counted["tokenizing"] == "rows" and counted["weights of the model"] == "tensors"


def test_hidden_packages_are_there_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "seldom_needed.py").write_text("answer = 42\n", encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ImportError, match="seldom_needed"), hide_packages("seldom_needed"):
        import seldom_needed  # type: ignore[import-not-found]
    import seldom_needed

    with hide_packages("seldom_needed"):  # who has it already keeps it
        import seldom_needed as again
    assert again.answer == seldom_needed.answer == 42


def test_a_name_that_was_left_out_is_looked_up_when_it_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "asks_early.py").write_text(
        "try:\n    import seldom_used\nexcept ImportError:\n    seldom_used = None\n", encoding="utf-8"
    )
    (tmp_path / "seldom_used.py").write_text("def answer():\n    return 42\n", encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(libraries._TAKEN, ("asks_early", "seldom_used"), "seldom_used")
    with hide_packages("seldom_used"):
        import asks_early  # type: ignore[import-not-found]
    assert "seldom_used" not in sys.modules
    assert asks_early.seldom_used.answer() == 42


def test_a_name_of_a_package_that_is_not_installed_stays_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    asks = types.ModuleType("asks_in_vain")
    asks.absent = None  # type: ignore[attr-defined]  # as peft has it where there is no bitsandbytes
    monkeypatch.setitem(sys.modules, "asks_in_vain", asks)
    monkeypatch.setitem(libraries._TAKEN, ("asks_in_vain", "absent"), "not_installed_here")
    with hide_packages("not_installed_here"):
        pass
    assert asks.absent is None


def test_another_thread_waits_for_a_package_that_is_hidden(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "wanted_elsewhere.py").write_text("answer = 42\n", encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    began = threading.Event()

    def ask() -> int:
        began.set()
        with show_packages():
            import wanted_elsewhere  # type: ignore[import-not-found]
        return int(wanted_elsewhere.answer)

    with ThreadPoolExecutor(1) as pool:
        with hide_packages("wanted_elsewhere"):
            found = pool.submit(ask)
            assert began.wait(60)
            with pytest.raises(TimeoutError):
                found.result(timeout=0.1)
        assert found.result(timeout=60) == 42


# ---- reading ahead ----------------------------------------------------------------------------------------


def test_the_files_of_a_model_are_read_ahead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    for name in names:
        (tmp_path / name).write_bytes(b"0" * 3000)
    (tmp_path / "consolidated.safetensors").write_bytes(b"0" * 3000)  # the same weights once more
    index = {"weight_map": {"a": names[0], "b": names[1], "c": f"../{names[1]}"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    model = ModelSection(name=str(tmp_path))
    assert [path.name for path in list_weight_files(model)] == names
    monkeypatch.setattr(weight_reading, "_in_memory", lambda descriptor, offset: False)
    monkeypatch.setattr(weight_reading, "PIECE", 1024)
    with ReadAhead(model) as ahead:
        ahead.wait_for_end()
    assert ahead.bytes == 6000


def test_reading_ahead_leaves_alone_what_is_in_memory_or_does_not_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"0" * 3000)
    for patch in (
        {"_in_memory": lambda descriptor, offset: True},
        {"_in_memory": lambda descriptor, offset: False, "measure_host_memory": lambda: (5000, 5000)},
    ):
        for name, value in patch.items():
            monkeypatch.setattr(weight_reading, name, value)
        with ReadAhead(ModelSection(name=str(tmp_path))) as ahead:
            ahead.wait_for_end()
        assert ahead.bytes == 0


@pytest.mark.parametrize("name", ["demo", "nobody/nothing", "/no/such/folder"])
def test_a_model_without_files_here_is_no_trouble(name: str) -> None:
    with ReadAhead(ModelSection(name=name)) as ahead:
        ahead.wait_for_end()
    assert ahead.bytes == 0


# ---- the check of the fast ways ---------------------------------------------------------------------------


def counted(model: Any) -> list[tuple[int, ...]]:
    """The shapes that a model is called with from now on, in 16 bits."""
    seen: list[tuple[int, ...]] = []
    inner: Callable[..., Any] = model.forward

    def forward(*args: Any, **kwargs: Any) -> Any:
        if torch.is_autocast_enabled("cpu"):
            seen.append(tuple(kwargs["input_ids"].shape))
        return inner(*args, **kwargs)

    model.forward = forward
    return seen


def test_a_way_is_computed_once_though_its_bounds_are_widened(monkeypatch: pytest.MonkeyPatch) -> None:
    """In 16 bits: its losses and its gradient once each, and each plain pass once for each of the two."""
    monkeypatch.setattr(checking, "LEAST_HALF", replace(checking.LEAST_HALF, loss=0.0, gradient=0.0))
    model, wanted = halved(llama(), "autocast")
    seen = counted(model)
    found = find_fastest_way(checker(model, ROWS, ORDER), wanted)
    assert found.way == wanted
    whole, graded = int(ROWS.lengths.sum()), int(ROWS.lengths[ORDER[:3]].sum())
    assert [shape for shape in seen if shape[1] in (whole, graded)] == [(1, whole), (1, graded)]
    assert len(seen) == 2 + 4 + 3


def test_the_passes_of_a_check_are_counted() -> None:
    model, wanted = halved(llama(), "autocast")
    one, said = checker(model, ROWS, ORDER), []
    one.count = checking.PassCount(lambda done, needed: said.append((done, needed)))
    assert find_fastest_way(one, wanted).way == wanted
    assert [done for done, _needed in said] == list(range(len(said)))
    assert all(done < needed for done, needed in said) and said[-1][0] + 1 == said[-1][1]


@pytest.mark.parametrize("trained", ["lora", "top"])
def test_a_large_model_is_in_float32_layer_by_layer(trained: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Losses and gradients are those of a whole copy; of frozen weights one layer is wide at a time."""
    model = llama().to(torch.bfloat16)
    model.requires_grad_(False)
    if trained == "top":
        model.model.layers[-1].requires_grad_(True)
    else:
        from peft import LoraConfig, get_peft_model

        torch.manual_seed(0)
        config = LoraConfig(r=4, target_modules=["q_proj", "down_proj"], init_lora_weights=False)
        model = get_peft_model(model, config, autocast_adapter_dtype=False).eval()
    before = {name: one.detach().clone() for name, one in model.named_parameters()}
    layers = model.get_base_model().model.layers if trained == "lora" else model.model.layers
    most = [0]

    def watch(*_unused: Any) -> None:
        frozen = [[one for one in layer.parameters() if not one.requires_grad] for layer in layers]
        most[0] = max(most[0], sum(any(one.dtype == torch.float32 for one in held) for held in frozen))

    hooks = [layer.self_attn.register_forward_hook(watch) for layer in layers]

    def compute() -> list[Any]:
        with precision.compute_in_float32(model):
            losses = model(input_ids=torch.arange(5, 45)[None]).logits.square().mean(-1)
            graded = [one for one in model.parameters() if one.requires_grad]
            return [losses.detach(), *torch.autograd.grad(losses.sum(), graded)]

    whole = compute()
    assert most == [3 if trained == "lora" else 2]
    monkeypatch.setattr(precision, "LARGE", 0)
    most[0] = 0
    streamed = compute()
    assert most == [1]
    assert all(
        one.dtype == torch.float32 and torch.equal(one, two) for one, two in zip(streamed, whole, strict=True)
    )
    for name, one in model.named_parameters():
        assert one.dtype == torch.bfloat16 and torch.equal(one, before[name])
    assert not any(layer._forward_pre_hooks or layer._forward_hooks for layer in layers)
    for hook in hooks:
        hook.remove()


def test_a_layer_that_fails_is_left_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "LARGE", 0)
    model = llama().to(torch.bfloat16).requires_grad_(False)
    model.model.layers[1].mlp.forward = lambda x: x.no_such_thing
    with pytest.raises(AttributeError), torch.no_grad(), precision.compute_in_float32(model):
        model(input_ids=torch.arange(5, 45)[None])
    assert {one.dtype for one in model.parameters()} == {torch.bfloat16}


def test_the_check_of_a_large_model_needs_room_for_a_layer_only(monkeypatch: pytest.MonkeyPatch) -> None:
    model = llama(tie_word_embeddings=True).to(torch.bfloat16).requires_grad_(False)
    held = sum(one.numel() for one in model.parameters()) * 4
    monkeypatch.setattr(precision, "measure_free_memory", lambda device: 1.9 * held)
    assert precision.find_float32_problem(model, torch.device("cpu"))
    monkeypatch.setattr(precision, "LARGE", 0)
    assert not precision.find_float32_problem(model, torch.device("cpu"))
