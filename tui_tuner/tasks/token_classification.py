"""Learn a tag for each word."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tui_tuner.config.metrics import METRICS
from tui_tuner.config.schema import RunConfig
from tui_tuner.data.records import Example, Record, Tagged
from tui_tuner.data.tagging.encoder import COLUMNS, TagEncoder
from tui_tuner.data.tagging.tags import HEAD, OUTSIDE, has_other_tags, known_tags, number_of, order_tags
from tui_tuner.errors import DataError, UsageError
from tui_tuner.locales import _
from tui_tuner.models.heads import head_classes
from tui_tuner.tasks.base import Task
from tui_tuner.text import one_line

if TYPE_CHECKING:
    from tui_tuner.data.examples.encoder import Encoder, Facts
    from tui_tuner.data.examples.store import TokenizedRows
    from tui_tuner.data.ledger import Ledger
    from tui_tuner.data.preflight import Problem
    from tui_tuner.evaluation.samples import Samples, Shown
    from tui_tuner.objectives.base import Objective

STRICT = tuple(METRICS[name] for name in ("f1_strict", "precision_strict", "recall_strict"))


SHOWN = 20  # words of a row, in a list of them


class TokenClassification(Task):
    """Words in, a tag for each out; judged by whole entities where tags are of a scheme such as BIO."""

    records = (Tagged,)
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

    def describe(self, record: Record, example: Example) -> str:
        if not isinstance(record, Tagged):
            return ""
        pairs = list(zip(record.tokens, map(str, record.tags), strict=False))
        tagged = [f"{one_line(word, 40)} {one_line(tag, 40)}" for word, tag in pairs if tag != OUTSIDE]
        if not tagged:
            return _("no word has a tag but {outside}", outside=OUTSIDE)
        more = ["…"] if len(tagged) > SHOWN else []
        return _("tags: {tags}", tags=", ".join([*tagged[:SHOWN], *more]))

    def encoder(self, config: RunConfig, tokenizer: Any) -> Encoder:
        return TagEncoder(config, tokenizer, known_tags(config.model))

    def read_beside(self, config: RunConfig, tokenizer: Any) -> Any:
        return {"names": known_tags(config.model)}

    def check_rows(self, facts: Facts, ledger: Ledger, config: RunConfig) -> list[Problem]:
        from tui_tuner.data.tagging.checks import check_tags

        return check_tags(facts, head_classes(config.model, HEAD), config.data.names or ())

    def number(self, rows: TokenizedRows, learned: Mapping[str, Any], config: RunConfig) -> None:
        names = tags_of(learned)
        places = {number_of(name): place for place, name in enumerate(names)}
        if len(places) < len(names):
            raise DataError(
                _("two tags cannot be told apart by their hashes: rename one of them."), field="data.path"
            )
        own = rows.store.meta["learned"]
        unknown = sorted(set(own["tags"]) - set(names))
        if unknown:
            raise _unknown_tag(rows, unknown[0], own["names"] or own["known"])
        rows.renumber(places)

    def model_values(self, config: RunConfig, learned: Mapping[str, Any]) -> dict[str, Any]:
        if not learned:
            return {}
        names = tags_of(learned)
        return {
            "num_labels": len(names),
            "id2label": dict(enumerate(names)),
            "label2id": {name: place for place, name in enumerate(names)},
        }

    def load(self, config: RunConfig, device: str, tokenizer: Any, learned: Mapping[str, Any]) -> Any:
        from tui_tuner.models.loading import load_model

        values = self.model_values(config, learned)
        new = bool(values) and has_other_tags(head_classes(config.model, HEAD), tags_of(learned))
        return load_model(config, device, tokenizer, self.auto_class, values, self.new_modules, new_head=new)

    def objective(self, config: RunConfig) -> Objective:
        from tui_tuner.objectives.tags import TagObjective
        from tui_tuner.tasks.classes.tag_judging import judge_rows

        return TagObjective(config, judge_rows)

    def samples(self, config: RunConfig, tokenizer: Any, held_out: TokenizedRows | None) -> Samples | None:
        from tui_tuner.evaluation.tag_samples import TagSamples

        return TagSamples(config, tokenizer, held_out)

    def ask(self, model: Any, tokenizer: Any, config: RunConfig, text: str, question: str = "") -> Shown:
        from tui_tuner.evaluation.tag_samples import tag_text

        if question.strip():
            raise UsageError(
                _("task {task} tags a text and answers no question about it.", task=config.task),
                hint=_("Leave the question out."),
            )
        return tag_text(model, tokenizer, config, text)

    def predict(
        self, model: Any, tokenizer: Any, config: RunConfig, rows: Sequence[Record], batch_size: int
    ) -> list[Any]:
        """`[{start, end, label, score}]` of each row, in characters; of words as if joined by spaces."""
        from tui_tuner.evaluation.tag_rows import tag_rows

        return tag_rows(model, tokenizer, config, rows, batch_size)


def tags_of(learned: Mapping[str, Any]) -> list[str]:
    """The tag of each class of a run's model."""
    return order_tags(learned["tags"], learned["names"], learned["known"])


def _unknown_tag(rows: TokenizedRows, tag: str, names: Sequence[str]) -> DataError:
    """A tag of held-out rows that no training row has, with the first word that has it."""
    from tui_tuner.data.tagging.encoder import name_tags

    store = rows.store
    for row in range(int(store.meta["rows"])):
        tags = name_tags(store.record(row)["tags"], names)
        if tag in tags:
            break
    return DataError(
        _(
            "word {place} has the tag {tag}, which no training row has: the model has no class for it.",
            place=tags.index(tag) + 1,
            tag=one_line(tag, 40),
        ),
        where=str(store.origin(row)),
        hint=_(
            "Correct the tag, add rows with it to those that are trained, or name all tags in data.names."
        ),
        field="data.validation",
    )


TASK = TokenClassification()
