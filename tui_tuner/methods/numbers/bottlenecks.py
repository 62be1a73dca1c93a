"""The numbers of bottleneck adapters and of their fusion, and what each style comes with."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import NamedTuple

from tui_tuner.config.sections.method import MethodSection
from tui_tuner.locales import N_
from tui_tuner.methods.bottlenecks.stored_bottlenecks import read_settings
from tui_tuner.methods.numbers.method_numbers import MethodNumbers
from tui_tuner.methods.numbers.rates import Customary, Rates
from tui_tuner.methods.numbers.terms import (
    Form,
    MethodCase,
    PassedWeights,
    Sublayers,
    Terms,
    make_basic_terms,
)
from tui_tuner.models.architectures.family import Linear

HOULSBY = "houlsby"
KEEP_INPUT = ("gelu", "swish")  # for the backward pass; the others keep their result, in the same place


@dataclass(frozen=True)
class StyleSettings:
    """A style of bottleneck adapters, with what is left empty filled in (adapters 1.3, its config classes).

    Args:
        name: pfeiffer, houlsby or parallel.
        reduction: The model's width divided by the inner one.
        non_linearity: Between the two matrices.
        layer_norm: none, before or after.
        scaling: What an adapter computes is multiplied by it.
        init: bert or mam.
    """

    name: str
    reduction: float
    non_linearity: str
    layer_norm: str = "none"
    scaling: float = 1.0
    init: str = "bert"

    def find_size(self, width: int) -> int:
        """Return the inner width for a model's width."""
        return max(1, int(width // self.reduction))


STYLES = {
    "pfeiffer": StyleSettings("pfeiffer", 16, "relu"),
    HOULSBY: StyleSettings(HOULSBY, 16, "swish"),
    "parallel": StyleSettings("parallel", 2, "relu", scaling=4.0, init="mam"),
}


def settle_style(section: MethodSection) -> StyleSettings:
    """Return the style that a config asks for."""
    usual = STYLES[section.style]
    return replace(
        usual,
        reduction=section.reduction or usual.reduction,
        non_linearity=section.non_linearity or usual.non_linearity,
        layer_norm=section.layer_norm,
    )


def is_placed(linear: Linear, case: MethodCase, style: str) -> bool:
    """Return whether an adapter of a style sits behind a matrix: one that leads out of a block."""
    family = case.facts.family
    # Both blocks may have the same name for it (ModernBERT)
    if linear.group == "attention":
        return style == HOULSBY and linear.name == family.attention[-1]
    return linear.group == "mlp" and linear.name == family.mlp[-1]


class BottleneckNumbers(MethodNumbers):
    """Bottleneck adapters: two matrices and two biases at each place."""

    rates = Rates(
        Customary(1e-4, 1e-5, 1e-3, N_("AdapterHub (arXiv 2007.07779): 1e-4 for adapters")),
        Customary(1e-4, 5e-5, 1e-3, N_("AdapterHub (arXiv 2007.07779): 1e-4; Houlsby et al.: 3e-5 to 3e-3")),
    )

    def count_parameters(self, linear: Linear, case: MethodCase) -> int:
        style = settle_style(case.section)
        if not is_placed(linear, case, style.name):
            return 0
        width = case.facts.hidden
        size = style.find_size(width)
        return 2 * width * size + size + width + (2 * width if style.layer_norm != "none" else 0)

    def weigh_linear(self, linear: Linear, case: MethodCase) -> PassedWeights:
        style = settle_style(case.section)
        if not is_placed(linear, case, style.name):
            return PassedWeights()
        return PassedWeights(trained=2.0 * case.facts.hidden * style.find_size(case.facts.hidden))

    def memory_terms(self, case: MethodCase) -> Terms:
        style = settle_style(case.section)
        size = style.find_size(case.facts.hidden)
        return replace(
            make_basic_terms(case),
            form=Form.SUBLAYERS,
            sublayers=Sublayers(
                style.name,
                (size,),
                style.layer_norm,
                scaled=style.scaling != 1,
                keeps_input=style.non_linearity in KEEP_INPUT,
            ),
        )


class FusionNumbers(MethodNumbers):
    """Attention over frozen adapters: queries and keys with biases, values without, at each place."""

    rates = Rates(
        Customary(5e-5, 1e-5, 1e-4, N_("AdapterFusion (arXiv 2005.00247): 5e-5")),
        Customary(5e-5, 1e-5, 1e-4, N_("AdapterFusion (arXiv 2005.00247): 5e-5")),
    )

    def count_parameters(self, linear: Linear, case: MethodCase) -> int:
        fused = describe_fused(case.section, case.facts.hidden)
        return 3 * case.facts.hidden**2 + 2 * case.facts.hidden if is_placed(linear, case, fused.style) else 0

    def count_frozen(self, case: MethodCase) -> int:
        """The adapters themselves."""
        width = case.facts.hidden
        fused = describe_fused(case.section, width)
        each = sum(2 * width * size + size + width for size in fused.sizes)
        layers = self.count_layers(case.section, case.facts.own_layers)
        return each * layers * (2 if fused.style == HOULSBY else 1)

    def count_layers(self, section: MethodSection, layers: int) -> int:
        return min(describe_fused(section, 0).layers or layers, layers)

    def count_saved_elsewhere(self, case: MethodCase, adapted: Collection[Linear], decides: bool) -> int:
        return self.count_frozen(case)  # the adapters are saved with what is trained over them

    def weigh_linear(self, linear: Linear, case: MethodCase) -> PassedWeights:
        width = float(case.facts.hidden)
        style, sizes, _scaled, _layers = describe_fused(case.section, case.facts.hidden)
        if not is_placed(linear, case, style):
            return PassedWeights()
        # Keys and values are made of what each adapter gives, and the query once
        return PassedWeights(frozen=2 * width * sum(sizes), trained=width**2 * (1 + 2 * len(sizes)))

    def memory_terms(self, case: MethodCase) -> Terms:
        style, sizes, scaled, layers = describe_fused(case.section, case.facts.hidden)
        return replace(
            make_basic_terms(case),
            form=Form.SUBLAYERS,
            layers=min(layers or 0, case.facts.layers),
            sublayers=Sublayers(style, sizes, scaled=scaled, fused=True),
        )


class Fused(NamedTuple):
    """The adapters of a fusion: their style, inner widths, whether they are scaled, and the number of last
    layers that they sit in (None is all).
    """

    style: str
    sizes: tuple[int, ...]
    scaled: bool
    layers: int | None


def describe_fused(section: MethodSection, width: int) -> Fused:
    """Describe the adapters of a fusion by their settings alone.

    Adapters that are not there yet are taken for Pfeiffer's usual ones.

    Args:
        width: Of the model.
    """
    usual = STYLES["pfeiffer"]
    found = [read_settings(name) for name in section.fused_adapters] or [{}]
    first = next((one for one in found if one), {})
    sizes = tuple(int(one.get("size", usual.find_size(width))) for one in found)
    scaled = any(one.get("scaling", 1.0) != 1 for one in found)
    return Fused(str(first.get("style", usual.name)), sizes, scaled, first.get("layers"))
