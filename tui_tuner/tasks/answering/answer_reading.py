"""Convert a model's outputs for windows to answers, of held-out rows and of the user's own texts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from tui_tuner.compute.check_rows import CheckRows
from tui_tuner.compute.forward import ForwardWay, build_forward_inputs, lay_padded_rows
from tui_tuner.config.schema import RunConfig
from tui_tuner.data.examples.pair_windows import PairCutter, PairWindow
from tui_tuner.data.examples.questions import make_question_example
from tui_tuner.data.examples.store import TokenizedRows
from tui_tuner.data.row_problem import RowProblem
from tui_tuner.errors import RunError
from tui_tuner.evaluation.answer_spans import FoundAnswers, WindowScores, find_best_spans
from tui_tuner.evaluation.squad import AnsweredQuestion
from tui_tuner.locales import _
from tui_tuner.methods.attached import count_virtual_positions
from tui_tuner.models.evaluation_mode import use_evaluation_mode
from tui_tuner.tasks.answering.logits import compute_span_logits, find_best_edges

AT_ONCE = 256  # questions that are cut into windows together
BATCH = 8  # windows of a forward pass if no run has measured how many fit


class AnswerReader:
    """Maps tokens of held-out windows to characters of their texts, at each evaluation.

    The rows contain ids only, so their texts are tokenised again at the first evaluation.
    """

    def __init__(self, config: RunConfig, tokenizer: Any) -> None:
        data = config.data
        self.windows = PairCutter(tokenizer, data.max_length, data.stride)
        self._contexts: list[np.ndarray] = []
        self._of: Any = None

    def collect_answers(
        self, rows: TokenizedRows, edges: Sequence[np.ndarray]
    ) -> dict[str, AnsweredQuestion]:
        """Return each question among the rows with its best answer, by its id, in the order of the rows.

        A question without an id, or with a repeated id, is named by its origin.
        """
        places = self._token_characters(rows)
        own: dict[int, list[int]] = {}
        for index in range(len(rows)):
            own.setdefault(rows.row_of_example(index), []).append(index)
        answered: dict[str, AnsweredQuestion] = {}
        for row, indices in own.items():
            record = rows.store.read_record(row)
            found = find_best_spans([combine_window_scores(edges[index], places[index]) for index in indices])
            answers = [text for text, _start in record["answers"]]
            name = record["id"]
            name = name if name and name not in answered else str(rows.store.row_origin(row))
            answered[name] = AnsweredQuestion(answers, found.best_text(record["context"]), found.no_answer)
        return answered

    def _token_characters(self, rows: TokenizedRows) -> list[np.ndarray]:
        """Return, for each example of the rows, the characters of its tokens."""
        if self._of is not rows:
            self._contexts = self._cut_again(rows)
            self._of = rows
        return self._contexts

    def _cut_again(self, rows: TokenizedRows) -> list[np.ndarray]:
        # Examples are windows, so each row occurs several times but is cut only once.
        wanted = list(dict.fromkeys(rows.row_of_example(index) for index in range(len(rows))))
        cut: dict[int, list[PairWindow]] = {}
        for begin in range(0, len(wanted), AT_ONCE):
            part = wanted[begin : begin + AT_ONCE]
            records = [rows.store.read_record(row) for row in part]
            found = self.windows.cut_pairs(
                [one["question"] for one in records], [one["context"] for one in records]
            )
            cut.update((row, one) for row, one in zip(part, found, strict=True) if isinstance(one, list))
        contexts = []
        for index in range(len(rows)):
            windows = cut.get(rows.row_of_example(index), [])
            number = int(rows.columns["window"][index])
            # A tokenizer that was updated since would give wrong characters without any error.
            if number >= len(windows) or not np.array_equal(windows[number].ids, rows[index].ids):
                raise RunError(
                    _("the tokenizer now produces other tokens for this row than during preparation."),
                    where=str(rows.example_origin(index)),
                    hint=_("Start a new run."),
                )
            contexts.append(windows[number].context)
        return contexts


def combine_window_scores(edges: np.ndarray, context: np.ndarray) -> WindowScores:
    """Combine the result of `find_best_edges` for a window with the positions of its tokens."""
    return WindowScores(edges[:2, :-1], edges[2:, :-1], float(edges[1, -1]), context)


def find_model_answers(
    model: Any,
    windows: PairCutter,
    questions: Sequence[str],
    contexts: Sequence[str],
    progress: Callable[[int, int], None] = lambda done, total: None,
    batch_size: int = BATCH,
) -> list[FoundAnswers | RowProblem]:
    """Find a model's answers in texts of any length; a `RowProblem` for a question that cannot be asked.

    Args:
        progress: Called with (windows done, all windows).
        batch_size: Windows of a forward pass.
    """
    cut = windows.cut_pairs(questions, contexts)
    todo = [window for one in cut if isinstance(one, list) for window in one]
    edges = _read_edges(model, todo, windows.tokenizer.pad_token_id or 0, progress, batch_size)
    found: list[FoundAnswers | RowProblem] = []
    for one in cut:
        if isinstance(one, RowProblem):
            found.append(one)
        else:
            found.append(
                find_best_spans([combine_window_scores(next(edges), window.context) for window in one])
            )
    return found


def _read_edges(
    model: Any, windows: list[PairWindow], pad: int, progress: Callable[[int, int], None], batch_size: int
) -> Any:
    """Return the best edges of each window, in their order."""
    rows = CheckRows([make_question_example(window, 0, None) for window in windows])
    # The longest first: groups of equal length need little padding, and memory runs out at once or never.
    order = sorted(range(len(windows)), key=lambda place: -len(windows[place].ids))
    way = ForwardWay(packing=False, compact=False, segments=False, virtual=count_virtual_positions(model))
    found: list[Any] = [None] * len(windows)
    with torch.no_grad(), use_evaluation_mode(model):
        for begin in range(0, len(order), batch_size):
            progress(begin, len(order))
            group = order[begin : begin + batch_size]
            micro = lay_padded_rows(rows, group, pad).to(next(model.parameters()).device)
            logits = compute_span_logits(model, micro, way, build_forward_inputs(model, micro, way))
            for place, one in zip(group, find_best_edges(*logits, micro.columns["null"].long()), strict=True):
                found[place] = one.numpy()
    progress(len(order), len(order))
    return iter(found)
