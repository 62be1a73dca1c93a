"""The numbers of methods that train virtual tokens: prompt tuning, P-tuning, prefix tuning."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from tui_tuner.config.sections.method import MethodSection
from tui_tuner.locales import N_
from tui_tuner.methods.numbers.method_numbers import MethodNumbers
from tui_tuner.methods.numbers.rates import Customary, Rates
from tui_tuner.methods.numbers.terms import MethodCase, PassedWeights, Terms, make_basic_terms
from tui_tuner.models.architectures.family import Linear

NETWORK = "mlp_head"  # peft's name for the network that produces virtual tokens in P-tuning


class PromptNumbers(MethodNumbers):
    """The numbers of prompt tuning: one vector for each virtual token, as wide as the embeddings."""

    rates = Rates(
        Customary(
            1e-3,
            3e-4,
            3e-2,
            N_(
                "PEFT's comparison of methods on MetaMathQA (Llama 3.2 3B): 1e-3 from words of the vocabulary"
            ),
        ),
        Customary(1e-3, 3e-4, 3e-2, N_("PEFT's example with RoBERTa large on MRPC: 1e-3")),
    )

    def count_elsewhere(self, case: MethodCase, decides: bool = False) -> int:
        return case.section.virtual_tokens * _measure_width(case, decides)

    def count_saved_elsewhere(self, case: MethodCase, adapted: Collection[Linear], decides: bool) -> int:
        # The tokens alone: a network that makes them is not kept
        return case.section.virtual_tokens * _measure_width(case, decides)

    def weigh_linear(self, linear: Linear, case: MethodCase) -> PassedWeights:
        # Virtual tokens lengthen the sequence; there are no weights next to a matrix
        return PassedWeights()

    def memory_terms(self, case: MethodCase) -> Terms:
        return make_basic_terms(case)


class PTuningNumbers(PromptNumbers):
    """The numbers of P-tuning: virtual tokens from a network of three linear layers."""

    rates = Rates(
        Customary(
            1e-3, 1e-4, 5e-3, N_("PEFT's comparison of methods on MetaMathQA (Llama 3.2 3B): 5e-4 to 1e-3")
        ),
        Customary(1e-3, 1e-4, 5e-3, N_("PEFT's example with RoBERTa large on MRPC: 1e-3")),
    )

    def count_elsewhere(self, case: MethodCase, decides: bool = False) -> int:
        width = _measure_width(case, decides)
        # PEFT's default is the width of the virtual tokens themselves
        inner = case.section.encoder_size or case.facts.embedding_width
        network = (width + 1) * inner + (inner + 1) * inner + (inner + 1) * width
        return case.section.virtual_tokens * width + network

    def count_twice(self, case: MethodCase, heads: Collection[str]) -> int:
        """Return the size of the network if its name ends like that of a head: then PEFT keeps it twice."""
        # ModernBERT's head is called `head`, and PEFT compares the ends of names
        if not any(NETWORK.endswith(name) for name in heads):
            return 0
        return self.count_elsewhere(case, True) - case.section.virtual_tokens * case.facts.embedding_width

    def memory_terms(self, case: MethodCase) -> Terms:
        return replace(make_basic_terms(case), encoder=case.section.encoder_size or case.facts.hidden)


class PrefixNumbers(PromptNumbers):
    """The numbers of prefix tuning: keys and values of each layer, trained directly or from a network."""

    rates = Rates(
        Customary(
            5e-3,
            1e-3,
            1e-2,
            N_(
                "PEFT's comparison of methods on MetaMathQA (Llama 3.2 3B): "
                "5e-3 from the keys and values of words"
            ),
        ),
        Customary(1e-2, 1e-3, 3e-2, N_("PEFT's example with RoBERTa large on MRPC: 1e-2")),
    )
    network_rate = Customary(
        5e-5, 1e-5, 1e-3, N_("prefix tuning (arXiv 2101.00190): 5e-5 to 8e-5 through a network")
    )

    def customary_rate(
        self,
        section: MethodSection,
        *,
        new_head: bool = False,
        preference: bool = False,
        parameters: int | None = None,
    ) -> Customary:
        # Rates for a network were published only for models that write
        if section.encoder_size is not None and not (new_head or preference):
            return self.network_rate
        return super().customary_rate(
            section, new_head=new_head, preference=preference, parameters=parameters
        )

    def count_elsewhere(self, case: MethodCase, decides: bool = False) -> int:
        count, inner, facts = case.section.virtual_tokens, case.section.encoder_size, case.facts
        keys, every = facts.kv_dim, facts.layers * 2 * facts.kv_dim
        # Without a network each layer's keys and values are one embedding table
        if inner is None:
            return count * every
        return count * keys + (keys + 1) * inner + (inner + 1) * every

    def count_saved_elsewhere(self, case: MethodCase, adapted: Collection[Linear], decides: bool) -> int:
        return case.section.virtual_tokens * case.facts.layers * 2 * case.facts.kv_dim

    def memory_terms(self, case: MethodCase) -> Terms:
        return replace(make_basic_terms(case), encoder=case.section.encoder_size or 0)


class PTuningV2Numbers(PrefixNumbers):
    """P-Tuning v2: prefix tuning that begins at random."""

    rates = Rates(
        Customary(
            1e-2, 1e-3, 3e-2, N_("the guide of ChatGLM2: 2e-2; P-Tuning v2 (arXiv 2110.07602): 5e-3 to 1e-2")
        ),
        Customary(
            5e-3,
            1e-3,
            1e-2,
            N_("P-Tuning v2 (arXiv 2110.07602): 5e-3 to 1e-2 with BERT large and RoBERTa large"),
        ),
    )


def _measure_width(case: MethodCase, decides: bool) -> int:
    """Return the width of a virtual token."""
    # In a model with a head for classes, it is inserted before embeddings are widened (ELECTRA)
    return case.facts.embedding_width if decides else case.facts.hidden
