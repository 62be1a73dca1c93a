"""The numbers of methods that add weights next to linear layers: LoRA and its variants, LoHa, VeRA, IA3."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import replace

from tui_tuner.config.sections.method import MethodSection
from tui_tuner.locales import N_
from tui_tuner.methods.numbers.method_numbers import MethodNumbers
from tui_tuner.methods.numbers.rates import Customary, Rates, Rule
from tui_tuner.methods.numbers.target_names import SECONDS, takes_expert
from tui_tuner.methods.numbers.terms import (
    Form,
    MethodCase,
    PassedWeights,
    Terms,
    find_rank,
    make_basic_terms,
)
from tui_tuner.models.architectures.family import Linear

TAKES_OUT = ("pissa", "olora")  # beginnings that change the base model's own weights
_QLORA_BATCH = (16, N_("QLoRA's batch of 16"))
LORA = Rates(
    Customary(2e-4, 5e-5, 5e-4, N_("QLoRA (arXiv 2305.14314): 2e-4 up to 13B parameters")),
    Customary(
        4e-4,
        1e-4,
        1e-3,
        N_("LoRA (arXiv 2106.09685), RoBERTa base: 4e-4 to 5e-4; PEFT's guides: 3e-4 (texts), 1e-3 (words)"),
    ),
    batch=_QLORA_BATCH,
    times_full=10,
)
DORA = replace(
    LORA,
    usual=Customary(2e-4, 5e-5, 5e-4, N_("DoRA (arXiv 2402.09353): LoRA's rates")),
    new_head=Customary(
        4e-4,
        1e-4,
        1e-3,
        N_("LoRA's rates: LoRA (arXiv 2106.09685), RoBERTa base: 4e-4 to 5e-4; PEFT's guides: 3e-4 to 1e-3"),
    ),
)
_RSLORA_PAPER = "rsLoRA (arXiv 2312.03732)"
RSLORA = replace(LORA, usual=Customary(5e-5, 1e-5, 2e-4, _RSLORA_PAPER))


def _count_low_rank(linear: Linear, case: MethodCase) -> int:
    """Count the elements of two matrices, [rank, inputs] and [outputs, rank], next to one copy of a layer."""
    section = case.section
    rank = find_rank(section, linear.name) if section.reads_field("rank_pattern") else section.rank
    if is_fused(linear, case) and linear.name in SECONDS:
        return rank * linear.outputs
    return rank * (linear.inputs + linear.outputs)


def is_fused(linear: Linear, case: MethodCase) -> bool:
    """Return whether a matrix is a part of the fused weights of a mixture's experts that get an adapter."""
    return linear.group == "expert" and takes_expert(linear, case.target_names)


class LowRankNumbers(MethodNumbers):
    """The numbers of LoRA; of DoRA with `magnitudes`, and of rank-stabilised LoRA with `stabilised`."""

    rates = LORA
    magnitudes: bool = False

    def customary_rate(
        self,
        section: MethodSection,
        *,
        new_head: bool = False,
        preference: bool = False,
        parameters: int | None = None,
    ) -> Customary:
        found = super().customary_rate(
            section, new_head=new_head, preference=preference, parameters=parameters
        )
        return found if preference or not self.stabilised else self._stabilise_rate(section, new_head)

    def _stabilise_rate(self, section: MethodSection, new_head: bool) -> Customary:
        """Return LoRA's rate divided by the square root of the rank."""
        lora = LORA.new_head if new_head and LORA.new_head else LORA.usual
        # rsLoRA scales updates by alpha / sqrt(rank), LoRA by alpha / rank: sqrt(rank) times as much
        rate = lora.rate / math.sqrt(section.rank)
        source = N_(
            "rsLoRA (arXiv 2312.03732): LoRA's {rate:g} / sqrt(rank), as the update is larger", rate=lora.rate
        )
        usual = self.rates.usual
        return Customary(float(f"{rate:.2g}"), usual.low, usual.high, source)

    def rate_rules(self, section: MethodSection) -> list[Rule]:
        if not self.stabilised:
            return []
        lora = LORA.usual.rate
        rate = lora / math.sqrt(section.rank)
        filled = f"{lora:g} / sqrt({section.rank})"
        return [Rule(N_("rank"), filled, _RSLORA_PAPER, {"rank": float(section.rank)}, rate)]

    def count_parameters(self, linear: Linear, case: MethodCase) -> int:
        return _count_low_rank(linear, case) + (linear.outputs if self.magnitudes else 0)

    def count_saved_parameters(self, linear: Linear, case: MethodCase) -> int:
        # What was taken out of the base model is saved too, as a product of the same rank
        again = case.section.init in TAKES_OUT
        return self.count_parameters(linear, case) + (_count_low_rank(linear, case) if again else 0)

    def weigh_linear(self, linear: Linear, case: MethodCase) -> PassedWeights:
        if is_fused(linear, case):
            # Forward and backward multiply by the weights with the update in them
            return PassedWeights(trained=float(linear.weights), instead=True)
        # Magnitudes are multiplied element by element, which costs next to nothing
        return PassedWeights(trained=float(_count_low_rank(linear, case) * linear.copies))

    def memory_terms(self, case: MethodCase) -> Terms:
        return replace(make_basic_terms(case), form=Form.MAGNITUDES if self.magnitudes else Form.LOW_RANK)


class SharedRankNumbers(MethodNumbers):
    """AdaLoRA: LoRA's two matrices at the rank of the beginning, and one factor for each rank."""

    rates = replace(
        LORA,
        usual=Customary(1e-3, 2e-4, 3e-3, N_("AdaLoRA (arXiv 2303.10512), tables 9 and 11: 5e-4 to 2e-3")),
        new_head=Customary(1e-3, 2e-4, 3e-3, N_("AdaLoRA (arXiv 2303.10512), table 8: 5e-4 to 2e-3 on GLUE")),
        batch=None,
        times_full=None,
    )

    def count_parameters(self, linear: Linear, case: MethodCase) -> int:
        return _count_low_rank(linear, case) + case.section.rank

    def count_saved_parameters(self, linear: Linear, case: MethodCase) -> int:
        # Once it is trained it holds the ranks that are left, of which each layer has the mean here
        return case.section.kept_rank * (linear.inputs + linear.outputs + 1)

    def count_layer_frozen(self, linear: Linear, case: MethodCase) -> int:
        return 1  # the rank itself, as a parameter

    def weigh_linear(self, linear: Linear, case: MethodCase) -> PassedWeights:
        return PassedWeights(trained=float(_count_low_rank(linear, case) * linear.copies))

    def memory_terms(self, case: MethodCase) -> Terms:
        # How much each number matters: now, its running mean, and that of its spread
        return replace(make_basic_terms(case), form=Form.SINGULAR, measured=3)


class HadamardNumbers(MethodNumbers):
    """The numbers of LoHa."""

    rates = Rates(
        Customary(1e-4, 5e-5, 1e-3, N_("PEFT's comparison of methods on MetaMathQA (Llama 3.2 3B): 1e-4"))
    )

    def count_parameters(self, linear: Linear, case: MethodCase) -> int:
        return 2 * _count_low_rank(linear, case)

    def weigh_linear(self, linear: Linear, case: MethodCase) -> PassedWeights:
        # However few weights are trained, forward and backward multiply by the whole update matrix
        return PassedWeights(trained=float(linear.weights), instead=True)

    def memory_terms(self, case: MethodCase) -> Terms:
        return replace(make_basic_terms(case), form=Form.HADAMARD)


class SharedRandomNumbers(MethodNumbers):
    """The numbers of VeRA."""

    rates = Rates(
        Customary(1e-3, 3e-4, 1e-2, N_("PEFT's comparison of methods on MetaMathQA (Llama 3.2 3B): 1e-3")),
        Customary(4e-3, 1e-3, 2e-2, N_("VeRA (arXiv 2310.11454), RoBERTa base: 4e-3 to 1e-2")),
    )

    def count_parameters(self, linear: Linear, case: MethodCase) -> int:
        return case.section.rank + linear.outputs

    def count_saved_elsewhere(self, case: MethodCase, adapted: Collection[Linear], decides: bool) -> int:
        # peft saves the random matrices, too: they are as wide as the widest layer
        inputs = max((linear.inputs for linear in adapted), default=0)
        outputs = max((linear.outputs for linear in adapted), default=0)
        return case.section.rank * (inputs + outputs)

    def weigh_linear(self, linear: Linear, case: MethodCase) -> PassedWeights:
        # Both passes multiply by the random matrices, although only vectors are trained
        return PassedWeights(frozen=float(_count_low_rank(linear, case) * linear.copies))

    def memory_terms(self, case: MethodCase) -> Terms:
        return replace(make_basic_terms(case), form=Form.SHARED)


class FactorNumbers(MethodNumbers):
    """The numbers of IA3."""

    rates = Rates(
        Customary(3e-3, 5e-4, 1e-2, "IA3 (arXiv 2205.05638): 3e-3"),
        Customary(
            3e-3,
            3e-4,
            1e-2,
            N_("IA3 (arXiv 2205.05638): 3e-3; PEFT's example with RoBERTa large on MRPC: 3e-4"),
        ),
    )

    def count_parameters(self, linear: Linear, case: MethodCase) -> int:
        return linear.inputs if linear.name in find_feed_forward(case) else linear.outputs

    def weigh_linear(self, linear: Linear, case: MethodCase) -> PassedWeights:
        # Factors are multiplied element by element, which costs next to nothing
        return PassedWeights()

    def memory_terms(self, case: MethodCase) -> Terms:
        return replace(make_basic_terms(case), form=Form.FACTORS, rank=1, feedforward=find_feed_forward(case))


def find_feed_forward(case: MethodCase) -> frozenset[str]:
    """Return the targets that are the last layer of a feed-forward block, whose inputs IA3 scales."""
    return frozenset(
        linear.name
        for linear in case.facts.layer_linears
        if linear.group in ("mlp", "shared")
        and linear.inputs > linear.outputs == case.facts.hidden
        and case.adapts(linear)
    )
