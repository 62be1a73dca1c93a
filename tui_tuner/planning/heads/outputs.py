"""The head of a run and its number of classes, counted before the run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tui_tuner.config.schema import RunConfig
from tui_tuner.data.labels.names import is_whole_label, name_class, parse_label_number
from tui_tuner.data.labels.problem import MOST_CLASSES, REGRESSION, LabelTally, decide_problem
from tui_tuner.data.records import LabelledText, Record, TaggedText
from tui_tuner.data.tagging.tag_schemes import order_tags, read_head_tags
from tui_tuner.locales import _, _n
from tui_tuner.models.architectures.heads import SPAN, TEXT, TOKEN, HeadPart, list_head_parts
from tui_tuner.models.facts import ModelFacts
from tui_tuner.planning.data_facts import DataFacts

USUAL = 2  # classes of a model whose config names none, as in transformers


@dataclass(frozen=True)
class Head:
    """The head of a run. `decides` is empty for a model that writes, `basis` says where the count is from."""

    decides: str = ""
    outputs: int = 0
    new_pooler: bool = False
    basis: str = ""

    def list_parts(self, facts: ModelFacts) -> tuple[HeadPart, ...]:
        """Return the modules of the head; empty for a model that writes."""
        return list_head_parts(facts, self.decides, self.outputs)


def find_trained_head(config: RunConfig, facts: ModelFacts, data: DataFacts | None = None) -> Head:
    """Return the head that a run trains: classes from the rows, else from config.json, else two."""
    decides = config.task_kind.decides
    if not decides:
        return Head()
    # Some checkpoints come without pooler weights, and random models have none that is trained
    pooler = facts.new_pooler or config.model.architecture is not None
    if decides == SPAN:
        return Head(decides, 2, pooler, _("where an answer begins, and where it ends"))
    if decides == TEXT and config.data.problem == REGRESSION:
        return Head(decides, 1, pooler, _("a number"))
    # Rows win over config.json: a checkpoint's old head is replaced where the classes differ
    if data is not None and data.outputs:
        return Head(decides, data.outputs, pooler, _describe_source(decides, data))
    named = count_named_classes(facts.raw)
    if named:
        said = _n("{count} class in config.json", "{count} classes in config.json", named, count=named)
        return Head(decides, named, pooler, said)
    return Head(
        decides,
        USUAL,
        pooler,
        _("neither the rows nor config.json name classes, so {count} are assumed", count=USUAL),
    )


def _describe_source(decides: str, data: DataFacts) -> str:
    """Describe where the number of classes comes from."""
    count = data.outputs
    if decides == TOKEN:
        return _n("{count} tag in the rows", "{count} tags in the rows", count, count=count)
    if data.regression:
        return _("a number, as the labels in the rows are")
    return _n("{count} class in the rows", "{count} classes in the rows", count, count=count)


def count_named_classes(raw: Mapping[str, Any]) -> int | None:
    """Return the number of classes that a config.json names or counts; None if it does neither."""
    count = raw.get("num_labels")
    if isinstance(count, int) and not isinstance(count, bool) and 0 < count <= MOST_CLASSES:
        return count
    names = raw.get("id2label")
    return len(names) if isinstance(names, Mapping | list) and 0 < len(names) <= MOST_CLASSES else None


@dataclass
class OutputCounter:
    """Counts the classes or tags of rows, one record after the other."""

    config: RunConfig
    tally: LabelTally = field(default_factory=LabelTally)
    tags: set[str | int] = field(default_factory=set)
    full: bool = False

    def count_record(self, record: Record) -> None:
        """Count the labels of a record; a record without labels is skipped."""
        if isinstance(record, TaggedText):
            # A column of free text given as tags must not fill the memory
            if len(self.tags) < MOST_CLASSES:
                self.tags.update(record.tags)
        elif isinstance(record, LabelledText):
            self._note_label(record.label)

    def _note_label(self, label: Any) -> None:
        several = isinstance(label, list)
        labels = label if several else [label]
        if any(one is None for one in labels):
            return
        tally, numbers = self.tally, [parse_label_number(one) for one in labels]
        tally.rows += 1
        tally.lists += several
        tally.several += several and len(labels) != 1
        tally.texts += any(number is None for number in numbers)
        tally.fractions += any(number is not None and not is_whole_label(number) for number in numbers)
        for name in {name_class(one) for one in labels}:
            if name in tally.classes or len(tally.classes) < MOST_CLASSES:
                tally.classes[name] = tally.classes.get(name, 0) + 1
            else:
                self.full = True

    def report_outputs(self) -> tuple[int, bool]:
        """Return how many outputs these rows need, 0 if unknown; and whether their labels are numbers."""
        if self.tags:
            return len(self._list_tags()), False
        if not self.tally.rows:
            return 0, False
        # Too many different labels for classes: they are judged as numbers, without the names that were
        # dropped
        tally = LabelTally(rows=self.tally.rows, fractions=self.tally.fractions) if self.full else self.tally
        problem, _why = decide_problem(self.config.data.problem, tally)
        if problem == REGRESSION:
            return 1, True
        return len(self.tally.classes), False

    def _list_tags(self) -> list[str]:
        """Return the tags in the order of the run's classes (`tasks.token_classification`)."""
        known, told = read_head_tags(self.config.model), self.config.data.names or []
        names = told or known
        named = {
            names[tag] if isinstance(tag, int) and 0 <= tag < len(names) else str(tag) for tag in self.tags
        }
        return order_tags(named, told, known)
