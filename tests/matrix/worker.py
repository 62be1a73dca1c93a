"""Runs pairs of a task and a method: `python worker.py FOLDER PAIR...`, where a pair is `task-model:method`.

Each run is a process of its own, forked once the libraries are imported: one from beginning to end, one that
is killed in the middle, and one that goes on with it. What each pair came to stands in FOLDER/found.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parents[2])]
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from tests.matrix.pairs import STEPS, WORK, values_of  # noqa: E402

KILLED_AFTER = 7
TEXTS = ((9, 12, 5, 20), (14, 8, 30, 11, 6, 25, 10), (13, 40, 7))  # token ids


class Keeper:
    """A sink that keeps losses and how a run ended."""

    def __init__(self) -> None:
        self.losses: dict[int, float] = {}
        self.ended: dict[str, Any] = {}
        self.warnings: list[str] = []

    def emit(self, body: Any) -> None:
        match type(body).__name__:
            case "Step":
                self.losses[body.step] = body.loss
            case "Warned":
                self.warnings.append(f"{body.code}: {body.message}")
            case "Finished":
                self.ended = {"status": body.status, "message": body.message}


def in_child(work: Callable[[], None], log: Path) -> int:
    """Do it in a fork of this process; its exit status, negative for a signal."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    status = 1
    try:
        file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(file, 1)
        os.dup2(file, 2)
        work()
        status = 0
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        os._exit(status)


def seen_by(model: Any) -> Any:
    """What a model says of a few texts, each alone, in one array."""
    import torch

    found = []
    training = model.training
    model.eval()
    with torch.no_grad():
        for text in TEXTS:
            ids = torch.tensor([text])
            both = {"decoder_input_ids": ids[:, :3]} if model.config.is_encoder_decoder else {}
            out = model(input_ids=ids, attention_mask=torch.ones_like(ids), **both)
            logits = [out.start_logits, out.end_logits] if hasattr(out, "start_logits") else [out.logits]
            found += [one.float().flatten() for one in logits]
    model.train(training)
    return torch.cat(found)


def train(
    values: dict[str, Any], to: Path, name: str, folder: Path | None = None, kill: bool = False
) -> None:
    """One run, which writes its losses, its folder and what its last model says."""
    import torch

    from tui_tuner.config.load import build_config
    from tui_tuner.errors import TunerError
    from tui_tuner.methods import count_model_parameters
    from tui_tuner.runs.control import CommandReceiver
    from tui_tuner.runs.store import RunFolder, RunStore
    from tui_tuner.training.keeping import saving
    from tui_tuner.training.loop import Loop
    from tui_tuner.training.session import run_training

    keeper, found = Keeper(), {}
    try:
        config = build_config(values)
    except TunerError as error:
        (to / f"{name}.json").write_text(json.dumps({"refused": str(error)}), encoding="utf-8")
        return
    place = RunFolder(folder) if folder else RunStore(config.output.folder).create_run(config)
    (to / "folder").write_text(str(place.path), encoding="utf-8")
    write, ended = saving.write_final_model, Loop.finish_step

    def spy(model: Any, tokenizer: Any, target: Path, *more: Any) -> None:
        write(model, tokenizer, target, *more)
        if target.name == "last" and name == "whole":
            torch.save(seen_by(model), to / "said.pt")
        found["trained"], found["total"] = count_model_parameters(model)

    def die(self: Any, step: int, result: Any) -> bool:
        ending = ended(self, step, result)
        if step == KILLED_AFTER:
            os.kill(os.getpid(), signal.SIGKILL)
        return ending

    saving.write_final_model = spy
    if kill:
        Loop.finish_step = die  # type: ignore[method-assign]
    outcome = run_training(
        config, place, keeper, CommandReceiver(place.control_path), resume=folder is not None
    )
    found |= {"status": outcome.status, "message": outcome.message, "losses": keeper.losses}
    found["warnings"] = keeper.warnings
    (to / f"{name}.json").write_text(json.dumps(found), encoding="utf-8")


def read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return found


def compare(to: Path) -> dict[str, Any]:
    """What the three runs of a pair came to."""
    whole, resumed = read(to / "whole.json"), read(to / "resumed.json")
    if "refused" in whole:
        return {"refused": whole["refused"]}
    if whole.get("status") != "completed":
        return {
            "failed": whole.get("message") or f"no outcome: see {to / 'log'}",
            "steps": len(whole.get("losses", ())) if whole else -1,
        }
    losses = [whole["losses"][str(step)] for step in range(1, STEPS + 1)]
    early, late = sum(losses[:4]) / 4, sum(losses[-4:]) / 4
    again = resumed.get("losses", {})
    problems = []
    if not late < early:
        problems.append(f"the loss does not fall: {early:.4f}, {late:.4f}")
    if resumed.get("status") != "completed":
        problems.append(f"not resumed: {resumed.get('message')}")
    elif not (len(again) < STEPS and all(whole["losses"][step] == loss for step, loss in again.items())):
        problems.append("resumed with other losses")
    folders = [Path((to / name).read_text(encoding="utf-8")) for name in ("whole.folder", "killed.folder")]
    for name in ("best", "last"):
        weights = [sorted((folder / name).glob("*.safetensors")) for folder in folders]
        if not weights[0] or [one.read_bytes() for one in weights[0]] != [
            one.read_bytes() for one in weights[1]
        ]:
            problems.append(f"{name} has other weights after a kill")
    return {
        "trained": whole["trained"],
        "total": whole["total"],
        "early": early,
        "late": late,
        "folder": str(folders[0]),
        "problems": problems,
        "warnings": whole["warnings"],
    }


def run_pair(folder: Path, name: str, method: str) -> None:
    """The three runs of a pair."""
    to = folder / "found" / f"{name}-{method}"
    to.mkdir(parents=True, exist_ok=True)
    values, log = values_of(WORK[name], method, folder), to / "log"
    in_child(lambda: train(values, to, "whole"), log)
    if read(to / "whole.json").get("status") == "completed":
        (to / "folder").rename(to / "whole.folder")
        killed = in_child(lambda: train(values, to, "killed", kill=True), log)
        (to / "folder").rename(to / "killed.folder")
        place = Path((to / "killed.folder").read_text(encoding="utf-8"))
        if killed == -signal.SIGKILL:
            in_child(lambda: train(values, to, "resumed", folder=place), log)
    (to / "result.json").write_text(json.dumps(compare(to)), encoding="utf-8")


def main() -> None:
    folder = Path(sys.argv[1])
    warnings.simplefilter("ignore")
    import peft  # noqa: F401  # imported once, for all forks
    import torch
    import transformers  # noqa: F401

    import tui_tuner.training.train  # noqa: F401
    from tui_tuner.models.loading import silence_libraries

    silence_libraries()
    torch.set_num_threads(1)
    for pair in sys.argv[2:]:
        name, _unused, method = pair.partition(":")
        run_pair(folder, name, method)


if __name__ == "__main__":
    main()
