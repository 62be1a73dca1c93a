"""Whole runs of a tiny model: methods, events, commands, what is taken home."""

from __future__ import annotations

import gc
import json
import threading
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open

from tests.conftest import MakeConfig, Recorder, Trained, write_jsonl
from tui_tuner.config.kinds.methods import METHODS
from tui_tuner.config.kinds.tasks import TASKS
from tui_tuner.config.options import list_options
from tui_tuner.runs.control import CommandReceiver, send_control_command
from tui_tuner.runs.events import EventBody, Step

Train = Callable[..., Trained]


def logits(model: Any) -> torch.Tensor:
    """In training mode, without dropout: evaluation mode changes 4-bit weights on some CPUs."""
    model.train()
    with torch.no_grad():
        return model(input_ids=torch.arange(5, 25)[None], use_cache=False).logits.float()


def names(file: Any) -> list[str]:
    return list(file.keys())


def test_registries_hold_what_the_config_offers() -> None:
    from tui_tuner import tasks
    from tui_tuner.methods import Method, find_method
    from tui_tuner.tasks import Task, find_task

    assert all(isinstance(find_method(name), Method) for name in METHODS)
    assert all(find_method(name).kind is kind for name, kind in METHODS.items())
    fields = {path.partition(".")[2] for path in list_options() if path.startswith("method.")}
    assert {name for kind in METHODS.values() for name in kind.fields} == fields - {"kind"}
    assert all(isinstance(find_task(name), Task) for name in TASKS)
    modules = {path.stem for path in Path(str(tasks.__file__)).parent.glob("*.py")} - {
        "__init__",
        "base",
        "generative",
    }
    assert modules == set(TASKS)


@pytest.mark.parametrize(
    "changes",
    [
        {"method__kind": "lora"},
        {"method__kind": "dora", "method__targets": ["q_proj", "down_proj"]},
        {"method__kind": "rslora", "method__layers": 1},
        {"method__kind": "lora", "method__train_embeddings": True},
        {"method__kind": "full"},
        {"method__kind": "freeze", "method__layers": 1},
        {"method__kind": "lora", "model__quantization": "nf4"},
        {"method__kind": "loha"},
        {"method__kind": "vera", "method__rank": 32},
        {"method__kind": "vera", "method__rank": 32, "model__quantization": "nf4"},
        {"method__kind": "lokr"},
        {"method__kind": "ln_tuning", "training__learning_rate": 0.1},
        {"method__kind": "ln_tuning", "training__learning_rate": 0.1, "model__quantization": "nf4"},
        {"method__kind": "oft"},
        {"method__kind": "boft"},
        {"method__kind": "boft", "model__quantization": "nf4"},
        {"method__kind": "fourierft", "training__learning_rate": 0.1},
        {"method__kind": "randlora", "method__rank": 8},
        {"method__kind": "randlora", "method__rank": 8, "model__quantization": "nf4"},
        {"method__kind": "ia3"},
        {"method__kind": "ia3", "model__quantization": "nf4"},
        {"method__kind": "prompt_tuning", "method__initial_text": "Describe the red hat."},
        {"method__kind": "prompt_tuning", "model__quantization": "nf4"},
        {"method__kind": "p_tuning", "method__encoder_size": 32},
        {"method__kind": "prefix_tuning"},
        {"method__kind": "prefix_tuning", "method__encoder_size": 32},
        {"method__kind": "bottleneck"},
        {"method__kind": "bottleneck", "method__style": "houlsby", "model__quantization": "nf4"},
        {"method__kind": "bottleneck", "method__style": "parallel", "method__layers": 1},
        {"method__kind": "p_tuning_v2"},
        {"method__kind": "p_tuning_v2", "method__encoder_size": 32, "model__quantization": "nf4"},
    ],
    ids=lambda changes: "-".join(str(value) for value in changes.values()),
)
def test_methods_learn_and_load_again_with_plain_libraries(
    make_config: MakeConfig, train: Train, tiny_model: Path, changes: dict[str, Any]
) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig

    kept: list[Any] = []
    config = make_config(training__max_steps=8, **changes)

    def keep_model(trained: Trained) -> None:
        from tui_tuner.training.train import Training

        inner = Training.train_run

        def and_keep(self: Any) -> Any:
            loop = inner(self)
            kept.append(logits(self.model))
            return loop

        patch.setattr(Training, "train_run", and_keep)

    with pytest.MonkeyPatch.context() as patch:
        run = train(config, before=keep_model)
    assert run.outcome.status == "completed", run.outcome
    losses = run.steps()
    assert sorted(losses) == list(range(1, 9))
    assert losses[8] < losses[1]

    last = run.folder.last_path
    options: dict[str, Any] = {"dtype": torch.float32}
    if config.model.quantization == "nf4":
        options["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=torch.float32,
        )
    if config.method.kind in ("full", "freeze"):
        model = AutoModelForCausalLM.from_pretrained(last, **options)
    else:
        from peft import PeftModel

        adapter = json.loads((last / "adapter_config.json").read_text())
        assert adapter["base_model_name_or_path"] == str(tiny_model)
        base = AutoModelForCausalLM.from_pretrained(adapter["base_model_name_or_path"], **options)
        model = PeftModel.from_pretrained(base, last)
    torch.testing.assert_close(logits(model), kept[0], atol=1e-5, rtol=1e-5)
    tokenizer = AutoTokenizer.from_pretrained(last)
    assert tokenizer.chat_template
    assert run.folder.best_path.is_dir()


def test_freeze_leaves_lower_layers_alone(make_config: MakeConfig, train: Train, tiny_model: Path) -> None:
    run = train(make_config(method__kind="freeze", method__layers=1))
    with (
        safe_open(tiny_model / "model.safetensors", "pt") as before,
        safe_open(run.folder.last_path / "model.safetensors", "pt") as after,
    ):
        changed = {
            name for name in names(before) if not torch.equal(before.get_tensor(name), after.get_tensor(name))
        }
    assert changed
    assert all(name.startswith("model.layers.2.") or name == "model.norm.weight" for name in changed)


def test_adapters_of_the_last_layers_only(make_config: MakeConfig, train: Train) -> None:
    run = train(make_config(method__layers=1, training__max_steps=1))
    with safe_open(run.folder.last_path / "adapter_model.safetensors", "pt") as file:
        assert {name.split(".layers.")[1].split(".")[0] for name in names(file)} == {"2"}
        assert not any("lm_head" in name for name in names(file))


def test_journal_of_a_run(make_config: MakeConfig, train: Train) -> None:
    run = train(
        make_config(
            evaluation__samples=2,
            evaluation__metric_rows=3,
            evaluation__max_new_tokens=6,
            evaluation__prompts=["Describe the red hat."],
        )
    )
    sink = run.sink
    assert sink.events[0][0] == "run_started"
    assert sink.events[-1] == (
        "finished",
        {"status": "completed", "exit_code": 0, "message": run.outcome.message, "hint": ""},
    )
    assert [fields["step"] for fields in sink.of("step")] == [1, 2, 3, 4, 5, 6]
    first = sink.of("step")[0]
    assert first["seconds"] > 0 and first["supervised_tokens"] > 0 and first["grad_norm"] > 0
    assert first["tokens_per_second"] == first["supervised_tokens"] / first["seconds"]
    validation = [fields for fields in sink.of("evaluation") if fields["stage"] == "validation"]
    assert [fields["step"] for fields in validation] == [0, 3, 6]
    assert set(validation[0]["metrics"]) == {"loss", "perplexity", "accuracy"}
    stages = [(fields["stage"], fields["step"]) for fields in sink.of("sample")]
    assert stages == [("before", 0)] * 3 + [("during", 3)] * 2 + [("after", 6)] * 3
    scored = [fields["stage"] for fields in sink.of("evaluation") if fields["stage"] != "validation"]
    assert scored == ["before", "after"]
    assert [fields["step"] for fields in sink.of("checkpoint")] == [3, 6]
    resolved = {fields["field"]: fields for fields in sink.of("resolved")}
    assert resolved["data.packing"]["value"] is True and resolved["data.packing"]["why"]
    assert "auto" not in (run.folder.path / "config.resolved.yaml").read_text().split("training:")[1][:200]


def test_imports_are_out_of_the_collector_while_it_trains(
    make_config: MakeConfig, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tui_tuner.training.step.engine import Engine

    step, frozen = Engine.train_step, []

    def first(*args: Any, **kwargs: Any) -> Any:
        frozen.append((gc.get_freeze_count(), len(gc.get_objects())))
        return step(*args, **kwargs)

    monkeypatch.setattr(Engine, "train_step", first)
    assert train(make_config()).outcome.status == "completed"
    kept, walked = frozen[0]
    assert kept > walked, "a collection before the first step walks what the run made, not what imports left"
    assert gc.get_freeze_count() == 0, "and after the run everything is collected as before"


def test_nothing_of_a_run_is_left_in_the_process(make_config: MakeConfig, train: Train) -> None:
    from tui_tuner.data.examples.store import TokenStore
    from tui_tuner.training.step.engine import Engine

    def held() -> list[Any]:
        return [one for one in gc.get_objects() if type(one) in (TokenStore, Engine)]

    before = held()  # of other tests
    for _unused in range(2):
        train(make_config(training__max_steps=2))
    known = {id(one) for one in before}
    left = [one for one in held() if id(one) not in known]
    assert not left, "also no model, no memory of a device, no open file of the token cache"


def test_nothing_is_printed(make_config: MakeConfig, train: Train, capfd: pytest.CaptureFixture[str]) -> None:
    train(make_config(training__max_steps=1))  # imports may warn once
    capfd.readouterr()
    train(make_config(training__max_steps=2, evaluation__samples=1))
    assert capfd.readouterr() == ("", "")


def test_padded_rows_give_the_same_run(make_config: MakeConfig, train: Train) -> None:
    packed, padded = train(make_config()), train(make_config(data__packing=False))
    full = train(make_config(training__loss="full_logits"))
    for step, loss in packed.steps().items():
        assert padded.steps()[step] == pytest.approx(loss, abs=2e-5)
        assert full.steps()[step] == pytest.approx(loss, abs=2e-5)


def test_micro_batch_does_not_change_the_run(make_config: MakeConfig, train: Train) -> None:
    one, other = train(make_config(training__micro_batch=1)), train(make_config(training__micro_batch=8))
    for step, loss in one.steps().items():
        assert other.steps()[step] == pytest.approx(loss, abs=2e-5)


def test_two_runs_in_one_process_with_other_precision(make_config: MakeConfig, train: Train) -> None:
    full = train(make_config(training__max_steps=2))
    half = train(make_config(training__max_steps=2, training__autocast=True, model__dtype="bfloat16"))
    assert half.outcome.status == "completed", half.outcome
    assert half.steps()[1] == pytest.approx(full.steps()[1], rel=0.02)
    assert half.steps()[1] != full.steps()[1]


@pytest.mark.parametrize("kind", ["adamw_8bit", "sgd", "adafactor", "paged_adamw_8bit"])
def test_optimizers_run(make_config: MakeConfig, train: Train, kind: str) -> None:
    run = train(make_config(training__optimizer=kind, training__max_steps=2))
    if "8bit" in kind and metadata.version("bitsandbytes").startswith("0.49."):  # it has them for GPUs only
        assert run.outcome.exit_code == 2 and "bitsandbytes has no" in run.outcome.message
        return
    assert run.outcome.status == "completed", run.outcome


@pytest.mark.parametrize("kind", ["linear", "constant", "inverse_sqrt", "warmup_stable_decay"])
def test_schedules_run(make_config: MakeConfig, train: Train, kind: str) -> None:
    run = train(make_config(training__schedule=kind, training__max_steps=5, training__warmup=0.4))
    rates = [fields["learning_rate"] for fields in run.sink.of("step")]
    assert rates[0] < rates[2] == max(rates)


def test_pretraining_from_scratch_with_a_tokenizer_of_its_own(
    make_config: MakeConfig, train: Train, tmp_path: Path
) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    rows = [{"text": f"The {n} quick brown foxes jump over the lazy dog. " * (1 + n % 5)} for n in range(80)]
    shape = {"model_type": "llama", "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
    config = make_config(
        task="pretraining",
        model={
            "name": "new",
            "architecture": {**shape, "num_attention_heads": 4},
            "tokenizer": "train",
            "vocabulary": 300,
        },
        data__path=str(write_jsonl(tmp_path / "texts.jsonl", rows)),
        method={"kind": "full"},
        training__max_steps=12,
    )
    run = train(config)
    assert run.outcome.status == "completed", run.outcome
    losses = run.steps()
    assert losses[12] < losses[1] - 0.3
    tokenizer = AutoTokenizer.from_pretrained(run.folder.last_path)
    model = AutoModelForCausalLM.from_pretrained(run.folder.last_path)
    assert model.get_input_embeddings().weight.shape[0] == len(tokenizer) == 300


def test_gradient_checkpointing_gives_the_same_run(make_config: MakeConfig, train: Train) -> None:
    plain = train(make_config())
    checked = train(make_config(training__gradient_checkpointing=True))
    for step, loss in plain.steps().items():
        assert checked.steps()[step] == pytest.approx(loss, abs=1e-5)


# ---- commands ------------------------------------------------------------------------------------------


class Reacting(Recorder):
    """Sends a command when a step is reported."""

    def __init__(self, control: CommandReceiver, at: dict[int, list[str]]) -> None:
        super().__init__()
        self.control, self.at = control, at

    def emit(self, body: EventBody) -> None:
        super().emit(body)
        if isinstance(body, Step):
            for command in self.at.pop(body.step, []):
                send_control_command(self.control.path, command)


def reacting(at: dict[int, list[str]]) -> Callable[[Trained], None]:
    def before(run: Trained) -> None:
        run.sink = Reacting(run.control, at)

    return before


def test_stop_saves_and_resume_goes_on_with_the_same_losses(make_config: MakeConfig, train: Train) -> None:
    config = make_config(training__max_steps=8, training__report_every=1e-6, method__dropout=0.2)
    whole = train(config)
    stopped = train(config, before=reacting({3: ["stop"]}))
    assert (stopped.outcome.status, stopped.outcome.exit_code) == ("stopped", 130)
    assert stopped.sink.of("finished")[0]["status"] == "stopped"
    at = stopped.sink.of("checkpoint")[-1]["step"]
    assert at in (3, 4) and max(stopped.steps()) == at
    resumed = train(config, resume=stopped.folder)
    assert resumed.sink.of("run_started")[0]["resumed_from"] == at
    assert resumed.outcome.status == "completed"
    assert {**stopped.steps(), **resumed.steps()} == whole.steps()
    again = train(config, resume=stopped.folder)
    assert again.outcome.status == "completed" and not again.steps()


def test_sigterm_exits_143(make_config: MakeConfig, train: Train) -> None:
    def before(run: Trained) -> None:
        run.control.request_command("stop", reason="SIGTERM")

    run = train(make_config(), before=before)
    assert (run.outcome.status, run.outcome.exit_code) == ("stopped", 143)


def test_save_and_evaluate_on_demand(make_config: MakeConfig, train: Train) -> None:
    run = train(
        make_config(
            training__report_every=1e-6, evaluation__every=100, output__save_every=100, training__max_steps=5
        ),
        before=reacting({2: ["save", "evaluate"]}),
    )
    assert run.sink.of("checkpoint")[0]["step"] in (2, 3)
    assert [run.sink.of("evaluation")[place]["step"] in (2, 3) for place in (0, 1)] == [False, True]
    assert [fields["command"] for fields in run.sink.of("command")] == ["save", "evaluate"]


def test_pause_waits_and_continue_goes_on(make_config: MakeConfig, train: Train) -> None:
    def later(run: Trained) -> None:
        reacting({2: ["pause"]})(run)

        def go_on() -> None:
            deadline = time.monotonic() + 60
            while time.monotonic() < deadline:
                if any(fields["name"] == "paused" for fields in run.sink.of("phase")):
                    time.sleep(0.5)
                    send_control_command(run.control.path, "continue")
                    return
                time.sleep(0.02)

        threading.Thread(target=go_on, daemon=True).start()

    config = make_config(training__report_every=1e-6)
    run = train(config, before=later)
    assert run.outcome.status == "completed"
    assert run.steps() == train(config).steps()
    assert all(fields["seconds"] < 0.5 for fields in run.sink.of("step")[1:])


def test_stop_while_paused(make_config: MakeConfig, train: Train) -> None:
    run = train(make_config(training__report_every=1e-6), before=reacting({2: ["pause", "stop"]}))
    assert run.outcome.status == "stopped"


def test_runs_in_a_thread(make_config: MakeConfig, train: Train) -> None:
    found: list[Trained] = []
    thread = threading.Thread(target=lambda: found.append(train(make_config(training__max_steps=2))))
    thread.start()
    thread.join()
    assert found[0].outcome.status == "completed"


def test_early_stopping_and_its_resume(make_config: MakeConfig, train: Train) -> None:
    config = make_config(
        training__learning_rate=5.0,
        training__max_grad_norm=0,
        training__max_steps=30,
        evaluation__every=1,
        evaluation__early_stopping=2,
        method__kind="full",
    )
    run = train(config)
    assert run.outcome.status == "completed" and "early" in run.outcome.message
    last = max(run.steps())
    assert last < 30
    again = train(config, resume=run.folder)
    assert again.outcome.status == "completed" and not again.steps()


# ---- failures ------------------------------------------------------------------------------------------


def test_a_number_that_is_none_stops_the_run_resumably(make_config: MakeConfig, train: Train) -> None:
    config = make_config(
        method__kind="full",
        training__learning_rate=1e-3,
        training__max_steps=10,
        evaluation__every=2,
        output__save_every=2,
    )

    def before(run: Trained) -> None:
        from tui_tuner.training.step import engine

        inner = engine.Engine._accumulate_gradients

        def spoilt(self: Any, *args: Any) -> Any:
            loss = inner(self, *args)
            if self.step == 4:
                for parameter in self.model.parameters():
                    parameter.grad.fill_(float("nan"))
            return loss

        patch.setattr(engine.Engine, "_accumulate_gradients", spoilt)

    with pytest.MonkeyPatch.context() as patch:
        run = train(config, before=before)
    assert (run.outcome.status, run.outcome.exit_code) == ("failed", 1)
    assert "step 5" in run.outcome.message and "chats.jsonl" in run.outcome.message
    resumed = train(config, resume=run.folder)
    assert resumed.sink.of("run_started")[0]["resumed_from"] == 4
    assert resumed.outcome.status == "completed"

    config.training.on_bad_numbers = "skip"
    with pytest.MonkeyPatch.context() as patch:
        skipping = train(config, before=before)
    assert skipping.outcome.status == "completed"
    assert "bad_numbers" in skipping.codes()
    assert all(loss == loss for loss in skipping.steps().values())


def test_an_unforeseen_error_is_short_in_the_journal_and_whole_in_the_log(
    make_config: MakeConfig, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tui_tuner.training.train import Training

    def broken(self: Any) -> None:
        raise ZeroDivisionError("a thing nobody thought of")

    monkeypatch.setattr(Training, "_make_engine", broken)
    run = train(make_config())
    assert (run.outcome.status, run.outcome.exit_code) == ("failed", 1)
    assert run.outcome.message == "ZeroDivisionError: a thing nobody thought of"
    assert "Traceback" in run.folder.log_path.read_text()
    assert len(run.sink.of("finished")) == 1


def test_errors_that_users_understand_keep_their_exit_code(
    make_config: MakeConfig, train: Train, tmp_path: Path
) -> None:
    missing = train(make_config(data__path=str(tmp_path / "nothing.jsonl")))
    assert (missing.outcome.status, missing.outcome.exit_code) == ("failed", 3)
    too_many = train(make_config(method__kind="freeze", method__layers=9))
    assert too_many.outcome.exit_code == 2 and "3 layers" in too_many.outcome.message
    unknown = train(make_config(method__targets=["query"]))
    assert unknown.outcome.exit_code == 2 and "q_proj" in unknown.sink.of("finished")[0]["hint"]
    other = write_jsonl(
        tmp_path / "other.jsonl", [{"messages": [{"role": "user", "content": "x"}]} for _ in range(9)]
    )
    nothing = train(make_config(data__path=str(other)))
    assert nothing.outcome.exit_code == 3
