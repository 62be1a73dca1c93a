"""Predict the classes of many texts at once, with probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tui_tuner.compute.check_rows import CheckRows
from tui_tuner.config.schema import RunConfig
from tui_tuner.data.examples.token_types import COLUMN, pack_types
from tui_tuner.data.labels.label_encoder import LabelEncoder
from tui_tuner.data.labels.problem import MULTI, REGRESSION, SINGLE
from tui_tuner.data.records import IGNORE, Example, LabelledText, Record, Text
from tui_tuner.data.row_problem import RowProblem
from tui_tuner.evaluation.class_metrics import compute_class_probabilities
from tui_tuner.evaluation.padded_logits import compute_padded_logits
from tui_tuner.locales import N_
from tui_tuner.models.head_classes import list_loaded_classes

_PROBLEMS = {"multi_label_classification": MULTI, "regression": REGRESSION}


def predict_classes(
    config: RunConfig, model: Any, tokenizer: Any, rows: Sequence[Record], batch_size: int
) -> list[dict[str, Any] | RowProblem]:
    """Return the prediction for each text or pair, with the probabilities of all classes.

    A row that cannot be read gets a `RowProblem`.
    """
    encoder = LabelEncoder(config, tokenizer)
    records = [LabelledText(row.text, None) if isinstance(row, Text) else row for row in rows]
    encoded = [_encode_record(encoder, row) for row in records if isinstance(row, LabelledText)]
    examples = [one for one in encoded if isinstance(one, Example)]
    # Only rows that could be encoded have logits; they are taken from the iterator in the same order below.
    logits = iter(compute_padded_logits(model, CheckRows(examples), tokenizer.pad_token_id or 0, batch_size))
    problem, names = _find_problem(config, model), list_loaded_classes(model)
    return [
        one if isinstance(one, RowProblem) else _describe_prediction(problem, next(logits), names)
        for one in encoded
    ]


def _encode_record(encoder: LabelEncoder, record: LabelledText) -> Example | RowProblem:
    try:
        values = encoder.tokenise_cut(record)
        ids = np.asarray(values["input_ids"], dtype=np.int32)
        if not len(ids):
            return RowProblem(N_("the tokenizer produces no tokens from the text"))
        types = pack_types(values.get("token_type_ids", ()))
    except RowProblem as problem:
        return problem
    except ValueError:
        return RowProblem(N_("the tokenizer uses an unknown order of token types"))
    return Example(ids, np.full(len(ids), IGNORE, dtype=np.int32), {COLUMN: types})


def _find_problem(config: RunConfig, model: Any) -> str:
    """Return the kind of problem that the head was trained on, from the run or the model."""
    if config.data.problem != "auto":
        return str(config.data.problem)
    # Models of other programs may lack `problem_type`; transformers then takes one output for a regression.
    said = _PROBLEMS.get(str(getattr(model.config, "problem_type", None)))
    return said or (REGRESSION if model.config.num_labels == 1 else SINGLE)


def _describe_prediction(problem: str, logits: np.ndarray, names: Sequence[str]) -> dict[str, Any]:
    if problem == REGRESSION:
        return {"value": float(logits[0])}
    chances = compute_class_probabilities(logits[None], problem == MULTI)[0]
    shares = {name: float(share) for name, share in zip(names, chances, strict=True)}
    if problem == MULTI:
        order = sorted(range(len(names)), key=lambda place: (-chances[place], place))
        return {"labels": [names[place] for place in order if logits[place] > 0], "probabilities": shares}
    return {"label": names[int(logits.argmax())], "probabilities": shares}
