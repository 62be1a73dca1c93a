"""Train a model to find the class of a text or of a pair of texts, several classes, or a number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from tui_tuner.config.metrics import METRICS
from tui_tuner.config.schema import RunConfig
from tui_tuner.data.labels.label_encoder import COLUMNS, LabelEncoder, sum_up_encoded_labels
from tui_tuner.data.labels.names import name_class
from tui_tuner.data.labels.numbering import number_row_labels
from tui_tuner.data.labels.problem import MULTI, REGRESSION, LabelTally, decide_problem
from tui_tuner.data.labels.weights import check_class_weights
from tui_tuner.data.records import Example, LabelledText, Record
from tui_tuner.errors import UsageError
from tui_tuner.locales import _
from tui_tuner.tasks.base import Task
from tui_tuner.tasks.classes.head import find_run_classes, has_other_head_classes
from tui_tuner.tasks.classes.label_checks import check_labels
from tui_tuner.text import one_line

if TYPE_CHECKING:
    from tui_tuner.data.examples.record_encoder import RecordEncoder, RowFacts
    from tui_tuner.data.examples.store import TokenizedRows
    from tui_tuner.data.ledger import Ledger
    from tui_tuner.data.preflight import Problem
    from tui_tuner.evaluation.samples import SampleSource, ShownSample
    from tui_tuner.objectives.objective import Objective

HEAD = "ForSequenceClassification"
PROBLEM_TYPES = {
    "single": "single_label_classification",
    "multi": "multi_label_classification",
    "regression": "regression",
}
BEST = {MULTI: "f1_macro", REGRESSION: "pearson"}


class Classification(Task):
    records = (LabelledText,)
    encoder_class = LabelEncoder
    columns = COLUMNS
    metrics = tuple(
        METRICS[name] for name in ("loss", "accuracy", "f1_macro", "mcc", "pearson", "precision", "recall")
    )
    auto_class = f"AutoModel{HEAD}"
    new_modules = ("score", "classifier", "pre_classifier")
    peft_type = "SEQ_CLS"

    # ---- rows ---------------------------------------------------------------------------------------------

    def prepare_tokenizer(self, config: RunConfig, tokenizer: Any) -> list[str]:
        """Set a padding token if there is none."""
        if tokenizer.pad_token_id is not None:
            return []
        # An existing token, because a new one would need its own row in the embeddings; padding is masked.
        token = next(
            (
                one
                for one in (tokenizer.eos_token, tokenizer.unk_token, tokenizer.bos_token)
                if one is not None
            ),
            None,
        )
        if token is None:
            token = tokenizer.convert_ids_to_tokens(0)
        tokenizer.pad_token = token
        return [_("The tokenizer has no padding token: rows are padded with {token}.", token=token)]

    def describe_example(self, record: Record, example: Example) -> str:
        if not isinstance(record, LabelledText) or record.label is None:
            return ""
        if not isinstance(record.label, list):
            return _("class: {name}", name=one_line(name_class(record.label), 80))
        names = [one_line(name_class(label), 80) for label in record.label]
        return _("classes: {names}", names=", ".join(names)) if names else _("no classes")

    def make_encoder(self, config: RunConfig, tokenizer: Any) -> RecordEncoder:
        return LabelEncoder(config, tokenizer, self._base_classes(config))

    def read_cache_extras(self, config: RunConfig, tokenizer: Any) -> Any:
        return {"base": self._base_classes(config)}

    def _base_classes(self, config: RunConfig) -> list[str]:
        from tui_tuner.models.head_classes import read_head_classes

        return read_head_classes(config.model, HEAD)

    def check_rows(self, facts: RowFacts, ledger: Ledger, config: RunConfig) -> list[Problem]:
        return check_labels(facts, config, sum_up_encoded_labels(facts, self._base_classes(config)))

    def settle_fields(self, config: RunConfig, learned: Mapping[str, Any]) -> dict[str, tuple[Any, str]]:
        tally = LabelTally.from_learned(learned)
        problem, why = decide_problem(config.data.problem, tally)
        found: dict[str, tuple[Any, str]] = {}
        if config.data.problem == "auto":
            found["data.problem"] = (problem, why)
        if config.evaluation.best == "auto" and problem in BEST:
            found["evaluation.best"] = (
                BEST[problem],
                _("the metric for data.problem {problem}", problem=problem),
            )
        return found

    def renumber_rows(self, rows: TokenizedRows, learned: Mapping[str, Any], config: RunConfig) -> None:
        classes = find_run_classes(config, LabelTally.from_learned(learned))
        check_class_weights(config.training.class_weights, classes.names, classes.problem)
        number_row_labels(rows, classes.problem, classes.numbers, config.data.label_separator)

    # ---- the model ----------------------------------------------------------------------------------------

    def model_values(self, config: RunConfig, learned: Mapping[str, Any]) -> dict[str, Any]:
        if not learned:
            return {}
        classes = find_run_classes(config, LabelTally.from_learned(learned))
        return {
            "id2label": dict(enumerate(classes.names)),
            "label2id": {name: number for number, name in enumerate(classes.names)},
            "problem_type": PROBLEM_TYPES[classes.problem],
        }

    def load_run_model(
        self, config: RunConfig, device: str, tokenizer: Any, learned: Mapping[str, Any]
    ) -> Any:
        from tui_tuner.models.loading import load_model

        values, new = self.model_values(config, learned), False
        # A head with the same classes keeps its weights, so training continues it.
        if values:
            new = has_other_head_classes(
                find_run_classes(config, LabelTally.from_learned(learned)), self._base_classes(config)
            )
        model = load_model(config, device, tokenizer, self.auto_class, values, self.new_modules, new_head=new)
        # Causal models with a head for classes read the last token before the padding, found by this id.
        settings = model.config.get_text_config()
        if tokenizer is not None and tokenizer.pad_token_id is not None:
            settings.pad_token_id = tokenizer.pad_token_id
        return model

    # ---- learning and judging -----------------------------------------------------------------------------

    def make_objective(self, config: RunConfig) -> Objective:
        from tui_tuner.objectives.class_objective import ClassObjective
        from tui_tuner.tasks.classes.class_judging import judge_classes

        return ClassObjective(config, partial(judge_classes, config.data.problem), self._base_classes(config))

    def make_samples(
        self, config: RunConfig, tokenizer: Any, held_out: TokenizedRows | None
    ) -> SampleSource | None:
        from tui_tuner.tasks.classes.class_showing import ClassSamples

        return ClassSamples(config, tokenizer, held_out)

    def ask_model(
        self, model: Any, tokenizer: Any, config: RunConfig, text: str, question: str = ""
    ) -> ShownSample:
        """Return the classes of a text, or of a pair whose first text is `question`."""
        from tui_tuner.tasks.classes.class_showing import classify_text

        if not text.strip():
            raise UsageError(_("the text is empty."), where="--text")
        return classify_text(config, model, tokenizer, text, question)

    def predict_rows(
        self, model: Any, tokenizer: Any, config: RunConfig, rows: Sequence[Record], batch_size: int
    ) -> list[Any]:
        """Return `{label, probabilities}` of each text or pair; `{labels, probabilities}`, or `{value}`."""
        from tui_tuner.tasks.classes.class_predicting import predict_classes

        return predict_classes(config, model, tokenizer, rows, batch_size)


TASK = Classification()
