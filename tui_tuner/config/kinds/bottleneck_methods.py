"""Bottleneck adapters and their fusion, as entries of the registry of methods."""

from __future__ import annotations

from tui_tuner.config.kinds.method_kind import MethodKind, Trait
from tui_tuner.locales import N_

_PLACED = frozenset({Trait.ADAPTER, Trait.QUANTISABLE, Trait.CHECKPOINTABLE})

BOTTLENECK_METHODS = (
    MethodKind(
        "bottleneck",
        N_("Bottleneck adapters"),
        N_("Trains small layers between those of the frozen model (arXiv 1902.00751, 2005.00247)."),
        _PLACED,
        ("style", "reduction", "non_linearity", "layer_norm", "layers"),
        explanation=N_(
            "Each layer of the model gets a small one after it: a matrix that narrows what the layer says, a "
            "function, and a matrix that widens it again. Only these are trained, and several such adapters "
            "can be fused later. Because of the function they cannot be merged into the model, and answers "
            "take a little longer."
        ),
        paper="Houlsby et al. 2019, arXiv 1902.00751; Pfeiffer et al. 2021, arXiv 2005.00247; "
        "He et al. 2022, arXiv 2110.04366",
        usual=N_("Style pfeiffer with a reduction of 16; parallel with 2."),
    ),
    MethodKind(
        "fusion",
        N_("AdapterFusion"),
        N_("Trains which of several bottleneck adapters to listen to, word by word (arXiv 2005.00247)."),
        _PLACED,
        ("adapters",),
        "bottleneck",
        needs=("adapters",),
        explanation=N_(
            "A second stage, after several bottleneck adapters were trained on this model, each on other "
            "data. All of them are put into it and stay frozen. In each layer attention is trained that "
            "weighs what they say, for each word anew: knowledge of several tasks serves one, and nothing "
            "is forgotten."
        ),
        paper="Pfeiffer et al. 2021, arXiv 2005.00247",
        usual=N_("Two to a dozen adapters, and data of the task that matters."),
    ),
)
