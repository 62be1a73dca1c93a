"""Learn the class of a text or of a pair of texts, several classes, or a number."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from tui_tuner.config.metrics import METRICS
from tui_tuner.config.schema import RunConfig
from tui_tuner.data.labels.encoder import COLUMNS, LabelEncoder, labels_of, tally_of
from tui_tuner.data.labels.names import class_name
from tui_tuner.data.labels.numbering import number_rows
from tui_tuner.data.labels.problem import MULTI, REGRESSION, Tally, settle_problem
from tui_tuner.data.records import Example, Labelled, Record
from tui_tuner.locales import _
from tui_tuner.tasks.base import Task
from tui_tuner.tasks.classes.head import choose_head, classes_of
from tui_tuner.tasks.classes.rows import check_labels
from tui_tuner.text import one_line

if TYPE_CHECKING:
    from tui_tuner.data.examples.encoder import Encoder, Facts
    from tui_tuner.data.examples.store import TokenizedRows
    from tui_tuner.data.ledger import Ledger
    from tui_tuner.data.preflight import Problem
    from tui_tuner.objectives.base import Objective

HEAD = "ForSequenceClassification"
PROBLEM_TYPES = {
    "single": "single_label_classification",
    "multi": "multi_label_classification",
    "regression": "regression",
}
BEST = {MULTI: "f1_macro", REGRESSION: "pearson"}


class Classification(Task):
    records = (Labelled,)
    encoder_class = LabelEncoder
    columns = COLUMNS
    metrics = tuple(
        METRICS[name] for name in ("loss", "accuracy", "f1_macro", "mcc", "pearson", "precision", "recall")
    )
    auto_class = f"AutoModel{HEAD}"
    new_modules = (
        "score",
        "classifier",
        "pre_classifier",
        "pooler",
        "head",
        "sequence_summary",
        "logits_proj",
        "classification_head",
    )
    peft_type = "SEQ_CLS"

    # ---- rows ---------------------------------------------------------------------------------------------

    def prepare_tokenizer(self, config: RunConfig, tokenizer: Any) -> list[str]:
        """Rows of a batch are padded, and a model that writes looks for the padding to find the last token."""
        if tokenizer.pad_token_id is not None:
            return []
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

    def describe(self, record: Record, example: Example) -> str:
        if not isinstance(record, Labelled) or record.label is None:
            return ""
        names = [one_line(class_name(label), 60) for label in labels_of(record)]
        if isinstance(record.label, list):
            return _("classes: {names}", names=", ".join(names)) if names else _("no class at all")
        return _("class: {name}", name=names[0])

    def encoder(self, config: RunConfig, tokenizer: Any) -> Encoder:
        return LabelEncoder(config, tokenizer, self._base(config))

    def read_beside(self, config: RunConfig, tokenizer: Any) -> Any:
        return {"base": self._base(config)}

    def _base(self, config: RunConfig) -> list[str]:
        from tui_tuner.models.heads import head_classes

        return head_classes(config.model, HEAD)

    def check_rows(self, facts: Facts, ledger: Ledger, config: RunConfig) -> list[Problem]:
        return check_labels(facts, config, tally_of(facts, self._base(config)))

    def settle(self, config: RunConfig, learned: Mapping[str, Any]) -> dict[str, tuple[Any, str]]:
        tally = Tally.of(learned)
        problem, why = settle_problem(config.data.problem, tally)
        found: dict[str, tuple[Any, str]] = {}
        if config.data.problem == "auto":
            found["data.problem"] = (problem, why)
        if config.evaluation.best == "auto" and problem in BEST:
            found["evaluation.best"] = (
                BEST[problem],
                _("what data.problem {problem} is judged by", problem=problem),
            )
        return found

    def number(self, rows: TokenizedRows, learned: Mapping[str, Any], config: RunConfig) -> None:
        tally = Tally.of(learned)
        problem, _why = settle_problem(config.data.problem, tally)
        number_rows(rows, problem, classes_of(tally, problem).numbers)

    # ---- the model ----------------------------------------------------------------------------------------

    def model_values(self, config: RunConfig, learned: Mapping[str, Any]) -> dict[str, Any]:
        if not learned:
            return {}
        tally = Tally.of(learned)
        problem, _why = settle_problem(config.data.problem, tally)
        names = classes_of(tally, problem).names
        return {
            "id2label": dict(enumerate(names)),
            "label2id": {name: number for number, name in enumerate(names)},
            "problem_type": PROBLEM_TYPES[problem],
        }

    def load(self, config: RunConfig, device: str, tokenizer: Any, learned: Mapping[str, Any]) -> Any:
        names = list(self.model_values(config, learned).get("id2label", {}).values())
        fresh = choose_head(names, self._base(config))
        model = super().load(config, device, tokenizer, learned)
        if fresh:
            fresh(model, self.new_modules)
        settings = model.config.get_text_config()
        if tokenizer is not None and tokenizer.pad_token_id is not None:
            settings.pad_token_id = tokenizer.pad_token_id
        return model

    # ---- learning and judging -----------------------------------------------------------------------------

    def objective(self, config: RunConfig) -> Objective:
        from tui_tuner.objectives.classes import ClassObjective
        from tui_tuner.tasks.classes.judging import judge_classes

        return ClassObjective(config, partial(judge_classes, config.data.problem))


TASK = Classification()
