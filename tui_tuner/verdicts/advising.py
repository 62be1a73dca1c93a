"""What to change, as values for a new config made from the run's own: the likeliest first."""

from __future__ import annotations

import math

import numpy as np

from tui_tuner.config.kinds import METHOD_FIELDS
from tui_tuner.config.schema import RunConfig
from tui_tuner.locales import _
from tui_tuner.verdicts import limits
from tui_tuner.verdicts.cases import Case, Levels, Ruling
from tui_tuner.verdicts.gathering import Gathered
from tui_tuner.verdicts.rules import thirds
from tui_tuner.verdicts.settings import usual_of
from tui_tuner.verdicts.words import Advice

_LONGER = (1.5, 2.0, 3.0, 4.0)  # times as long a run as now; what lies beyond 4 is a guess
_ENOUGH = 0.03  # of what was gained: a third that adds less is not worth its steps
_MOST_HELD = 0.3  # share of the rows that may be held out: the others are for learning
_PATIENCE = 2  # evaluations


class Adviser:
    """Makes advice on one run. Without a config it has words alone."""

    def __init__(
        self, case: Case, now: Levels, ruling: Ruling, gathered: Gathered, config: RunConfig | None
    ) -> None:
        self.case, self.now, self.ruling = case, now, ruling
        self.gathered, self.config = gathered, config
        self.usual = usual_of(config)
        self.rate = case.setting.rate

    def advise(self) -> list[Advice]:
        """All of it."""
        found = {
            "unstable": self.unstable,
            "overfit": self.overfit,
            "memorised": self.memorised,
            "underfit": self.underfit,
            "not_converged": self.not_converged,
            "plateau": self.plateau,
            "nothing_learnt": self.nothing_learnt,
            "unclear": self.unclear,
            "good": self.good,
        }[self.ruling.word]()
        if self.config is None:
            return [Advice(one.words) for one in found]
        return found

    # ---- for each word ----------------------------------------------------------------------------------

    def unstable(self) -> list[Advice]:
        found = []
        rate = self._lower_rate()
        if rate is not None:
            found.append(
                Advice(_("Lower the learning rate to {rate:g}.", rate=rate), {"training.learning_rate": rate})
            )
        else:
            found.append(Advice(_("Lower the learning rate to a third.")))
        training = self.config.training if self.config else None
        if training is not None and training.warmup < 0.1:
            found.append(
                Advice(_("Let the rate rise more slowly at the start (warm-up)."), {"training.warmup": 0.1})
            )
        if training is not None and not 0 < training.max_grad_norm <= 1:
            found.append(Advice(_("Clip gradients to a norm of 1."), {"training.max_grad_norm": 1.0}))
        return found

    def overfit(self) -> list[Advice]:
        found = [*self._until(self.ruling.since or 0)]
        config = self.config
        if config is None or (config.evaluation.early_stopping is None and config.data.validation):
            found.append(
                Advice(
                    _("Stop by itself after {count} evaluations without a better one.", count=_PATIENCE),
                    {"evaluation.early_stopping": _PATIENCE},
                )
            )
        return [*found, *self._fewer_weights(), Advice(_("More rows to train on help most."))]

    def memorised(self) -> list[Advice]:
        found = [Advice(_("Train on more rows: these few are known by heart."))]
        found += self._until(self.ruling.since or 0) or self._fewer_passes()
        return [*found, *self._fewer_weights()]

    def underfit(self) -> list[Advice]:
        found = []
        rate = self._higher_rate()
        if rate is not None:
            found.append(
                Advice(_("Raise the learning rate to {rate:g}.", rate=rate), {"training.learning_rate": rate})
            )
        return [*found, *self._more_weights(), *self._longer(2.0)]

    def not_converged(self) -> list[Advice]:
        first, second, third = thirds(self.case, self.now) or (1.0, 1.0, 1.0)
        ratio = min(1.0, third / second) if second > 0 else 1.0
        total, more, factor = first + second + third, third, 1.0
        while factor < _LONGER[-1] and more > _ENOUGH * total:
            more *= ratio
            total += more
            factor += 1 / 3
        longer = next((one for one in _LONGER if one >= factor), _LONGER[-1])
        return self._longer(longer)

    def plateau(self) -> list[Advice]:
        return [
            *self._until(self.ruling.since or 0),
            Advice(_("To get further, change the rows or the model: more steps do not help.")),
        ]

    def nothing_learnt(self) -> list[Advice]:
        found = []
        rate, usual = self.rate, self.usual
        if rate and usual and not usual.low <= rate <= usual.high:
            found.append(
                Advice(
                    _("Take the usual learning rate, {rate:g}.", rate=usual.rate),
                    {"training.learning_rate": usual.rate},
                )
            )
        if self.ruling.why == "chance":
            found.append(Advice(_("Look whether the labels belong to their texts.")))
        else:
            found.append(Advice(_("Look whether the rows hold what is to be learnt, in the right columns.")))
        held = self.now.held
        worse = len(held) > 1 and held[-1] - held[0] > limits.SURE * self.case.held_errors[0, -1]
        return found if worse else [*found, *self._longer(3.0)]

    def unclear(self) -> list[Advice]:
        why, config = self.ruling.why, self.config
        if why == "copies":
            shared = _("Hold out rows that are not trained on.")
            return [Advice(shared, {"data.validation": 0.1}) if config else Advice(shared)]
        if why == "no_steps":
            return [Advice(_("Let it take some steps first."))]
        if why == "one_evaluation":
            return [Advice(_("Evaluate ten times in a run."), {"evaluation.every": 0.1})]
        return self._more_held_out()

    def good(self) -> list[Advice]:
        return [Advice(_("Nothing has to be changed; see what it answers."))]

    # ---- parts ------------------------------------------------------------------------------------------

    def _lower_rate(self) -> float | None:
        rate, usual = self.rate, self.usual
        if rate is None:
            return usual.rate if usual else None
        if usual and rate > 1.5 * usual.rate:
            return usual.rate
        return _rounded(rate / 3)

    def _higher_rate(self) -> float | None:
        rate, usual = self.rate, self.usual
        if rate is None or usual is None:
            return None
        if rate < usual.rate / 1.5:
            return usual.rate
        return min(10.0, _rounded(rate * 3)) if rate < usual.high else None

    def _until(self, step: int) -> list[Advice]:
        """To end where it was best."""
        done = self.case.curves.step
        if not 0 < step < done:
            return []
        values: dict[str, object] = {}
        training = self.config.training if self.config else None
        if training is not None and training.max_steps is not None:
            values["training.max_steps"] = step
        elif self.gathered.epochs > 0:
            values["training.epochs"] = _epochs(self.gathered.epochs * step / done)
        epochs = values.get("training.epochs")
        if epochs is not None:
            return [
                Advice(_("End at step {step}: {epochs:g} epochs.", step=step, epochs=epochs), values),
            ]
        return [Advice(_("End at step {step}.", step=step), values)]

    def _fewer_passes(self) -> list[Advice]:
        config = self.config
        if config is None or config.training.epochs <= 1:
            return []
        epochs = _epochs(max(1.0, min(3.0, config.training.epochs / 5)))
        values: dict[str, object] = {"training.epochs": epochs}
        if config.training.max_steps is not None:
            values["training.max_steps"] = max(1, self.case.curves.step // 5)
        return [Advice(_("Pass over the rows {epochs:g} times at most.", epochs=epochs), values)]

    def _longer(self, factor: float) -> list[Advice]:
        config = self.config
        words = _("Train {factor:g} times as long.", factor=factor)
        if config is None:
            return [Advice(words)]
        values: dict[str, object] = {"training.epochs": _epochs(config.training.epochs * factor)}
        if config.training.max_steps is not None:
            values = {"training.max_steps": min(10**9, math.ceil(config.training.max_steps * factor))}
            if self.gathered.epochs > 0:  # the epochs have to reach as far
                reach = self.gathered.epochs / max(1, self.case.curves.step) * values["training.max_steps"]  # type: ignore[operator]
                if config.training.epochs < reach:
                    values["training.epochs"] = _epochs(math.ceil(reach))
        return [Advice(words, values)]

    def _fewer_weights(self) -> list[Advice]:
        config = self.config
        if config is None:
            return []
        reads, method = METHOD_FIELDS[config.method.kind], config.method
        found = []
        if "dropout" in reads and method.dropout < 0.1:
            found.append(
                Advice(_("Let dropout make it harder to learn rows by heart."), {"method.dropout": 0.1})
            )
        if "rank" in reads and method.rank >= 8:
            rank = method.rank // 2
            values: dict[str, object] = {"method.rank": rank}
            if "alpha" in reads:
                values["method.alpha"] = method.alpha / 2
            found.append(Advice(_("Train fewer weights: rank {rank}.", rank=rank), values))
        return found

    def _more_weights(self) -> list[Advice]:
        config = self.config
        if config is None or "rank" not in METHOD_FIELDS[config.method.kind] or config.method.rank > 128:
            return []
        rank = config.method.rank * 2
        values: dict[str, object] = {"method.rank": rank}
        if "alpha" in METHOD_FIELDS[config.method.kind]:
            values["method.alpha"] = min(1e6, config.method.alpha * 2)
        return [Advice(_("Train more weights: rank {rank}.", rank=rank), values)]

    def _more_held_out(self) -> list[Advice]:
        """As many held-out rows as make the interval half of the difference."""
        held, config = self.case.curves.held, self.config
        rows = self.case.setting.held_out or held.rows or self.case.scores.rows
        wanted = 50
        if len(held.steps) > 1 and rows:
            low, high = held.interval(0, -1)
            difference, half = abs(float(held.losses[0] - held.losses[-1])), (high - low) / 2
            if difference > 0 and math.isfinite(half):
                wanted = math.ceil(rows * min(400.0, (half / (difference / 2)) ** 2))
        wanted = max(wanted, 2 * rows, 4 * limits.FEWEST_ROWS)
        words = _("Hold out more rows: about {rows:,} would tell.", rows=wanted)
        if config is None or isinstance(config.data.validation, str):
            return [Advice(words)]
        share = config.data.validation or 0.0
        total = rows / share if share and rows else 0.0
        asked = wanted / total if total else 0.1
        share = round(float(np.clip(max(asked, share * 1.5), 0.05, _MOST_HELD)), 2)
        if config.data.validation is not None and share <= config.data.validation:
            return [Advice(words)]
        return [Advice(words, {"data.validation": share})]


def advise_on(
    case: Case, now: Levels, ruling: Ruling, gathered: Gathered, config: RunConfig | None
) -> list[Advice]:
    """The advice that goes with a verdict."""
    return Adviser(case, now, ruling, gathered, config).advise()


def _rounded(value: float) -> float:
    return float(f"{value:.2g}")


def _epochs(value: float) -> float:
    """Epochs of two figures or so, within what a config takes."""
    rounded = float(f"{value:.2g}") if value < 10 else float(round(value))
    return float(min(10_000.0, max(0.01, rounded)))
