"""A fake source of events for the screens: real journals by `JournalWriter`, and a host that writes one."""

from __future__ import annotations

import math
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from tui_tuner.config.schema import RunConfig
from tui_tuner.runs.control import CommandReceiver
from tui_tuner.runs.events import (
    CheckpointSaved,
    CommandDone,
    Evaluation,
    Finished,
    Phase,
    Resolved,
    RowLedger,
    RunStarted,
    Sample,
    Step,
)
from tui_tuner.runs.journal import JournalWriter
from tui_tuner.runs.store import RunFolder, RunStore

PROMPTS = (
    "item: coat | colour: red | fabric: wool | style: long",
    "item: lamp | colour: green | material: brass",
)


def make_run(store: RunStore, name: str = "auto", **sections: Any) -> RunFolder:
    """A run folder with a valid config."""
    return store.create_run(RunConfig.model_validate({"output": {"name": name}, **sections}))


def loss_at(step: int) -> float:
    return 1.1 + 2.4 * math.exp(-step / 40) + 0.12 * math.sin(step * 1.7)


def begin(journal: JournalWriter, total: int, resumed_from: int | None = None) -> None:
    journal.emit(Phase(name="loading", note="importing torch and transformers"))
    journal.emit(
        RunStarted(
            config={"task": "sft", "model": {"name": "demo"}, "method": {"kind": "lora"}},
            versions={"torch": "2.13.0", "peft": "0.21"},
            device="cpu, 2 cores",
            process=1,
            resumed_from=resumed_from,
            total_steps=total,
        )
    )
    journal.emit(Resolved(field="training.learning_rate", value=2e-4, why="customary for lora"))
    journal.emit(RowLedger(read=800, outcomes={"kept": 790, "dropped": 10}))
    journal.emit(Phase(name="training", done=0, total=total))


def step(journal: JournalWriter, number: int, total: int) -> None:
    journal.emit(
        Step(
            step=number,
            epoch=number / total * 3,
            loss=loss_at(number),
            learning_rate=2e-4 * (1 - number / total),
            grad_norm=0.8 + 0.1 * math.sin(number),
            supervised_tokens=512,
            tokens=1024,
            tokens_per_second=4100.0,
            memory_allocated=0,
            memory_reserved=0,
            seconds=0.12,
        )
    )


def samples(journal: JournalWriter, number: int, stage: str) -> None:
    for index, prompt in enumerate(PROMPTS):
        text = {"before": "of of the and", "during": "A red coat."}.get(
            stage, "A long red coat of warm wool, made for winter."
        )
        journal.emit(
            Sample(
                step=number,
                index=index,
                stage=stage,
                prompt=prompt,
                text=text,
                reference="This red coat is long, and its wool keeps you warm.",
                stopped=stage == "after",
            )
        )


def evaluation(journal: JournalWriter, number: int, **more: float) -> None:
    metrics = {"loss": loss_at(number) + 0.15, "perplexity": math.exp(loss_at(number) + 0.15), **more}
    journal.emit(Evaluation(step=number, metrics=metrics))


def finish(journal: JournalWriter, status: str = "completed", code: int = 0, message: str = "") -> None:
    journal.emit(Finished(status=status, exit_code=code, message=message, hint=""))


def write_run(folder: RunFolder, steps: int = 60, total: int = 100, status: str | None = None) -> None:
    """A whole journal: begun, trained for `steps`, and finished if `status` is given."""
    journal = JournalWriter(folder.events_path, folder.name)
    begin(journal, total)
    samples(journal, 0, "before")
    evaluation(journal, 0, attribute_coverage=0.12, stopped=0.0)
    for number in range(1, steps + 1):
        step(journal, number, total)
        if number % 20 == 0:
            evaluation(journal, number)
            journal.emit(
                CheckpointSaved(
                    step=number,
                    path=f"checkpoints/step-{number}",
                    best=True,
                    bytes=1_500_000,
                    seconds=0.1,
                )
            )
    if status:
        samples(journal, steps, "after")
        evaluation(journal, steps, attribute_coverage=0.91, stopped=1.0)
        finish(
            journal,
            status,
            {"completed": 0, "stopped": 130}.get(status, 1),
            "" if status == "completed" else status,
        )
    journal.close()


def claim_dead(folder: RunFolder) -> None:
    """A manifest of a process that is gone."""
    folder.write_file("manifest.json", '{"pid": 999999, "process_started": 1.0, "created": 1.0}')


class FakeHost:
    """Stands where `launch.thread_host.ThreadHost` does: trains nothing, writes a journal, obeys the
    control.
    """

    total = 5000
    pace = 0.02

    def __init__(self, folder: RunFolder, resume: bool = False) -> None:
        self.folder = folder
        self.control = CommandReceiver(folder.control_path)
        self.outcome: Any = None
        self.commands: list[str] = []
        self._resume = resume
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start_run(self) -> None:
        self.folder.claim_run()
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        return self._thread.is_alive()

    def join_thread(self, timeout: float | None = None) -> None:
        self._thread.join(timeout)

    def _run(self) -> None:
        journal = JournalWriter(self.folder.events_path, self.folder.name)
        begin(journal, self.total, resumed_from=0 if self._resume else None)
        samples(journal, 0, "before")
        status = self._train(journal)
        if status == "completed":
            samples(journal, self.total, "after")
            evaluation(journal, self.total, attribute_coverage=0.9, stopped=1.0)
        code = 0 if status == "completed" else 130
        finish(journal, status, code)
        journal.close()
        self.outcome = SimpleNamespace(status=status, exit_code=code, message="")

    def _train(self, journal: JournalWriter) -> str:
        for number in range(1, self.total + 1):
            paused = False
            while True:
                commands = self.control.poll_commands()
                self.commands += commands
                for command in commands:
                    journal.emit(CommandDone(command=command))
                    if command == "evaluate":
                        evaluation(journal, number)
                if "stop" in commands:
                    return "stopped"
                if "pause" in commands:
                    paused = True
                    journal.emit(Phase(name="paused", done=number, total=self.total))
                if "continue" in commands and paused:
                    paused = False
                    journal.emit(Phase(name="training", done=number, total=self.total))
                if not paused:
                    break
                time.sleep(0.01)
            step(journal, number, self.total)
            if number % 25 == 0:
                evaluation(journal, number)
            time.sleep(self.pace)
        return "completed"


def store_at(path: Path) -> RunStore:
    return RunStore(path / "runs")
