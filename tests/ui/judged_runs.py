"""Journals of runs that classify, tag and answer from a text, as their tasks write them."""

from __future__ import annotations

from typing import Any

from tests.ui import fakes
from tests.ui.verdicts.runs import GOOD
from tui_tuner.runs.events import Evaluation, EvaluationTable, Finished, Phase, Resolved, RunStarted, Sample
from tui_tuner.runs.journal import JournalWriter
from tui_tuner.runs.store import RunFolder, RunStore

CLASSES = ["World news", "Sport", "Business", "Science and technology"]
REVIEW = "A team of physicists sold their company to a bank after the match. " * 3
SENTENCE = "Ann Smith met Bo in Paris, near New York City and Berlin."
PASSAGE = (
    "Super Bowl 50 was an American football game to determine the champion of the 2015 season. "
    "The American Football Conference champion Denver Broncos defeated the National Football Conference "
    "champion Carolina Panthers 24–10 to earn their third title. "
) + "The game was played on February 7, 2016, at a stadium in the San Francisco Bay Area. " * 8
CONFUSION = [[40, 2, 6, 2], [1, 48, 0, 1], [5, 0, 41, 4], [3, 1, 9, 37]]
START = [[10, 20, 10, 10], [12, 13, 12, 13], [25, 5, 10, 10], [0, 0, 50, 0]]


def begin(store: RunStore, name: str, task: str, best: str) -> tuple[RunFolder, JournalWriter]:
    """A run of a task, its journal open before the first evaluation."""
    folder = fakes.make_run(store, name, task=task)
    journal = JournalWriter(folder.events_path, folder.name)
    config: dict[str, Any] = {"task": task, "model": {"name": "tiny"}, "method": {"kind": "full"}}
    journal.emit(RunStarted(config=config, device="cpu, 2 cores", process=1, total_steps=40))
    journal.emit(Resolved("evaluation.best", best, "What this task is judged by."))
    journal.emit(Phase("training", 0, 40))
    return folder, journal


def finish(folder: RunFolder, journal: JournalWriter, status: str = "completed") -> RunFolder:
    """Close the journal, and let the folder hold a model."""
    journal.emit(GOOD)
    journal.emit(Finished(status, 0, "40 steps."))
    journal.close()
    folder.best_path.mkdir()
    folder.last_path.mkdir()
    return folder


def classified(store: RunStore, name: str = "classes", ended: bool = True) -> RunFolder:
    """Four classes; the best evaluation is the second, at step 20."""
    folder, journal = begin(store, name, "classification", "accuracy")
    _sample(journal, 0, "before", REVIEW, "Sport", "Business", [["Sport", 0.3], ["Business", 0.26]])
    for step, accuracy, counts in ((0, 0.21, START), (20, 0.83, CONFUSION), (40, 0.8, START)):
        _steps(journal, step)
        metrics = {"loss": 1.5 - accuracy, "accuracy": accuracy, "f1_macro": accuracy - 0.01}
        journal.emit(Evaluation(step, "validation", metrics))
        journal.emit(EvaluationTable(step, "confusion", CLASSES, CLASSES, counts))
        figures = [[0.9, accuracy, 0.85, 50] for _unused in CLASSES]
        journal.emit(
            EvaluationTable(step, "classes", CLASSES, ["precision", "recall", "f1", "rows"], figures)
        )
    scores = [["Business", 0.912], ["World news", 0.05], ["Sport", 0.03], ["Science and technology", 0.008]]
    _sample(journal, 40, "after", REVIEW, "Business", "Business", scores)
    return finish(folder, journal) if ended else folder


def tagged(store: RunStore, name: str = "tags") -> RunFolder:
    """Entities that are right, wrong, of another label, and not found."""
    folder, journal = begin(store, name, "token_classification", "f1")
    wanted = [_span(0, 9, "PER"), _span(14, 16, "PER"), _span(32, 45, "LOC"), _span(50, 56, "LOC")]
    journal.emit(Sample(0, 0, "before", SENTENCE, "", "", True, SENTENCE, [], wanted))
    for step, value in ((0, 0.0), (20, 0.8852), (40, 0.91)):
        _steps(journal, step)
        metrics = {"loss": 1 - value, "f1": value, "precision": value, "recall": value, "accuracy": value}
        journal.emit(Evaluation(step, "validation", metrics))
    found = [_span(0, 9, "PER"), _span(14, 16, "LOC"), _span(20, 25, "LOC"), _span(32, 40, "LOC")]
    journal.emit(Sample(40, 0, "after", SENTENCE, "", "", True, SENTENCE, found, wanted))
    return finish(folder, journal)


def answered(store: RunStore, name: str = "answers") -> RunFolder:
    """A question whose answer is found after training, and one that has none."""
    folder, journal = begin(store, name, "question_answering", "f1")
    at = PASSAGE.index("Denver Broncos")
    wanted = [_span(at, at + 14)]
    question, end = "Which team won Super Bowl 50?", PASSAGE.index("Carolina")
    wrong, none = [_span(end, end + 8)], [["", 0.7], ["2016", 0.2]]
    journal.emit(
        Sample(
            0, 0, "before", question, "Carolina", "Denver Broncos", True, PASSAGE, wrong, wanted,
            [["Carolina", 0.031], ["", 0.02]],
        )
    )  # fmt: skip
    journal.emit(
        Sample(0, 1, "before", "Who sang?", "2016", "", True, PASSAGE, [_span(0, 5)], [], none[::-1])
    )
    for step, value in ((0, 0.05), (20, 0.8852), (40, 0.91)):
        _steps(journal, step)
        metrics = {"loss": 2 - value, "f1": value, "exact_match": value * 0.9}
        journal.emit(Evaluation(step, "validation", metrics))
        rows = [[value, value - 0.07, 30], [value, value, 10]]
        table = EvaluationTable(
            step, "classes", ["HasAns", "NoAns"], ["f1", "exact_match", "questions"], rows
        )
        journal.emit(table)
    journal.emit(
        Sample(
            40, 0, "after", question, "Denver Broncos", "Denver Broncos", True, PASSAGE, wanted, wanted,
            [["Denver Broncos", 0.913], ["The American Football Conference champion Denver Broncos", 0.05]],
        )
    )  # fmt: skip
    journal.emit(Sample(40, 1, "after", "Who sang?", "", "", True, PASSAGE, [], [], none))
    return finish(folder, journal)


def _steps(journal: JournalWriter, to: int) -> None:
    for number in range(max(to - 19, 1), to + 1):
        fakes.step(journal, number, 40)


def _span(start: int, end: int, label: str = "") -> dict[str, Any]:
    return {"start": start, "end": end, "label": label, "score": 0.9}


def _sample(
    journal: JournalWriter, step: int, stage: str, prompt: str, text: str, reference: str, scores: list[Any]
) -> None:
    journal.emit(Sample(step, 0, stage, prompt, text, reference, True, scores=scores))
