"""What each optimizer of `training.optimizer` is like: facts for forms, plans and runs; no torch here."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass

from tui_tuner.errors import ConfigError
from tui_tuner.locales import N_, _

FIELD = "training.optimizer"
EXTRA = "pip install 'tui-tuner[optimizers]'"
LEAST_SIDE = 2  # of a matrix for Muon: one with a single row or column has no directions to make orthogonal


@dataclass(frozen=True)
class OptimizerKind:
    """An optimizer, with what forms, plans and the run depend on.

    Args:
        library: The module that it comes from, if it is none that is always installed.
        reads_betas: `training.adam_beta1` and `training.adam_beta2` affect it.
        scheduled: `training.schedule` affects it; otherwise the rate stays at its peak after the warm-up.
        averages: The weights that are evaluated and saved are an average of those that are trained.
        for_matrices: It is meant for the weight matrices of the layers; AdamW trains everything else.
        low_rank: It keeps its state in `training.optimizer_rank` dimensions.
        of_bitsandbytes: It comes from bitsandbytes.
        rate: The usual rate as a multiple of AdamW's. low, high: The same for the ends of the usual range.
        source: Where these come from.
        explanation: A paragraph for the form.
    """

    library: str = ""
    reads_betas: bool = True
    scheduled: bool = True
    averages: bool = False
    for_matrices: bool = False
    low_rank: bool = False
    of_bitsandbytes: bool = False
    rate: float = 1.0
    low: float = 1.0
    high: float = 1.0
    source: str = ""
    explanation: str = ""

    def find_least_side(self, rank: int) -> int:
        """Return the least side of a matrix that it takes itself; `rank` is `training.optimizer_rank`."""
        return rank + 1 if self.low_rank else LEAST_SIDE


ADAMW = "adamw"
OPTIMIZERS: dict[str, OptimizerKind] = {
    ADAMW: OptimizerKind(),
    "adamw_8bit": OptimizerKind(
        of_bitsandbytes=True,
        explanation=N_(
            "Embeddings and small tensors keep 32-bit numbers. On a processor it runs with bitsandbytes 0.50 "
            "or newer."
        ),
    ),
    "paged_adamw_8bit": OptimizerKind(
        of_bitsandbytes=True,
        explanation=N_("Only GPUs have pages to move: on a processor it is the same as adamw_8bit."),
    ),
    "sgd": OptimizerKind(reads_betas=False),
    "adafactor": OptimizerKind(reads_betas=False),
    "lion": OptimizerKind(
        of_bitsandbytes=True,
        reads_betas=False,
        rate=0.2,
        low=0.1,
        high=1 / 3,
        source=N_("Lion (arXiv 2302.06675): a third to a tenth of AdamW's rate"),
        explanation=N_(
            "All weights step equally far, and one 32-bit number is kept for each. The learning rate is a "
            "third to a tenth of AdamW's, and weight_decay three to ten times as high. From bitsandbytes. "
            "Source: Chen et al. 2023, arXiv 2302.06675."
        ),
    ),
    "muon": OptimizerKind(
        for_matrices=True,
        source=N_("Muon's steps are as large as AdamW's, so its rate fits (arXiv 2502.16982)"),
        explanation=N_(
            "It takes the weight matrices in the layers and keeps one number for each weight. Embeddings, "
            "head, norms and biases are trained with AdamW. Both take the learning rate that is set, as "
            "Muon's steps are scaled to the size of AdamW's. Source: Liu et al. 2025, arXiv 2502.16982."
        ),
    ),
    "schedule_free": OptimizerKind(
        library="schedulefree",
        scheduled=False,
        averages=True,
        rate=2.0,
        low=1.0,
        high=10.0,
        source=N_("Schedule-Free (arXiv 2405.15682): one to ten times the rate with a schedule"),
        explanation=N_(
            "After the warm-up the learning rate stays at its peak, and training.schedule has no effect. The "
            "averaged weights are evaluated and saved; training goes on from its own. It keeps as much as "
            "AdamW, and needs the package schedulefree: {command}. Source: Defazio et al. 2024, arXiv "
            "2405.15682.",
            command=EXTRA,
        ),
    ),
    "galore": OptimizerKind(
        for_matrices=True,
        low_rank=True,
        source=N_("GaLore (arXiv 2403.03507): AdamW's rate"),
        explanation=N_(
            "For methods that train whole weight matrices: the state of each is kept in "
            "training.optimizer_rank dimensions, which are found anew every training.optimizer_interval "
            "steps. That takes a while. All other weights are trained with AdamW, at the same rate. "
            "Source: Zhao et al. 2024, arXiv 2403.03507."
        ),
    ),
    "apollo": OptimizerKind(
        for_matrices=True,
        low_rank=True,
        source=N_("APOLLO (arXiv 2412.05270): AdamW's rate"),
        explanation=N_(
            "For methods that train whole weight matrices: training.optimizer_rank random dimensions tell "
            "how far each row or column should step, and it steps along its whole gradient. As little memory "
            "as GaLore, and quicker. All other weights are trained with AdamW, at the same rate. Source: Zhu "
            "et al. 2024, arXiv 2412.05270."
        ),
    ),
}


def find_optimizer(name: str) -> OptimizerKind:
    """Return an optimizer's facts; those of AdamW for `auto`, which becomes AdamW in one form or another."""
    return OPTIMIZERS.get(name, OPTIMIZERS[ADAMW])


def explain_absence(name: str) -> str:
    """Explain that an optimizer's library is not installed; empty if nothing is missing."""
    library = find_optimizer(name).library
    if not library or importlib.util.find_spec(library) is not None:
        return ""
    return _(
        "{optimizer} needs the package {library}, which is not installed.", optimizer=name, library=library
    )


def advise_install() -> str:
    return _("Install it with {command}, or choose another optimizer.", command=f"`{EXTRA}`")


def require_optimizer(name: str) -> None:
    """Raise `ConfigError` unless the library of an optimizer is installed."""
    missing = explain_absence(name)
    if missing:
        raise ConfigError(missing, where=FIELD, hint=advise_install(), field=FIELD)


def refuse_matrices(name: str, rank: int) -> ConfigError:
    """Make the error for an optimizer of weight matrices in a run that trains none that suit it."""
    if find_optimizer(name).low_rank:
        what = _(
            "{optimizer} has nothing to do: no weight matrix of a layer that is trained here has more than "
            "training.optimizer_rank {rank} rows and columns.",
            optimizer=name,
            rank=rank,
        )
        hint = _("Use adamw, or a lower training.optimizer_rank.")
    else:
        what = _(
            "{optimizer} is for the weight matrices of a model's layers, and none of them is trained here.",
            optimizer=name,
        )
        hint = _("Use adamw.")
    return ConfigError(what, where=FIELD, hint=hint, field=FIELD)
