"""What the program knows about each method, as one page: from its entry in the registry and its fields.

`docs/methods.md` and `tui-tuner methods` are made of these, so they say what the form says.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tui_tuner.config.applying import is_read_by_task
from tui_tuner.config.kinds.method_kind import MethodKind, Trait
from tui_tuner.config.kinds.methods import METHODS
from tui_tuner.config.kinds.tasks import TASKS
from tui_tuner.config.options import Option, list_options
from tui_tuner.config.sections.method import MethodSection
from tui_tuner.config.writing.flat import write_inline_yaml
from tui_tuner.locales import _
from tui_tuner.methods import find_method
from tui_tuner.methods.method import Method
from tui_tuner.methods.numbers.rates import Customary
from tui_tuner.text import join_sentence_items


@dataclass(frozen=True)
class MethodField:
    """A field of the section `method` that a method reads, with its default and the values it accepts."""

    name: str
    default: str
    accepted: str
    help: str


@dataclass(frozen=True)
class MethodPage:
    """A method in the user's language.

    Args:
        facts: What holds for it, each with a name: its paper, its customary learning rate, ...
    """

    name: str
    label: str
    summary: str
    paragraph: str
    facts: tuple[tuple[str, str], ...]
    fields: tuple[MethodField, ...]


def list_method_pages() -> list[MethodPage]:
    """Return the pages of all methods, in the order of the registry."""
    return [make_method_page(kind) for kind in METHODS.values()]


def make_method_page(kind: MethodKind) -> MethodPage:
    facts = tuple((name, text) for name, text in _list_facts(kind, find_method(kind.name)) if text)
    fields = tuple(_describe_field(kind, list_options()[f"method.{name}"]) for name in kind.fields)
    return MethodPage(kind.name, _(kind.label), _(kind.help), _(kind.explanation), facts, fields)


def _list_facts(kind: MethodKind, method: Method) -> Iterator[tuple[str, str]]:
    yield _("Paper"), kind.paper
    yield _("Usual values"), _(kind.usual)
    yield _("What it needs"), _describe_needs(kind)
    yield _("Learning rate"), _describe_rates(kind, method)
    yield _("Base in 4 or 8 bits"), _say_yes(kind, Trait.QUANTISABLE)
    if kind.has_trait(Trait.ADAPTER):
        yield _("Can be merged into the model"), _say_yes(kind, Trait.MERGEABLE)
    yield _("Gradient checkpointing"), _say_yes(kind, Trait.CHECKPOINTABLE)
    yield _("What is saved"), _describe_result(kind, method)
    yield _("Tasks"), _describe_tasks(kind)


def _describe_needs(kind: MethodKind) -> str:
    if not kind.needs:
        return _("nothing else")
    return _("a value for {fields}", fields=join_sentence_items(f"method.{name}" for name in kind.needs))


def _say_yes(kind: MethodKind, trait: Trait) -> str:
    return _("yes") if kind.has_trait(trait) else _("no")


def _describe_rates(kind: MethodKind, method: Method) -> str:
    section = MethodSection(kind=kind.name)
    usual = method.customary_rate(section)
    said = _describe_rate(usual)
    with_head = method.customary_rate(section, new_head=True)
    if with_head != usual:
        said += " " + _("With a new head on an encoder: {rate}", rate=_describe_rate(with_head))
    return said


def _describe_rate(rate: Customary) -> str:
    return _(
        "{rate:g}, usual from {low:g} to {high:g}. Source: {source}.",
        rate=rate.rate,
        low=rate.low,
        high=rate.high,
        source=_(rate.source),
    )


def _describe_result(kind: MethodKind, method: Method) -> str:
    if not kind.has_trait(Trait.ADAPTER):
        return _("A whole model, which {library} loads.", library=method.library)
    if method.standalone:
        return _(
            "An adapter, which {library} loads; load_adapter.py, a file next to it, loads it without.",
            library=method.library,
        )
    return _("An adapter, which {library} loads onto its base model.", library=method.library)


def _describe_tasks(kind: MethodKind) -> str:
    refused = [task for task in TASKS.values() if not task.takes_method(kind.name)]
    if not refused:
        return _("all")
    taken = join_sentence_items(name for name, task in TASKS.items() if task not in refused)
    without = " ".join(
        _("Not {task}: {reason}.", task=task.name, reason=_(task.without[kind.name])) for task in refused
    )
    return _("{tasks}. {without}", tasks=taken, without=without)


def _describe_field(kind: MethodKind, option: Option) -> MethodField:
    name = option.path.removeprefix("method.")
    default = _("none; set one") if name in kind.needs else write_inline_yaml(option.default)
    accepted = option.describe_expected(_(option.unit) if option.unit else "")
    told = [_(option.help), _(option.explain)]
    readers = [task for task in TASKS if is_read_by_task(task, option.path)]
    if len(readers) < len(TASKS):
        told.append(_("Only for {tasks}.", tasks=join_sentence_items(readers)))
    return MethodField(option.path, default, accepted, " ".join(filter(None, told)))
