"""From what a model says of windows to answers: of held-out rows, and of a text of the user's own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from tui_tuner.compute.check_rows import CheckRows
from tui_tuner.compute.forward import ForwardWay, lay_padded, model_inputs
from tui_tuner.config.schema import RunConfig
from tui_tuner.data.examples.questions import example_of
from tui_tuner.data.examples.store import TokenizedRows
from tui_tuner.data.examples.windows import PairWindows, Window
from tui_tuner.data.problems import RowProblem
from tui_tuner.errors import RunError
from tui_tuner.evaluation.answer_spans import Found, WindowScores, best_spans
from tui_tuner.evaluation.squad import Answered
from tui_tuner.locales import _
from tui_tuner.methods.prompts import virtual_positions
from tui_tuner.models.evaluating import evaluating
from tui_tuner.tasks.answering.logits import best_edges, span_logits

AT_ONCE = 256  # questions that are cut into windows together
BATCH = 8  # windows of a forward pass where no run has found out how many fit


class Reader:
    """Knows where the tokens of held-out windows stand in their texts; asked again at each evaluation.

    The rows hold ids alone, so their texts are tokenised once more, at the first evaluation.
    """

    def __init__(self, config: RunConfig, tokenizer: Any) -> None:
        data = config.data
        self.windows = PairWindows(tokenizer, data.max_length, data.stride)
        self._contexts: list[np.ndarray] = []
        self._of: Any = None

    def collect(self, rows: TokenizedRows, edges: Sequence[np.ndarray]) -> dict[str, Answered]:
        """Each question among the rows with its best answer, by its id, in the order of their rows.

        One without an id, or with that of an earlier one, is called by its place.
        """
        places = self._places(rows)
        own: dict[int, list[int]] = {}
        for index in range(len(rows)):
            own.setdefault(rows.row(index), []).append(index)
        answered: dict[str, Answered] = {}
        for row, indices in own.items():
            record = rows.store.record(row)
            found = best_spans([scores_of(edges[index], places[index]) for index in indices])
            answers = [text for text, _start in record["answers"]]
            name = record["id"]
            name = name if name and name not in answered else str(rows.store.origin(row))
            answered[name] = Answered(answers, found.text(record["context"]), found.no_answer)
        return answered

    def _places(self, rows: TokenizedRows) -> list[np.ndarray]:
        """For each example of the rows, the characters of its tokens."""
        if self._of is not rows:
            self._contexts = self._cut_again(rows)
            self._of = rows
        return self._contexts

    def _cut_again(self, rows: TokenizedRows) -> list[np.ndarray]:
        wanted = list(dict.fromkeys(rows.row(index) for index in range(len(rows))))
        cut: dict[int, list[Window]] = {}
        for begin in range(0, len(wanted), AT_ONCE):
            part = wanted[begin : begin + AT_ONCE]
            records = [rows.store.record(row) for row in part]
            found = self.windows.cut(
                [one["question"] for one in records], [one["context"] for one in records]
            )
            cut.update((row, one) for row, one in zip(part, found, strict=True) if isinstance(one, list))
        contexts = []
        for index in range(len(rows)):
            windows = cut.get(rows.row(index), [])
            number = int(rows.columns["window"][index])
            if number >= len(windows) or not np.array_equal(windows[number].ids, rows[index].ids):
                raise RunError(
                    _("the tokenizer makes other tokens of this row than when it was prepared."),
                    where=str(rows.origin(index)),
                    hint=_("Start the run anew."),
                )
            contexts.append(windows[number].context)
        return contexts


def scores_of(edges: np.ndarray, context: np.ndarray) -> WindowScores:
    """What `best_edges` gave of a window, with where its tokens stand."""
    return WindowScores(edges[:2, :-1], edges[2:, :-1], float(edges[1, -1]), context)


def read_answers(
    model: Any,
    windows: PairWindows,
    questions: Sequence[str],
    contexts: Sequence[str],
    progress: Callable[[int, int], None] = lambda done, total: None,
    batch_size: int = BATCH,
) -> list[Found | RowProblem]:
    """The answers that a model finds in texts of any length; why not where a question cannot be asked.

    Args:
        progress: Told (windows done, windows in all).
        batch_size: Windows of a forward pass.
    """
    cut = windows.cut(questions, contexts)
    todo = [window for one in cut if isinstance(one, list) for window in one]
    edges = _read(model, todo, windows.tokenizer.pad_token_id or 0, progress, batch_size)
    found: list[Found | RowProblem] = []
    for one in cut:
        if isinstance(one, RowProblem):
            found.append(one)
        else:
            found.append(best_spans([scores_of(next(edges), window.context) for window in one]))
    return found


def _read(
    model: Any, windows: list[Window], pad: int, progress: Callable[[int, int], None], batch_size: int
) -> Any:
    """What the model says of each window, in their order; the longest are computed first."""
    rows = CheckRows([example_of(window, 0, None) for window in windows])
    order = sorted(range(len(windows)), key=lambda place: -len(windows[place].ids))
    way = ForwardWay(packing=False, compact=False, segments=False, virtual=virtual_positions(model))
    found: list[Any] = [None] * len(windows)
    with torch.no_grad(), evaluating(model):
        for begin in range(0, len(order), batch_size):
            progress(begin, len(order))
            group = order[begin : begin + batch_size]
            micro = lay_padded(rows, group, pad).to(next(model.parameters()).device)
            logits = span_logits(model, micro, way, model_inputs(model, micro, way))
            for place, one in zip(group, best_edges(*logits, micro.columns["null"].long()), strict=True):
                found[place] = one.numpy()
    progress(len(order), len(order))
    return iter(found)
