"""Train a model to find a tag for each word."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tui_tuner.config.metrics import METRICS
from tui_tuner.config.schema import RunConfig
from tui_tuner.data.records import Example, Record, TaggedText
from tui_tuner.data.tagging.tag_encoder import COLUMNS, TagEncoder
from tui_tuner.data.tagging.tag_schemes import (
    HEAD,
    OUTSIDE,
    has_other_head_tags,
    hash_tag,
    order_tags,
    read_head_tags,
)
from tui_tuner.errors import DataError, UsageError
from tui_tuner.locales import _
from tui_tuner.models.head_classes import read_head_classes
from tui_tuner.tasks.base import Task
from tui_tuner.text import one_line

if TYPE_CHECKING:
    from tui_tuner.data.examples.record_encoder import RecordEncoder, RowFacts
    from tui_tuner.data.examples.store import TokenizedRows
    from tui_tuner.data.ledger import Ledger
    from tui_tuner.data.preflight import Problem
    from tui_tuner.evaluation.samples import SampleSource, ShownSample
    from tui_tuner.objectives.objective import Objective

STRICT = tuple(METRICS[name] for name in ("f1_strict", "precision_strict", "recall_strict"))


SHOWN = 20  # tagged words of a row that are listed


class TokenClassification(Task):
    """Gives each word a tag; judged by whole entities if the tags follow a scheme such as BIO."""

    records = (TaggedText,)
    encoder_class = TagEncoder
    columns = COLUMNS
    metrics = (
        *(METRICS[name] for name in ("loss", "f1", "precision", "recall", "accuracy", "f1_macro")),
        *STRICT,
    )
    auto_class = f"AutoModel{HEAD}"
    new_modules = ("score", "classifier")
    peft_type = "TOKEN_CLS"

    def prepare_tokenizer(self, config: RunConfig, tokenizer: Any) -> list[str]:
        from tui_tuner.data.tagging.word_spaces import keep_spaces

        return keep_spaces(tokenizer)

    def describe_example(self, record: Record, example: Example) -> str:
        if not isinstance(record, TaggedText):
            return ""
        pairs = list(zip(record.tokens, map(str, record.tags), strict=False))
        tagged = [f"{one_line(word, 40)} {one_line(tag, 40)}" for word, tag in pairs if tag != OUTSIDE]
        if not tagged:
            return _("no word has a tag other than {outside}", outside=OUTSIDE)
        more = ["…"] if len(tagged) > SHOWN else []
        return _("tags: {tags}", tags=", ".join([*tagged[:SHOWN], *more]))

    def make_encoder(self, config: RunConfig, tokenizer: Any) -> RecordEncoder:
        return TagEncoder(config, tokenizer, read_head_tags(config.model))

    def read_cache_extras(self, config: RunConfig, tokenizer: Any) -> Any:
        return {"names": read_head_tags(config.model)}

    def check_rows(self, facts: RowFacts, ledger: Ledger, config: RunConfig) -> list[Problem]:
        from tui_tuner.data.tagging.checks import check_tags

        return check_tags(facts, read_head_classes(config.model, HEAD), config.data.names or ())

    def renumber_rows(self, rows: TokenizedRows, learned: Mapping[str, Any], config: RunConfig) -> None:
        names = order_run_tags(learned)
        # The store holds hashes of tags, because no process that encodes rows knows all tags.
        places = {hash_tag(name): place for place, name in enumerate(names)}
        if len(places) < len(names):
            raise DataError(_("two tags have the same hash: rename one of them."), field="data.path")
        # Held-out rows have a separate store, with the tags found in them.
        own = rows.store.meta["learned"]
        unknown = sorted(set(own["tags"]) - set(names))
        if unknown:
            raise _unknown_tag_error(rows, unknown[0], own["names"] or own["known"])
        rows.renumber_values(places)

    def model_values(self, config: RunConfig, learned: Mapping[str, Any]) -> dict[str, Any]:
        if not learned:
            return {}
        names = order_run_tags(learned)
        return {
            "num_labels": len(names),
            "id2label": dict(enumerate(names)),
            "label2id": {name: place for place, name in enumerate(names)},
        }

    def load_run_model(
        self, config: RunConfig, device: str, tokenizer: Any, learned: Mapping[str, Any]
    ) -> Any:
        from tui_tuner.models.loading import load_model

        values = self.model_values(config, learned)
        # A head with the same tags keeps its weights, so training continues it.
        new = bool(values) and has_other_head_tags(
            read_head_classes(config.model, HEAD), order_run_tags(learned)
        )
        return load_model(config, device, tokenizer, self.auto_class, values, self.new_modules, new_head=new)

    def make_objective(self, config: RunConfig) -> Objective:
        from tui_tuner.objectives.tag_objective import TagObjective
        from tui_tuner.tasks.classes.tag_judging import judge_tagged_rows

        return TagObjective(config, judge_tagged_rows)

    def make_samples(
        self, config: RunConfig, tokenizer: Any, held_out: TokenizedRows | None
    ) -> SampleSource | None:
        from tui_tuner.evaluation.tag_samples import TagSamples

        return TagSamples(config, tokenizer, held_out)

    def ask_model(
        self, model: Any, tokenizer: Any, config: RunConfig, text: str, question: str = ""
    ) -> ShownSample:
        from tui_tuner.evaluation.tag_samples import tag_own_text

        if question.strip():
            raise UsageError(
                _("task {task} tags a text and cannot answer a question about it.", task=config.task),
                hint=_("Leave the question out."),
            )
        return tag_own_text(model, tokenizer, config, text)

    def predict_rows(
        self, model: Any, tokenizer: Any, config: RunConfig, rows: Sequence[Record], batch_size: int
    ) -> list[Any]:
        """Return `[{start, end, label, score}]` of each row, in characters of its words joined by spaces."""
        from tui_tuner.evaluation.tag_rows import predict_tags

        return predict_tags(model, tokenizer, config, rows, batch_size)


def order_run_tags(learned: Mapping[str, Any]) -> list[str]:
    """Return the tag of each class of a run's model."""
    return order_tags(learned["tags"], learned["names"], learned["known"])


def _unknown_tag_error(rows: TokenizedRows, tag: str, names: Sequence[str]) -> DataError:
    """Make the error for a tag of held-out rows that no training row has, naming the first such word."""
    from tui_tuner.data.tagging.tag_encoder import name_tags

    store = rows.store
    for row in range(int(store.meta["rows"])):
        tags = name_tags(store.read_record(row)["tags"], names)
        if tag in tags:
            break
    return DataError(
        _(
            "word {place} has the tag {tag}, which no training row has: the model has no class for it.",
            place=tags.index(tag) + 1,
            tag=one_line(tag, 40),
        ),
        where=str(store.row_origin(row)),
        hint=_("Correct the tag, add rows with it to the training rows, or list all tags in data.names."),
        field="data.validation",
    )


TASK = TokenClassification()
