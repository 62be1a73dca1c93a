"""Show texts with the classes that a model gives them, before, during and after training, and on request."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tui_tuner.config.schema import RunConfig
from tui_tuner.data.examples.held_out import pick_held_out_records
from tui_tuner.data.examples.store import TokenizedRows
from tui_tuner.data.labels.label_encoder import LabelEncoder
from tui_tuner.data.labels.names import name_class, split_labels
from tui_tuner.data.labels.problem import MULTI, REGRESSION
from tui_tuner.data.records import LabelledText
from tui_tuner.data.row_problem import RowProblem
from tui_tuner.errors import UsageError
from tui_tuner.evaluation.class_metrics import compute_class_probabilities
from tui_tuner.evaluation.samples import DURING, Progress, SampleReport, SampleSource, ShownSample, Stage
from tui_tuner.locales import _
from tui_tuner.models.evaluation_mode import use_evaluation_mode
from tui_tuner.models.head_classes import list_loaded_classes

SCORES = 5  # classes with probabilities
LONGEST = 2000  # characters of a text that are kept for showing


class ClassSamples(SampleSource):
    """Shows the user's texts and a few held-out rows, always the same, with the model's predictions."""

    def __init__(self, config: RunConfig, tokenizer: Any, held_out: TokenizedRows | None) -> None:
        self.config = config
        self.encoder = LabelEncoder(config, tokenizer)
        own = [LabelledText(text, None) for text in config.evaluation.prompts or [] if text.strip()]
        rows = pick_held_out_records(held_out, config.evaluation.samples, config.data.seed)
        self.records = own + [LabelledText(one["text"], one["label"], one.get("pair")) for one in rows]

    def collect_samples(self, model: Any, stage: Stage, progress: Progress) -> SampleReport | None:
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


def show_classes(config: RunConfig, model: Any, encoder: LabelEncoder, record: LabelledText) -> ShownSample:
    """Predict the class of one text or pair, with the probabilities of the likeliest classes.

    Raises:
        RowProblem: it is longer than max_length and may not be cut.
    """
    logits = compute_class_logits(model, encoder, record)
    names = list_loaded_classes(model)
    said, scores = describe_class_prediction(config.data.problem, logits, names)
    prompt = record.text if record.pair is None else f"{record.text}\n{record.pair}"
    wanted = _wanted_words(record, config, names)
    return ShownSample(prompt[:LONGEST], said, wanted, scores=scores)


def compute_class_logits(model: Any, encoder: LabelEncoder, record: LabelledText) -> np.ndarray:
    """Return the logits of one text, float64 [classes]. The model's mode is restored."""
    import torch

    from tui_tuner.compute.forward import reads_token_types

    values = encoder.tokenise_cut(record)
    device = model.get_input_embeddings().weight.device
    inputs = {"input_ids": torch.tensor([values["input_ids"]], device=device)}
    # Types that are all 0 are the default, and many models accept no types.
    if "token_type_ids" in values and any(values["token_type_ids"]) and reads_token_types(model):
        inputs["token_type_ids"] = torch.tensor([values["token_type_ids"]], device=device)
    inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
    with torch.no_grad(), use_evaluation_mode(model):
        logits = model(**inputs).logits[0]
    return np.asarray(logits.double().cpu().numpy())


def describe_class_prediction(
    problem: str, logits: np.ndarray, names: Sequence[str]
) -> tuple[str, list[tuple[str, float]]]:
    """Format a prediction, and return the likeliest classes with their probabilities."""
    if problem == REGRESSION:
        return f"{logits[0]:.4g}", []
    chances = compute_class_probabilities(logits[None], problem == MULTI)[0]
    order = sorted(range(len(names)), key=lambda place: (-chances[place], place))
    scores = [(names[place], float(chances[place])) for place in order[:SCORES]]
    if problem == MULTI:
        return ", ".join(names[place] for place in order if logits[place] > 0) or _("none"), scores
    return names[order[0]], scores


def _wanted_words(record: LabelledText, config: RunConfig, names: Sequence[str]) -> str:
    """Return the label in the data, in the names that the model has for its classes."""
    if record.label is None:
        return ""
    labels = [name_class(one) for one in split_labels(record.label, config.data.label_separator)]
    if config.data.problem == REGRESSION:
        return labels[0]
    folded = {name.casefold(): name for name in names}
    known = [folded.get(label.casefold(), label) for label in labels]
    # Rows may use the numbers of the classes where the model has names.
    if all(label not in names and label.isdecimal() and int(label) < len(names) for label in known):
        known = [names[int(label)] for label in known]
    return ", ".join(known) or _("none")


def classify_text(config: RunConfig, model: Any, tokenizer: Any, text: str, question: str) -> ShownSample:
    """Predict the class of the user's own text, or of the pair of question and text.

    Raises:
        UsageError: it is longer than max_length and may not be cut.
    """
    record = LabelledText(question, None, text) if question.strip() else LabelledText(text, None)
    try:
        return show_classes(config, model, LabelEncoder(config, tokenizer), record)
    except RowProblem as problem:
        raise UsageError(f"{problem}.", where="--text") from None
