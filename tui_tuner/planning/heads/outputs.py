"""What the head of a run has to decide about: how many classes, counted before the run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tui_tuner.config.schema import RunConfig
from tui_tuner.data.labels.names import class_name, is_whole, number_of
from tui_tuner.data.labels.problem import MOST_CLASSES, REGRESSION, Tally, settle_problem
from tui_tuner.data.records import Labelled, Record, Tagged
from tui_tuner.data.tagging.tags import known_tags, order_tags
from tui_tuner.locales import _, _n
from tui_tuner.models.architectures.heads import SPAN, TEXT, TOKEN, Part, head_parts
from tui_tuner.models.facts import ModelFacts
from tui_tuner.planning.data_facts import DataFacts

USUAL = 2  # classes of a model whose config names none (transformers)


@dataclass(frozen=True)
class Head:
    """The head of a run. `decides` is empty for a model that writes, `basis` says where the count is from."""

    decides: str = ""
    outputs: int = 0
    new_pooler: bool = False
    basis: str = ""

    def parts(self, facts: ModelFacts) -> tuple[Part, ...]:
        """Its modules."""
        return head_parts(facts, self.decides, self.outputs)


def head_of(config: RunConfig, facts: ModelFacts, data: DataFacts | None = None) -> Head:
    """The head that a run trains: classes of the rows, else of the model's config, else two."""
    decides = config.task_kind.decides
    if not decides:
        return Head()
    pooler = facts.new_pooler or config.model.architecture is not None
    if decides == SPAN:
        return Head(decides, 2, pooler, _("where an answer begins, and where it ends"))
    if decides == TEXT and config.data.problem == REGRESSION:
        return Head(decides, 1, pooler, _("a number"))
    if data is not None and data.outputs:
        return Head(decides, data.outputs, pooler, _said(decides, data))
    named = named_classes(facts.raw)
    if named:
        said = _n("{count} class in config.json", "{count} classes in config.json", named, count=named)
        return Head(decides, named, pooler, said)
    return Head(
        decides,
        USUAL,
        pooler,
        _("neither the rows nor config.json name classes, so {count} are taken", count=USUAL),
    )


def _said(decides: str, data: DataFacts) -> str:
    """Where the count of the rows is from."""
    count = data.outputs
    if decides == TOKEN:
        return _n("{count} tag in the rows", "{count} tags in the rows", count, count=count)
    if data.regression:
        return _("a number, as the labels in the rows are")
    return _n("{count} class in the rows", "{count} classes in the rows", count, count=count)


def named_classes(raw: Mapping[str, Any]) -> int | None:
    """Classes that a config.json names or counts; None where it does neither."""
    count = raw.get("num_labels")
    if isinstance(count, int) and not isinstance(count, bool) and 0 < count <= MOST_CLASSES:
        return count
    names = raw.get("id2label")
    return len(names) if isinstance(names, Mapping | list) and 0 < len(names) <= MOST_CLASSES else None


@dataclass
class OutputCounter:
    """Counts the classes or tags of rows, one record after the other."""

    config: RunConfig
    tally: Tally = field(default_factory=Tally)
    tags: set[str | int] = field(default_factory=set)
    full: bool = False

    def note(self, record: Record) -> None:
        """Look at the labels of a record; those without any are passed over."""
        if isinstance(record, Tagged):
            if len(self.tags) < MOST_CLASSES:
                self.tags.update(record.tags)
        elif isinstance(record, Labelled):
            self._note_label(record.label)

    def _note_label(self, label: Any) -> None:
        several = isinstance(label, list)
        labels = label if several else [label]
        if any(one is None for one in labels):
            return
        tally, numbers = self.tally, [number_of(one) for one in labels]
        tally.rows += 1
        tally.lists += several
        tally.several += several and len(labels) != 1
        tally.texts += any(number is None for number in numbers)
        tally.fractions += any(number is not None and not is_whole(number) for number in numbers)
        for name in {class_name(one) for one in labels}:
            if name in tally.classes or len(tally.classes) < MOST_CLASSES:
                tally.classes[name] = tally.classes.get(name, 0) + 1
            else:
                self.full = True

    def found(self) -> tuple[int, bool]:
        """How many outputs these rows ask for, 0 where they say nothing; and whether they are numbers."""
        if self.tags:
            return len(self._tags()), False
        if not self.tally.rows:
            return 0, False
        tally = Tally(rows=self.tally.rows, fractions=self.tally.fractions) if self.full else self.tally
        problem, _why = settle_problem(self.config.data.problem, tally)
        if problem == REGRESSION:
            return 1, True
        return len(self.tally.classes), False

    def _tags(self) -> list[str]:
        """The tag of each class, as the run will have them (`tasks.token_classification`)."""
        known, told = known_tags(self.config.model), self.config.data.names or []
        names = told or known
        named = {
            names[tag] if isinstance(tag, int) and 0 <= tag < len(names) else str(tag) for tag in self.tags
        }
        return order_tags(named, told, known)
