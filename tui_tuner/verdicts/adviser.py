"""Advice on what to change: sentences with values for a new config, the most likely remedy first."""

from __future__ import annotations

import math

import numpy as np

from tui_tuner.config.schema import RunConfig
from tui_tuner.locales import _
from tui_tuner.verdicts import limits
from tui_tuner.verdicts.judged_case import Case, Levels, Ruling
from tui_tuner.verdicts.run_history import RunHistory
from tui_tuner.verdicts.settings import find_usual_rate_range
from tui_tuner.verdicts.verdict_rules import measure_loss_thirds
from tui_tuner.verdicts.verdict_words import Advice

# Candidate lengths of a longer run, as multiples of this one: beyond 4 the extrapolation is a guess
_LONGER = (1.5, 2.0, 3.0, 4.0)
# Share of the total gain: a further third of the learning rate that adds less is not worth its steps
_ENOUGH = 0.03
# Share of the rows that may be held out: the model needs the others to learn from
_MOST_HELD = 0.3
_PATIENCE = 2  # evaluations


class Adviser:
    """Advice on one run, as its verdict suggests. Without the run's config, advice has no values."""

    def __init__(
        self, case: Case, now: Levels, ruling: Ruling, gathered: RunHistory, config: RunConfig | None
    ) -> None:
        self.case, self.now, self.ruling = case, now, ruling
        self.gathered, self.config = gathered, config
        self.usual = find_usual_rate_range(config)
        self.rate = case.setting.rate

    def list_advice(self) -> list[Advice]:
        """Return the advice for the run's verdict, the most likely remedy first."""
        found = {
            "unstable": self.advise_unstable,
            "overfit": self.advise_overfit,
            "memorised": self.advise_memorised,
            "underfit": self.advise_underfit,
            "not_converged": self.advise_not_converged,
            "plateau": self.advise_plateau,
            "nothing_learnt": self.advise_nothing_learnt,
            "unclear": self.advise_unclear,
            "good": self.advise_good,
        }[self.ruling.word]()
        if self.config is None:
            return [Advice(one.words) for one in found]
        return found

    # ---- for each word ----------------------------------------------------------------------------------

    def advise_unstable(self) -> list[Advice]:
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
                Advice(_("Use a longer warm-up, so the rate rises more slowly."), {"training.warmup": 0.1})
            )
        if training is not None and not 0 < training.max_grad_norm <= 1:
            found.append(Advice(_("Clip gradients to a norm of 1."), {"training.max_grad_norm": 1.0}))
        return found

    def advise_overfit(self) -> list[Advice]:
        found = [*self._advise_stop_at(self.ruling.since or 0)]
        config = self.config
        if config is None or (config.evaluation.early_stopping is None and config.data.validation):
            found.append(
                Advice(
                    _("Stop early after {count} evaluations without improvement.", count=_PATIENCE),
                    {"evaluation.early_stopping": _PATIENCE},
                )
            )
        return [*found, *self._fewer_weights(), Advice(_("More training rows would help most."))]

    def advise_memorised(self) -> list[Advice]:
        found = [Advice(_("Train on more rows: the model has memorised these few."))]
        found += self._advise_stop_at(self.ruling.since or 0) or self._fewer_passes()
        return [*found, *self._fewer_weights()]

    def advise_underfit(self) -> list[Advice]:
        found = []
        rate = self._higher_rate()
        if rate is not None:
            found.append(
                Advice(_("Raise the learning rate to {rate:g}.", rate=rate), {"training.learning_rate": rate})
            )
        return [*found, *self._more_weights(), *self._advise_longer(2.0)]

    def advise_not_converged(self) -> list[Advice]:
        first, second, third = measure_loss_thirds(self.case, self.now) or (1.0, 1.0, 1.0)
        ratio = min(1.0, third / second) if second > 0 else 1.0
        total, more, factor = first + second + third, third, 1.0
        # Extrapolates as `estimate_added_gain` does: each further third adds `ratio` times what the last one
        # added
        while factor < _LONGER[-1] and more > _ENOUGH * total:
            more *= ratio
            total += more
            factor += 1 / 3
        longer = next((one for one in _LONGER if one >= factor), _LONGER[-1])
        return self._advise_longer(longer)

    def advise_plateau(self) -> list[Advice]:
        return [
            *self._advise_stop_at(self.ruling.since or 0),
            Advice(_("To improve further, change the rows or the model; more steps will not help.")),
        ]

    def advise_nothing_learnt(self) -> list[Advice]:
        found = []
        rate, usual = self.rate, self.usual
        if rate and usual and not usual.low <= rate <= usual.high:
            found.append(
                Advice(
                    _("Use the usual learning rate, {rate:g}.", rate=usual.rate),
                    {"training.learning_rate": usual.rate},
                )
            )
        if self.ruling.why == "chance":
            found.append(Advice(_("Check that the labels match their texts.")))
        else:
            found.append(
                Advice(_("Check that the rows contain what the model should learn, in the right columns."))
            )
        # A longer run is no remedy where training has made held-out rows clearly worse
        held = self.now.held
        worse = len(held) > 1 and held[-1] - held[0] > limits.SURE * self.case.held_errors[0, -1]
        return found if worse else [*found, *self._advise_longer(3.0)]

    def advise_unclear(self) -> list[Advice]:
        why, config = self.ruling.why, self.config
        if why == "copies":
            shared = _("Hold out rows that are not trained on.")
            return [Advice(shared, {"data.validation": 0.1}) if config else Advice(shared)]
        if why == "no_steps":
            return [Advice(_("Wait until the run has taken some steps."))]
        if why == "one_evaluation":
            return [Advice(_("Evaluate ten times during the run."), {"evaluation.every": 0.1})]
        return self._more_held_out()

    def advise_good(self) -> list[Advice]:
        return [Advice(_("Nothing needs to change. Try the model on some texts."))]

    # ---- parts ------------------------------------------------------------------------------------------

    def _lower_rate(self) -> float | None:
        rate, usual = self.rate, self.usual
        if rate is None:
            return usual.rate if usual else None
        if usual and rate > 1.5 * usual.rate:
            return usual.rate
        return _round_rate(rate / 3)

    def _higher_rate(self) -> float | None:
        rate, usual = self.rate, self.usual
        if rate is None or usual is None:
            return None
        if rate < usual.rate / 1.5:
            return usual.rate
        return min(10.0, _round_rate(rate * 3)) if rate < usual.high else None

    def _advise_stop_at(self, step: int) -> list[Advice]:
        """Return advice to stop at the step where held-out rows were best; nothing without such a step."""
        done = self.case.curves.last_step
        if not 0 < step < done:
            return []
        values: dict[str, object] = {}
        training = self.config.training if self.config else None
        if training is not None and training.max_steps is not None:
            values["training.max_steps"] = step
        elif self.gathered.epochs > 0:
            values["training.epochs"] = _round_epochs(self.gathered.epochs * step / done)
        epochs = values.get("training.epochs")
        if epochs is not None:
            return [
                Advice(_("Stop at step {step} ({epochs:g} epochs).", step=step, epochs=epochs), values),
            ]
        return [Advice(_("Stop at step {step}.", step=step), values)]

    def _fewer_passes(self) -> list[Advice]:
        config = self.config
        if config is None or config.training.epochs <= 1:
            return []
        epochs = _round_epochs(max(1.0, min(3.0, config.training.epochs / 5)))
        values: dict[str, object] = {"training.epochs": epochs}
        if config.training.max_steps is not None:
            values["training.max_steps"] = max(1, self.case.curves.last_step // 5)
        return [Advice(_("Train for {epochs:g} epochs at most.", epochs=epochs), values)]

    def _advise_longer(self, factor: float) -> list[Advice]:
        config = self.config
        words = _("Train {factor:g} times as long.", factor=factor)
        if config is None:
            return [Advice(words)]
        values: dict[str, object] = {"training.epochs": _round_epochs(config.training.epochs * factor)}
        if config.training.max_steps is not None:
            steps = min(10**9, math.ceil(config.training.max_steps * factor))
            values = {"training.max_steps": steps}
            # A run ends at whichever comes first, so its epochs must cover the added steps too
            if self.gathered.epochs > 0:
                reach = self.gathered.epochs / max(1, self.case.curves.last_step) * steps
                if config.training.epochs < reach:
                    values["training.epochs"] = _round_epochs(math.ceil(reach))
        return [Advice(words, values)]

    def _fewer_weights(self) -> list[Advice]:
        config = self.config
        if config is None:
            return []
        method = config.method
        found = []
        if method.reads_field("dropout") and method.dropout < 0.1:
            found.append(
                Advice(_("Use dropout, which makes it harder to memorise rows."), {"method.dropout": 0.1})
            )
        if method.reads_field("rank") and method.rank >= 8:
            rank = method.rank // 2
            values: dict[str, object] = {"method.rank": rank}
            # LoRA scales its updates by alpha / rank; both are halved, so that the scale stays the same
            if method.reads_field("alpha"):
                values["method.alpha"] = method.alpha / 2
            found.append(Advice(_("Train fewer weights: rank {rank}.", rank=rank), values))
        return found

    def _more_weights(self) -> list[Advice]:
        config = self.config
        if config is None or not config.method.reads_field("rank") or config.method.rank > 128:
            return []
        rank = config.method.rank * 2
        values: dict[str, object] = {"method.rank": rank}
        if config.method.reads_field("alpha"):
            values["method.alpha"] = min(1e6, config.method.alpha * 2)
        return [Advice(_("Train more weights: rank {rank}.", rank=rank), values)]

    def _more_held_out(self) -> list[Advice]:
        """Advise enough held-out rows for an interval half as wide as the difference it is about."""
        held, config = self.case.curves.held, self.config
        rows = self.case.setting.held_out or held.rows or self.case.scores.rows
        wanted = 50
        if len(held.steps) > 1 and rows:
            low, high = held.difference_interval(0, -1)
            difference, half = abs(float(held.losses[0] - held.losses[-1])), (high - low) / 2
            # An interval narrows with the square root of the number of rows
            if difference > 0 and math.isfinite(half):
                wanted = math.ceil(rows * min(400.0, (half / (difference / 2)) ** 2))
        wanted = max(wanted, 2 * rows, 4 * limits.FEWEST_ROWS)
        words = _("Hold out more rows; about {rows:,} should be enough.", rows=wanted)
        # A file of held-out rows is the user's to extend: no share of the training rows replaces it
        if config is None or isinstance(config.data.validation, str):
            return [Advice(words)]
        share = config.data.validation or 0.0
        total = rows / share if share and rows else 0.0
        asked = wanted / total if total else 0.1
        share = round(float(np.clip(max(asked, share * 1.5), 0.05, _MOST_HELD)), 2)
        if config.data.validation is not None and share <= config.data.validation:
            return [Advice(words)]
        return [Advice(words, {"data.validation": share})]


def advise_on_verdict(
    case: Case, now: Levels, ruling: Ruling, gathered: RunHistory, config: RunConfig | None
) -> list[Advice]:
    """Return the advice for a verdict, the most likely remedy first; without `config`, it has no values."""
    return Adviser(case, now, ruling, gathered, config).list_advice()


def _round_rate(value: float) -> float:
    return float(f"{value:.2g}")


def _round_epochs(value: float) -> float:
    """Round epochs to about two digits, within the limits of `training.epochs`."""
    rounded = float(f"{value:.2g}") if value < 10 else float(round(value))
    return float(min(10_000.0, max(0.01, rounded)))
