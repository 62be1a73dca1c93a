"""Classes of many texts at once, with the probability of each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tui_tuner.compute.check_rows import CheckRows
from tui_tuner.config.schema import RunConfig
from tui_tuner.data.examples.token_types import COLUMN, pack_types
from tui_tuner.data.labels.encoder import LabelEncoder
from tui_tuner.data.labels.problem import MULTI, REGRESSION, SINGLE
from tui_tuner.data.problems import RowProblem
from tui_tuner.data.records import IGNORE, Example, Labelled, Record, Text
from tui_tuner.evaluation.classes import probabilities
from tui_tuner.evaluation.padded import padded_logits
from tui_tuner.locales import N_
from tui_tuner.models.heads import class_names

_PROBLEMS = {"multi_label_classification": MULTI, "regression": REGRESSION}


def predict_classes(
    config: RunConfig, model: Any, tokenizer: Any, rows: Sequence[Record], batch_size: int
) -> list[dict[str, Any] | RowProblem]:
    """What the head says of each text or pair, with the probabilities of all classes."""
    encoder = LabelEncoder(config, tokenizer)
    records = [Labelled(row.text, None) if isinstance(row, Text) else row for row in rows]
    encoded = [_encode(encoder, row) for row in records if isinstance(row, Labelled)]
    examples = [one for one in encoded if isinstance(one, Example)]
    logits = iter(padded_logits(model, CheckRows(examples), tokenizer.pad_token_id or 0, batch_size))
    problem, names = _problem(config, model), class_names(model)
    return [one if isinstance(one, RowProblem) else _said(problem, next(logits), names) for one in encoded]


def _encode(encoder: LabelEncoder, record: Labelled) -> Example | RowProblem:
    try:
        values = encoder.shortened(record)
        ids = np.asarray(values["input_ids"], dtype=np.int32)
        if not len(ids):
            return RowProblem(N_("the tokenizer makes nothing of the text"))
        types = pack_types(values.get("token_type_ids", ()))
    except RowProblem as problem:
        return problem
    except ValueError:
        return RowProblem(N_("the tokenizer numbers its texts in an order that is not known"))
    return Example(ids, np.full(len(ids), IGNORE, dtype=np.int32), {COLUMN: types})


def _problem(config: RunConfig, model: Any) -> str:
    """Whether the head has one class for a text, several, or a number: a run says it, or else the model."""
    if config.data.problem != "auto":
        return str(config.data.problem)
    said = _PROBLEMS.get(str(getattr(model.config, "problem_type", None)))
    return said or (REGRESSION if model.config.num_labels == 1 else SINGLE)


def _said(problem: str, logits: np.ndarray, names: Sequence[str]) -> dict[str, Any]:
    if problem == REGRESSION:
        return {"value": float(logits[0])}
    chances = probabilities(logits[None], problem == MULTI)[0]
    shares = {name: float(share) for name, share in zip(names, chances, strict=True)}
    if problem == MULTI:
        order = sorted(range(len(names)), key=lambda place: (-chances[place], place))
        return {"labels": [names[place] for place in order if logits[place] > 0], "probabilities": shares}
    return {"label": names[int(logits.argmax())], "probabilities": shares}
