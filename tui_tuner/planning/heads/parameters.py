"""Counts of all and of the trained parameters of a model under a method, as PEFT counts them.

Pure arithmetic over shapes. A head that is trained along with an adapter exists twice, because PEFT keeps the
original next to the trained copy (`peft.utils.ModulesToSaveWrapper`); so do trained embeddings.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from tui_tuner.config.kinds.method_kind import Trait
from tui_tuner.config.schema import RunConfig
from tui_tuner.config.sections.method import MethodSection
from tui_tuner.config.sections.name_patterns import EXPERTS
from tui_tuner.locales import _
from tui_tuner.methods import find_method
from tui_tuner.methods.numbers.target_names import ALL, is_pattern, list_fused_names, name_targets
from tui_tuner.methods.numbers.terms import MethodCase
from tui_tuner.models.architectures.family import Linear
from tui_tuner.models.architectures.heads import HeadPart, list_head_parts
from tui_tuner.models.facts import ModelFacts
from tui_tuner.planning.data_facts import DataFacts
from tui_tuner.planning.heads.outputs import find_trained_head
from tui_tuner.planning.memory.method_fields import make_method_case
from tui_tuner.planning.memory.stack import Stack, find_installed_stack

WIDTHS = {"float32": 4, "bfloat16": 2, "float16": 2}  # bytes of a number
ADAPTER_WIDTH = 4  # adapters are trained and saved in float32


@dataclass(frozen=True)
class Parameters:
    """Trained parameters and all of them.

    `doubt` is the reason why the counts may be wrong, empty if they are exact; `basis` is the source of the
    number of a head's classes, empty without a head. `adapter` counts the parameters that the method added
    and trains, without heads. In the saved file are `stored` numbers of an adapter, which are in float32, and
    `own` of the model's own weights: its trained head or embeddings, or the whole model.
    """

    trained: int
    total: int
    doubt: str = ""
    basis: str = ""
    adapter: int = 0
    stored: int = 0
    own: int = 0

    @property
    def trained_share(self) -> float:
        """Return the trained parameters as a share of all."""
        return self.trained / self.total if self.total else 0.0

    def measure_file(self, dtype: str) -> int:
        """Return the bytes of weights in the file that is saved in the end.

        Args:
            dtype: Number format of the model's weights.
        """
        return ADAPTER_WIDTH * self.stored + WIDTHS[dtype] * self.own

    def describe_counts(self) -> str:
        """Describe the counts in one line, for a screen."""
        said = {"trained": self.trained, "total": self.total, "share": 100 * self.trained_share}
        if self.doubt:
            return _(
                "about {trained:,} of {total:,} parameters trained ({share:.4f} %): {doubt}",
                doubt=self.doubt,
                **said,
            )
        if self.basis:
            return _(
                "{trained:,} of {total:,} parameters trained ({share:.4f} %); head: {basis}",
                basis=self.basis,
                **said,
            )
        return _("{trained:,} of {total:,} parameters trained ({share:.4f} %)", **said)

    def to_json(self) -> dict[str, Any]:
        """Return the documented JSON form."""
        return {
            "trained_parameters": self.trained,
            "adapter_parameters": self.adapter,
            "total_parameters": self.total,
            "parameters_exact": not self.doubt,
        }


def count_run_parameters(
    config: RunConfig, facts: ModelFacts, data: DataFacts | None = None, stack: Stack | None = None
) -> Parameters:
    """Count the parameters of a run from its rows and its model's config."""
    head = find_trained_head(config, facts, data)
    found = count_parameters(
        facts, config.method, head.decides, head.outputs, new_pooler=head.new_pooler, stack=stack
    )
    return replace(found, basis=head.basis)


def count_parameters(
    facts: ModelFacts,
    method: MethodSection,
    decides: str = "",
    outputs: int = 2,
    *,
    new_pooler: bool = False,
    stack: Stack | None = None,
) -> Parameters:
    """Count the parameters of a model with a method.

    Args:
        decides: For what the task's head decides (`TaskKind.decides`); empty for a model that writes.
        outputs: Classes of the head, or numbers.
        new_pooler: The backbone's pooler begins with random weights, so it is trained with the head.
    """
    stack = stack or find_installed_stack()
    parts = list_head_parts(facts, decides, outputs)
    base = facts.parameters
    if parts:
        # The head that writes is not loaded at all for a task that decides
        base = facts.body_parameters + sum(part.parameters for part in parts)
    head = [part for part in parts if new_pooler or not part.inside]
    kept = sum(part.parameters for part in head)
    doubt = _explain_doubt(facts, method, parts)
    if method.has_trait(Trait.WHOLE_MODEL):
        return Parameters(base, base, doubt, own=base)
    numbers, case = find_method(method.kind), make_method_case(method, facts, stack)
    added = numbers.count_elsewhere(case, bool(parts))
    adapted = list(list_adapted_matrices(case, parts, head))
    if facts.source is not None and not case.top_layers:
        reading = make_method_case(method, facts.source, stack)
        adapted += list_adapted_matrices(reading, (), [])
        added += numbers.count_beside_encoder(reading)
    added += sum(numbers.count_parameters(one, case) * one.copies for one in adapted)
    stored = sum(numbers.count_saved_parameters(one, case) * one.copies for one in adapted)
    stored += numbers.count_saved_elsewhere(case, adapted, bool(parts))
    base += sum(numbers.count_layer_frozen(one, case) for one in adapted)
    base += numbers.count_twice(case, {part.matrix.name.split(".")[0] for part in head})
    if method.reads_field("train_embeddings") and method.train_embeddings:
        kept += facts.token_parameters
        # A tied head is the embedding matrix itself: PEFT trains one copy of both
        if not parts and not facts.tied:
            kept += facts.head_parameters
    # Modules trained along with an adapter exist twice (see above); with other methods they do not
    own = numbers.count_own(facts, method, bool(parts))
    trained = added + kept + own
    if not trained and not doubt:
        doubt = _("{kind} does not declare what it trains", kind=method.kind)
    beside = method.has_trait(Trait.ADAPTER)
    total = base + added + numbers.count_frozen(case) + (kept if beside else 0)
    # Only an adapter is saved by itself; other methods save the whole model
    return Parameters(
        trained,
        total,
        doubt,
        adapter=added,
        stored=stored if beside else 0,
        own=kept + own if beside else base,
    )


def list_adapted_matrices(
    case: MethodCase, parts: tuple[HeadPart, ...], head: list[HeadPart]
) -> Iterator[Linear]:
    """Yield every matrix that gets an adapter, inside and outside the layers."""
    facts, named = case.facts, case.section.layers if case.section.reads_field("layers") else None
    tops = find_method(case.section.kind).count_layers(case.section, facts.own_layers)
    for place in range(facts.own_layers - tops, facts.own_layers):
        of_layer = facts.without_experts if place in facts.dense_places else facts
        yield from (linear for linear in of_layer.layer_linears if case.adapts(linear))
    if ALL in case.target_names or named is not None:
        return  # of these only the layers get adapters
    yield from (
        part.matrix for part in parts if part not in head and not part.norm and case.adapts(part.matrix)
    )


def count_virtual_parameters(facts: ModelFacts, method: MethodSection, decides: bool) -> int:
    """Count the parameters that make virtual tokens, as PEFT does; 0 for any other method."""
    if not method.has_trait(Trait.VIRTUAL_TOKENS):
        return 0
    return find_method(method.kind).count_elsewhere(make_method_case(method, facts), decides)


def _explain_doubt(facts: ModelFacts, method: MethodSection, parts: tuple[HeadPart, ...]) -> str:
    """Explain why the counts may be wrong; empty if they are exact."""
    if facts.uncounted:
        return facts.uncounted
    if method.trained_names:
        return _("weights are found by their names")
    targets = name_targets(method, facts) - {ALL}
    if not method.reads_field("targets"):
        return ""
    if facts.low_rank_key and method.has_trait(Trait.ADAPTER):
        return _("adapters of {name} have not been verified", name=facts.model_type)
    if is_pattern(method.targets):
        return _("which layers the regular expression of method.targets takes is found on the model itself")
    if method.reads_field("rank_pattern") and not all(
        key.isidentifier() for key in method.rank_pattern or ()
    ):
        return _("which layers method.rank_pattern is about is found on the model itself")
    matrices = [linear for stack in facts.stacks for linear in stack.layer_linears]
    known = {step for linear in matrices for step in (linear.name, linear.name.split(".")[-1])}
    if facts.has_experts:
        known |= {EXPERTS, *list_fused_names(facts)}
    # PEFT matches the last part of a name anywhere in the model, so modules of a head count as targets too
    known |= {part.matrix.name.split(".")[-1] for part in parts}
    if targets - known:
        return _("method.targets has names that are not in the table of this architecture")
    return ""
