"""The numbers of methods whose updates have a shape of their own: LoKr, OFT, BOFT, FourierFT, RandLoRA, and
of norm tuning.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from tui_tuner.config.sections.method import MethodSection
from tui_tuner.locales import N_
from tui_tuner.methods.numbers.method_numbers import MethodNumbers
from tui_tuner.methods.numbers.rates import Customary, Rates
from tui_tuner.methods.numbers.terms import Form, MethodCase, PassedWeights, Terms, make_basic_terms
from tui_tuner.models.architectures.family import Linear

_METAMATH = N_("PEFT's comparison of methods on MetaMathQA (Llama 3.2 3B): 1e-4")
OFT_BLOCK, BOFT_BLOCK = 32, 4  # peft's defaults


def split_side(size: int, factor: int | None = None) -> tuple[int, int]:
    """Split a side of a matrix into parts and the length of each, as LoKr does.

    Args:
        factor: How many parts; None for about as many as each is long.
    """
    if factor and size % factor == 0:
        return factor, size // factor
    most = min(factor or size, int(size**0.5))
    parts = next(part for part in range(most, 0, -1) if size % part == 0)
    return parts, size // parts


def list_kronecker(
    inputs: int, outputs: int, rank: int, factor: int | None, both: bool
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the elements of the tensors that make LoKr's small matrix, and of those that make its large one.

    Each is one tensor, or two of which it is the product (`peft/tuners/lokr/layer.py`, 0.21).
    """
    (up, wide), (left, long) = split_side(outputs, factor), split_side(inputs, factor)
    small: tuple[int, ...] = (up * left,)
    if both and rank < max(up, left) / 2:
        small = (up * rank, rank * left)
    large: tuple[int, ...] = (wide * long,)
    if rank < max(wide, long) / 2:
        large = (wide * rank, rank * long)
    return small, large


class KroneckerNumbers(MethodNumbers):
    """The numbers of LoKr."""

    rates = Rates(
        Customary(
            3e-3,
            1e-4,
            5e-3,
            N_("PEFT's comparison of methods on MetaMathQA (Llama 3.2 3B): 3e-3 with a factor of 4"),
        )
    )

    def count_parameters(self, linear: Linear, case: MethodCase) -> int:
        one = case.section
        small, large = list_kronecker(
            linear.inputs, linear.outputs, one.rank, one.decompose_factor, one.decompose_both
        )
        return sum(small) + sum(large)

    def weigh_linear(self, linear: Linear, case: MethodCase) -> PassedWeights:
        # However few weights are trained, both passes multiply by the whole update as well
        return PassedWeights(trained=float(linear.weights))

    def memory_terms(self, case: MethodCase) -> Terms:
        return replace(
            make_basic_terms(case),
            form=Form.KRONECKER,
            size=case.section.decompose_factor or 0,
            decomposed=case.section.decompose_both,
        )


class RotationNumbers(MethodNumbers):
    """The numbers of OFT."""

    block = OFT_BLOCK
    rates = Rates(Customary(1e-4, 5e-5, 1e-3, _METAMATH))

    def find_block(self, section: MethodSection) -> int:
        """Return how many inputs are rotated together."""
        return section.rotation_block or self.block

    def count_parameters(self, linear: Linear, case: MethodCase) -> int:
        block = self.find_block(case.section)
        return linear.inputs // block * (block * (block - 1) // 2)

    def weigh_linear(self, linear: Linear, case: MethodCase) -> PassedWeights:
        return PassedWeights(trained=float(linear.inputs * self.find_block(case.section) * linear.copies))

    def memory_terms(self, case: MethodCase) -> Terms:
        return replace(make_basic_terms(case), form=Form.ROTATION, rank=self.find_block(case.section))


class ButterflyNumbers(RotationNumbers):
    """The numbers of BOFT with one factor: whole blocks, and a factor for each output."""

    block = BOFT_BLOCK

    def count_parameters(self, linear: Linear, case: MethodCase) -> int:
        return linear.inputs * self.find_block(case.section) + linear.outputs

    def weigh_linear(self, linear: Linear, case: MethodCase) -> PassedWeights:
        # The rotation is written out as a matrix
        return PassedWeights(trained=float(linear.inputs**2 * linear.copies))

    def memory_terms(self, case: MethodCase) -> Terms:
        block = self.find_block(case.section)
        return replace(make_basic_terms(case), form=Form.BUTTERFLY, rank=1, size=block)


class SpectrumNumbers(MethodNumbers):
    """The numbers of FourierFT."""

    rates = Rates(
        Customary(5e-2, 1e-3, 1e-1, N_("FourierFT (arXiv 2405.03003), its code for Llama 2 7B: 5e-2")),
        Customary(
            5e-2, 1e-2, 1.2e-1, N_("FourierFT (arXiv 2405.03003), RoBERTa base on GLUE: 5e-2 to 1.2e-1")
        ),
    )

    def count_parameters(self, linear: Linear, case: MethodCase) -> int:
        return case.section.frequencies

    def weigh_linear(self, linear: Linear, case: MethodCase) -> PassedWeights:
        return PassedWeights(trained=float(linear.weights))

    def memory_terms(self, case: MethodCase) -> Terms:
        return replace(make_basic_terms(case), form=Form.SPECTRUM, rank=1, size=case.section.frequencies)


def count_bases(linear: Linear, rank: int) -> int:
    """Return how many random products RandLoRA adds up beside a matrix: enough for its full rank."""
    return -(-min(linear.inputs, linear.outputs) // rank)


class RandomBasisNumbers(MethodNumbers):
    """The numbers of RandLoRA."""

    rates = Rates(
        Customary(1e-4, 5e-5, 5e-4, N_("PEFT's comparison (MetaMathQA): 1e-4; its example: 3e-4")),
    )

    def count_parameters(self, linear: Linear, case: MethodCase) -> int:
        rank, bases = case.section.rank, count_bases(linear, case.section.rank)
        return rank * bases + bases * min(linear.inputs, linear.outputs)

    def count_saved_elsewhere(self, case: MethodCase, adapted: Collection[Linear], decides: bool) -> int:
        # The random matrices, which all layers share
        rank = case.section.rank
        inputs = max((linear.inputs for linear in adapted), default=0)
        outputs = max((linear.outputs for linear in adapted), default=0)
        least, most = sorted((inputs, outputs))
        return rank * least + most * rank * -(-least // rank)

    def weigh_linear(self, linear: Linear, case: MethodCase) -> PassedWeights:
        inner = case.section.rank * count_bases(linear, case.section.rank)
        sides = sorted((linear.inputs, linear.outputs))
        return PassedWeights(
            frozen=float(inner * sides[1] * linear.copies), trained=float(inner * sides[0] * linear.copies)
        )

    def memory_terms(self, case: MethodCase) -> Terms:
        return replace(make_basic_terms(case), form=Form.RANDOM_BASES)


class NormNumbers(MethodNumbers):
    """The numbers of norm tuning: a copy of each norm is trained."""

    rates = Rates(
        Customary(1e-3, 1e-4, 5e-3, N_("few numbers near 1 have to move; PEFT's comparison: 1e-4")),
        Customary(1e-3, 1e-4, 5e-3, N_("few numbers near 1 have to move, as with BitFit (arXiv 2106.10199)")),
    )

    def count_elsewhere(self, case: MethodCase, decides: bool = False) -> int:
        return self._count_inside(case) + self._count_outside(case)

    def count_beside_encoder(self, case: MethodCase) -> int:
        return self.count_elsewhere(case)

    def _count_inside(self, case: MethodCase) -> int:
        facts = case.facts
        layers = min(case.top_layers or facts.own_layers, facts.own_layers)
        # The first layer of some families lacks one; without a choice, that of the embeddings makes up for it
        lacks = case.top_layers == facts.layers and not facts.family.first_norm
        less = facts.hidden if lacks else 0
        return layers * facts.norm_parameters - less

    def _count_outside(self, case: MethodCase) -> int:
        """Count the norms before and after the layers; after them alone where some layers are chosen."""
        facts = case.facts
        before = facts.encoder and facts.family.norm_bias and not facts.family.stacked
        return facts.beside.norms + (0 if case.top_layers and before else facts.final_norm)

    def memory_terms(self, case: MethodCase) -> Terms:
        outside = self._count_outside(case)
        return replace(
            make_basic_terms(case),
            form=Form.NORMS,
            trains_norms=True,
            elsewhere=(float(outside),) if outside else (),
        )
