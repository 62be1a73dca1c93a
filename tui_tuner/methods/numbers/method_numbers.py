"""The numbers of a method: its customary rate, trained weights, operations and memory. Part of `Method`."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import ClassVar

from tui_tuner.config.sections.method import MethodSection
from tui_tuner.methods.numbers.rates import UNPUBLISHED, Customary, Rates, Rule
from tui_tuner.methods.numbers.terms import (
    Form,
    MethodCase,
    PassedWeights,
    Terms,
    count_new_rows,
    make_basic_terms,
)
from tui_tuner.models.architectures.family import Linear
from tui_tuner.models.facts import ModelFacts


class MethodNumbers:
    """The figures that planning needs of a method. Each has a default that follows from the others.

    `count_parameters` or `count_elsewhere` alone is enough to plan with: the weights, their gradients and
    optimizer states, and products as large as the matrices follow from it.

    Attributes:
        rates: Its customary learning rates.
        trains_layers: It has no adapters: in the layers that it trains, it trains every weight.
        stabilised: Updates are divided by the square root of the rank rather than by the rank.
    """

    rates: Rates = UNPUBLISHED
    trains_layers: ClassVar[bool] = False
    stabilised: bool = False

    def customary_rate(
        self,
        section: MethodSection,
        *,
        new_head: bool = False,
        preference: bool = False,
        parameters: int | None = None,
    ) -> Customary:
        """Return the usual peak learning rate.

        Args:
            new_head: The model is an encoder with a new head.
            preference: The task learns from comparisons.
            parameters: The model's number of parameters; None if unknown.
        """
        if preference:
            return self.rates.preference
        return self.rates.new_head if new_head and self.rates.new_head else self.rates.usual

    def rate_rules(self, section: MethodSection) -> list[Rule]:
        """Return rules for the rate that apply to this method only, to be shown with the usual one."""
        return []

    def count_parameters(self, linear: Linear, case: MethodCase) -> int:
        """Return how many weights are trained next to one linear layer that has an adapter."""
        return 0

    def count_layer_frozen(self, linear: Linear, case: MethodCase) -> int:
        """Return how many numbers are added beside one such layer as parameters, and never trained."""
        return 0

    def count_elsewhere(self, case: MethodCase, decides: bool = False) -> int:
        """Return how many trained weights it adds elsewhere than next to linear layers.

        Args:
            decides: The model has a head for classes, tags or answers instead of one that writes.
        """
        return count_new_rows(case, decides)

    def count_beside_encoder(self, case: MethodCase) -> int:
        """Return how many trained weights it adds elsewhere in an encoder whose decoder is counted apart."""
        return 0

    def count_frozen(self, case: MethodCase) -> int:
        """Return how many numbers it adds that are not trained."""
        return 0

    def count_saved_parameters(self, linear: Linear, case: MethodCase) -> int:
        """Return how many numbers a saved adapter holds for one linear layer."""
        return self.count_parameters(linear, case)

    def count_saved_elsewhere(self, case: MethodCase, adapted: Collection[Linear], decides: bool) -> int:
        """Return how many numbers a saved adapter holds besides those and a head.

        Args:
            adapted: Every linear layer with an adapter.
            decides: As for `count_elsewhere`.
        """
        return self.count_elsewhere(case, decides)

    def count_own(self, facts: ModelFacts, section: MethodSection, decides: bool = False) -> int:
        """Return how many of the model's own weights are trained, if not all of them are.

        Args:
            decides: The model has a head that decides in place of one that writes, and is counted apart.
        """
        return 0

    def count_twice(self, case: MethodCase, heads: Collection[str]) -> int:
        """Return how many of the added weights exist twice.

        Args:
            heads: Names of modules that are trained and saved whole; PEFT keeps their originals too.
        """
        return 0

    def count_layers(self, section: MethodSection, layers: int) -> int:
        """Return how many of a model's top layers have trained weights."""
        return min(section.layers or layers, layers) if section.reads_field("layers") else layers

    def weigh_linear(self, linear: Linear, case: MethodCase) -> PassedWeights:
        """Return the weights that a token is multiplied by next to all copies of a linear layer."""
        return PassedWeights(trained=float(self.count_parameters(linear, case) * linear.copies))

    def memory_terms(self, case: MethodCase) -> Terms:
        """Return the properties of the method on which the memory of a training step depends."""
        facts, section = case.facts, case.section
        known = make_basic_terms(case)
        if known.whole_model or known.virtual_tokens:
            return known
        if self.trains_layers:
            return replace(known, whole_layers=True)
        # A mixture of experts may have dense layers, whose matrices share the experts' names but not sizes
        linears = {(one.name, one.inputs, one.outputs): one for one in facts.without_experts.layer_linears}
        linears |= {(one.name, one.inputs, one.outputs): one for one in facts.layer_linears}
        counted = {key: self.count_parameters(one, case) for key, one in linears.items() if case.adapts(one)}
        # Layers without trained weights next to them are left out: the ledger simulates no adapter for them
        counts = tuple((*key, count) for key, count in counted.items() if count)
        elsewhere, own = self.count_elsewhere(case), self.count_own(facts, section)
        return replace(
            known,
            form=Form.GENERAL,
            rank=(known.rank or 1) if counts else 0,
            counts=counts,
            elsewhere=(float(elsewhere),) if elsewhere else (),
            own=float(own),
        )
