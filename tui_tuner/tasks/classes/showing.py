"""Texts with the classes that a model gives them, before, during and after training, and to whoever asks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tui_tuner.config.schema import RunConfig
from tui_tuner.data.examples.held_out import some_records
from tui_tuner.data.examples.store import TokenizedRows
from tui_tuner.data.labels.encoder import LabelEncoder
from tui_tuner.data.labels.names import class_name, labels_of
from tui_tuner.data.labels.problem import MULTI, REGRESSION
from tui_tuner.data.problems import RowProblem
from tui_tuner.data.records import Labelled
from tui_tuner.errors import UsageError
from tui_tuner.evaluation.classes import probabilities
from tui_tuner.evaluation.samples import DURING, Progress, SampleReport, Samples, Shown, Stage
from tui_tuner.locales import _
from tui_tuner.models.evaluating import evaluating
from tui_tuner.models.heads import class_names

SCORES = 5  # classes with probabilities
LONGEST = 2000  # characters of a text that are kept for showing


class ShownClasses(Samples):
    """Texts of the user's and a few held-out rows, always the same, with what the model makes of them."""

    def __init__(self, config: RunConfig, tokenizer: Any, held_out: TokenizedRows | None) -> None:
        self.config = config
        self.encoder = LabelEncoder(config, tokenizer)
        own = [Labelled(text, None) for text in config.evaluation.prompts or [] if text.strip()]
        rows = some_records(held_out, config.evaluation.samples, config.data.seed)
        self.records = own + [Labelled(one["text"], one["label"], one.get("pair")) for one in rows]

    def collect(self, model: Any, stage: Stage, progress: Progress) -> SampleReport | None:
        records = self.records[:DURING] if stage == "during" else self.records
        if not records:
            return None
        shown = []
        for done, record in enumerate(records):
            progress(done, len(records))
            try:
                shown.append(show_classes(self.config, model, self.encoder, record))
            except RowProblem:
                continue
        return SampleReport(shown)


def show_classes(config: RunConfig, model: Any, encoder: LabelEncoder, record: Labelled) -> Shown:
    """What a model makes of one text or pair, with the probabilities of the likeliest classes.

    Raises:
        RowProblem: it is longer than max_length, and not to be cut.
    """
    logits = read_logits(model, encoder, record)
    names = class_names(model)
    said, scores = words_of(config.data.problem, logits, names)
    prompt = record.text if record.pair is None else f"{record.text}\n{record.pair}"
    wanted = _wanted(record, config, names)
    return Shown(prompt[:LONGEST], said, wanted, scores=scores)


def read_logits(model: Any, encoder: LabelEncoder, record: Labelled) -> np.ndarray:
    """Logits of one text, float64 [classes]. The model is left in the mode that it was in."""
    import torch

    from tui_tuner.compute.forward import reads_types

    values = encoder.shortened(record)
    device = model.get_input_embeddings().weight.device
    inputs = {"input_ids": torch.tensor([values["input_ids"]], device=device)}
    if "token_type_ids" in values and any(values["token_type_ids"]) and reads_types(model):
        inputs["token_type_ids"] = torch.tensor([values["token_type_ids"]], device=device)
    inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
    with torch.no_grad(), evaluating(model):
        logits = model(**inputs).logits[0]
    return np.asarray(logits.double().cpu().numpy())


def words_of(problem: str, logits: np.ndarray, names: Sequence[str]) -> tuple[str, list[tuple[str, float]]]:
    """What a model says, in words, and the likeliest classes with their probabilities."""
    if problem == REGRESSION:
        return f"{logits[0]:.4g}", []
    chances = probabilities(logits[None], problem == MULTI)[0]
    order = sorted(range(len(names)), key=lambda place: (-chances[place], place))
    scores = [(names[place], float(chances[place])) for place in order[:SCORES]]
    if problem == MULTI:
        return ", ".join(names[place] for place in order if logits[place] > 0) or _("none"), scores
    return names[order[0]], scores


def _wanted(record: Labelled, config: RunConfig, names: Sequence[str]) -> str:
    """What the data set says, in the words that the model has for it."""
    if record.label is None:
        return ""
    labels = [class_name(one) for one in labels_of(record.label, config.data.label_separator)]
    if config.data.problem == REGRESSION:
        return labels[0]
    folded = {name.casefold(): name for name in names}
    known = [folded.get(label.casefold(), label) for label in labels]
    if all(label not in names and label.isdecimal() and int(label) < len(names) for label in known):
        known = [names[int(label)] for label in known]
    return ", ".join(known) or _("none")


def classify_text(config: RunConfig, model: Any, tokenizer: Any, text: str, question: str) -> Shown:
    """What a model makes of a text of the user's own; with a question, of the pair of both.

    Raises:
        UsageError: it is longer than max_length, and not to be cut.
    """
    record = Labelled(question, None, text) if question.strip() else Labelled(text, None)
    try:
        return show_classes(config, model, LabelEncoder(config, tokenizer), record)
    except RowProblem as problem:
        raise UsageError(f"{problem}.", where="--text") from None
