"""The numbers of full fine-tuning and of training the top layers, which train the model's own weights."""

from __future__ import annotations

from dataclasses import replace

from tui_tuner.config.sections.method import MethodSection
from tui_tuner.locales import N_
from tui_tuner.methods.numbers.method_numbers import MethodNumbers
from tui_tuner.methods.numbers.rates import FULL_PREFERENCE, FULL_RATE, Customary, Rates
from tui_tuner.methods.numbers.terms import NO_LAYERS, Form, MethodCase, Terms, make_basic_terms
from tui_tuner.methods.numbers.weight_names import count_named
from tui_tuner.models.facts import ModelFacts

SMALL_ENCODER = 40e6  # parameters, between ELECTRA's small and base model
SMALL_ENCODER_RATE = Customary(
    1e-4,
    3e-5,
    3e-4,
    N_("ELECTRA (arXiv 2003.10555), by size: 3e-4 for the small model, 1e-4 for the base one"),
)
_FULL = Rates(
    FULL_RATE,
    Customary(
        2e-5,
        1e-5,
        5e-5,
        N_("BERT (arXiv 1810.04805), appendix A.3: 2e-5 to 5e-5; RoBERTa (arXiv 1907.11692): 1e-5 to 3e-5"),
    ),
    FULL_PREFERENCE,
    batch=(128, N_("Alpaca's batch of 128")),
    times_full=1,
)


class WholeModelNumbers(MethodNumbers):
    """The numbers of full fine-tuning."""

    rates = _FULL
    trains_layers = True

    def customary_rate(
        self,
        section: MethodSection,
        *,
        new_head: bool = False,
        preference: bool = False,
        parameters: int | None = None,
    ) -> Customary:
        # The only published case in which the rate depends on the size of a pretrained encoder
        if new_head and not preference and parameters is not None and parameters < SMALL_ENCODER:
            return SMALL_ENCODER_RATE
        return super().customary_rate(
            section, new_head=new_head, preference=preference, parameters=parameters
        )


class TopLayersNumbers(MethodNumbers):
    """The numbers of training only the last layers."""

    rates = replace(
        _FULL,
        usual=Customary(5e-5, 1e-5, 1e-4, N_("between full fine-tuning and LoRA: fewer weights move")),
        new_head=None,
    )
    trains_layers = True

    def count_own(self, facts: ModelFacts, section: MethodSection, decides: bool = False) -> int:
        """Return the parameters of the last layers and the norm after them, of the head, or of a pattern."""
        if section.trained_names:
            return count_named(facts, section.trained_names, decides)
        if section.layers == 0:
            return 0 if decides else facts.head_parameters
        # Layers that share weights (ALBERT) count once, whatever number is requested
        count = min(section.layers or 1, facts.own_layers)
        found = facts.beside.norms
        # Encoders with norms after their layers have no final norm; the one before them stays frozen
        if not (facts.encoder and facts.family.norm_bias):
            found += facts.final_norm
        for place in range(facts.own_layers - count, facts.own_layers):
            found += (facts.without_experts if place in facts.dense_places else facts).layer_parameters
        return found - (facts.hidden if count == facts.layers and not facts.family.first_norm else 0)

    def count_layers(self, section: MethodSection, layers: int) -> int:
        if section.trained_names:
            return layers  # its weights may be anywhere
        return min(1 if section.layers is None else section.layers, layers)

    def memory_terms(self, case: MethodCase) -> Terms:
        section, known = case.section, make_basic_terms(case)
        if section.trained_names:
            # where they are is not known for sure: gradients may have to pass through every layer
            own = float(count_named(case.facts, section.trained_names))
            return replace(known, form=Form.GENERAL, own=own)
        if section.layers == 0:
            return replace(known, whole_layers=True, layers=NO_LAYERS, trains_head=True)
        return replace(known, whole_layers=True)
