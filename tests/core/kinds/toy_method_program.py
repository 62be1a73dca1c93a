"""What `test_toy_method` runs in a copy of the package with the method of CONTRIBUTING: `RUNS ANSWER`."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

KIND = "norm_scale"


def ask_without_torch() -> dict[str, Any]:
    """What screens and planning say of the method; both import no training library."""
    import tui_tuner
    from tui_tuner.config.load import build_config
    from tui_tuner.config.options import list_options
    from tui_tuner.config.sections.word_help import explain_word
    from tui_tuner.models.facts import load_facts
    from tui_tuner.planning.data_facts import DataFacts
    from tui_tuner.planning.hardware import Hardware
    from tui_tuner.planning.plan import plan_run
    from tui_tuner.ui.form_values import list_select_words

    config = build_config({name: one for name, one in values(Path("unused")).items() if name != "training"})
    planned = plan_run(
        config,
        hardware=Hardware(cores=2, memory_gib=16),
        data=DataFacts(400, 60.0, 90),
        facts=load_facts(config.model),
    )
    return {
        "package": str(tui_tuner.__file__),
        "choices": list_select_words(list_options()["method.kind"], {"task": "sft"}),
        "explained": explain_word("method.kind", KIND),
        "planned": planned.parameters.trained,
        "rate": planned.rate.value,
        "gib": planned.fit.estimate.allocated,
        "without_torch": "torch" not in sys.modules,
    }


def values(runs: Path) -> dict[str, Any]:
    return {
        "model": {"name": "demo", "dtype": "float32"},
        "data": {"path": "demo", "workers": 1, "max_length": 96, "limit": 40, "validation": 0.1},
        "method": {"kind": KIND},
        "training": {
            "max_steps": 6,
            "batch_size": 4,
            "micro_batch": 2,
            "autocast": False,
            "learning_rate": 0.01,
            "report_every": 0.001,
        },
        "evaluation": {"samples": 0, "every": 6},
        "output": {"folder": str(runs), "save_every": 3},
        "hardware": {"devices": "cpu"},
    }


class Sink:
    """Keeps losses, and stops the run at a step if it is told to."""

    def __init__(self, control: Any, stop_at: int = 0) -> None:
        self.control, self.stop_at = control, stop_at
        self.losses: dict[int, float] = {}

    def emit(self, body: Any) -> None:
        from tui_tuner.runs.control import send_control_command
        from tui_tuner.runs.events import Step

        if isinstance(body, Step):
            self.losses[body.step] = body.loss
            if body.step == self.stop_at:
                send_control_command(self.control.path, "stop")


def train(config: Any, folder: Any, resume: bool = False, stop_at: int = 0) -> tuple[str, dict[int, float]]:
    from tui_tuner.runs.control import CommandReceiver
    from tui_tuner.training.session import run_training

    control = CommandReceiver(folder.control_path)
    sink = Sink(control, stop_at)
    outcome = run_training(config, folder, sink, control, resume=resume)
    return outcome.status, sink.losses


def hash_weights(place: Path) -> str:
    return hashlib.sha256((place / "adapter_model.safetensors").read_bytes()).hexdigest()


def use_it(runs: Path) -> dict[str, Any]:
    """Train it, stop and resume it, load it again and merge it."""
    import torch

    from tui_tuner.config.load import build_config
    from tui_tuner.inference.loading import ModelKeeper
    from tui_tuner.inference.origin import find_origin
    from tui_tuner.methods import count_model_parameters, merge
    from tui_tuner.methods.attached import count_virtual_tokens, is_adapter_model
    from tui_tuner.runs.store import RunStore
    from tui_tuner.training.load_run import load_run

    config = build_config(values(runs))
    store = RunStore(config.output.folder)
    whole, parted = store.create_run(config), store.create_run(config)
    status, losses = train(config, whole)
    stopped, before = train(config, parted, stop_at=3)
    resumed = before if stopped != "stopped" else before | train(config, parted, resume=True)[1]

    ids = torch.arange(5, 25)[None]

    def logits(model: Any) -> torch.Tensor:
        with torch.no_grad():
            found: torch.Tensor = model(input_ids=ids).logits
            return found

    base = load_run(whole, "base", device="cpu").model
    base_names = [name for name, _weight in base.named_parameters()]
    step = load_run(whole, "step-6", device="cpu").model  # attached, with the weights of a checkpoint
    last = load_run(whole, "last", device="cpu").model  # loaded onto the base model from the final model
    (shared,) = ModelKeeper("cpu").load_all([find_origin(str(whole.last_path), store)])
    said = logits(last)
    factors = torch.cat([weight for name, weight in last.named_parameters() if name.endswith(".factor")])
    found = {
        "status": status,
        "stopped": stopped,
        "losses": losses,
        "resumed": resumed,
        "weights": hash_weights(whole.last_path),
        "resumed_weights": hash_weights(parted.last_path),
        "files": sorted(path.name for path in whole.last_path.glob("adapter_*")),
        "trainable": count_model_parameters(step)[0],
        "moved": float((factors.detach() - 1).abs().max()),
        "least": float(factors.detach().min()),
        "reloaded_apart": float((said - logits(step)).abs().max()),
        "shared_apart": float((said - logits(shared.model)).abs().max()),
        "adapter": is_adapter_model(last) and is_adapter_model(step),
        "virtual": count_virtual_tokens(last),
    }
    merged = merge(last)
    return found | {
        "merged_apart": float((said - logits(merged)).abs().max()),
        "merged_names": [name for name, _weight in merged.named_parameters()],
        "base_names": base_names,
        "merged_adapter": is_adapter_model(merged),
    }


def call_hooks(runs: Path) -> dict[str, Any]:
    """Train with an extra loss of 1 and with factors that no step leaves below 1: both hooks leave a mark."""
    from safetensors.torch import load_file

    from tui_tuner.config.load import build_config
    from tui_tuner.methods import find_method, norm_scale
    from tui_tuner.runs.store import RunStore

    method, calls = find_method(KIND), []
    after_step = method.after_step

    def note_step(model: Any, step: int, total: int) -> None:
        calls.append([step, total])
        after_step(model, step, total)

    norm_scale.LEAST = 1.0
    method.after_step = note_step
    method.extra_loss = lambda model: 1 + 0 * sum(one.sum() for one in norm_scale.find_factors(model))
    folder = RunStore(runs).create_run(build_config(values(runs)))
    _status, losses = train(build_config(values(runs)), folder)
    weights = load_file(folder.last_path / "adapter_model.safetensors")
    least = min(float(weight.min()) for weight in weights.values())
    return {"hook_calls": calls, "hook_losses": losses, "hook_least": least}


def ask_command(runs: Path) -> dict[str, Any]:
    """What `tui-tuner estimate` prints for a config with the method."""
    config = runs.parent / "toy.yaml"
    config.write_text(
        f"model: {{name: demo}}\ndata: {{path: demo}}\nmethod: {{kind: {KIND}}}\n", encoding="utf-8"
    )
    command = [sys.executable, "-m", "tui_tuner", "estimate", str(config), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    return {"rc": done.returncode, "out": done.stdout + done.stderr}


if __name__ == "__main__":
    runs_folder, answer = Path(sys.argv[1]), Path(sys.argv[2])
    found = ask_without_torch() | use_it(runs_folder) | call_hooks(runs_folder)
    answer.write_text(json.dumps(found | {"command": ask_command(runs_folder)}))
