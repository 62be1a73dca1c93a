"""AdaLoRA (arXiv 2303.10512): ranks that are shared out among the layers while they train, through peft."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from tui_tuner.errors import ConfigError
from tui_tuner.locales import _
from tui_tuner.methods.first_values.beginnings import list_low_rank
from tui_tuner.methods.lora import check_ranks, name_adapted
from tui_tuner.methods.new_rows import quicken_new_rows
from tui_tuner.methods.numbers.matrices import SharedRankNumbers
from tui_tuner.methods.peft_method import PeftMethod, wrap_peft_model

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor
    from torch.nn import Module

    from tui_tuner.config.schema import RunConfig
    from tui_tuner.config.sections.method import MethodSection

STATE = "method_state.pt"
FEWEST_STEPS = 10
ORTHOGONAL = 0.5  # weight of the extra loss, peft's default; the paper's runs have 0.1 to 0.5
_DECISIONS = 100  # how often, about, ranks are taken away


class Schedule(NamedTuple):
    """When ranks are taken away, in optimizer steps.

    Args:
        begin: Steps before the first time.
        end: The step from which on what is left is trained.
        every: Steps from one time to the next.
    """

    begin: int
    end: int
    every: int


def plan_schedule(total: int) -> Schedule:
    """Return the schedule of a run of so many steps: a tenth to warm up, the second half to train what is
    left, as in the paper's runs on GLUE (table 8).
    """
    begin, end = max(1, total // 10), total - total // 2
    return Schedule(begin, end, max(1, (end - begin) // _DECISIONS))


class AdaLora(SharedRankNumbers, PeftMethod):
    """Two matrices beside each linear layer, with a factor for each of their ranks between them."""

    peft_type = "ADALORA"
    carried_numbers = 2  # how much each number matters, and how much that varies

    def attach(self, model: Module, config: RunConfig, peft_type: str) -> Module:
        from peft import AdaLoraConfig

        method = config.method
        settings = AdaLoraConfig(
            init_r=method.rank,
            target_r=method.kept_rank,
            lora_alpha=method.alpha,
            lora_dropout=method.dropout,
            orth_reg_weight=ORTHOGONAL,
            total_step=1,  # the schedule follows from the steps of the run, which are not known yet
            **name_adapted(model, config, peft_type),
        )
        model = wrap_peft_model(model, settings)
        check_ranks(model, method)
        quicken_new_rows(model)
        for _name, layer in list_low_rank(model):
            for count in layer.ranknum.values():
                # peft lets it be trained beside a base in 16 bits, and does not save it
                count.requires_grad_(False)
        return model

    def check_steps(self, section: MethodSection, total: int) -> None:
        if total >= FEWEST_STEPS:
            return
        raise ConfigError(
            _(
                "AdaLoRA needs {fewest} optimizer steps to measure, to take ranks away, and to train what is "
                "left; this run has {total}.",
                fewest=FEWEST_STEPS,
                total=total,
            ),
            where="method.kind",
            field="method.kind",
            hint=_(
                "Train longer (training.epochs, training.max_steps), lower training.batch_size, or use lora."
            ),
        )

    def explain_end(self, settings: Mapping[str, Any]) -> str:
        return _("an AdaLoRA run shares out its ranks once: what it has taken away does not come back.")

    def trains_faster(self, name: str) -> bool:
        return "lora_B" in name

    def extra_loss(self, model: Module) -> Tensor:
        """Return how far the matrices are from orthogonal: the weighted mean of |PP' - 1| over all."""
        import torch

        found = []
        ones: dict[tuple[int, Any], Tensor] = {}
        for _name, layer in list_low_rank(model):
            for ups, matrices in ((False, layer.lora_A), (True, layer.lora_B)):
                for matrix in matrices.values():
                    square = matrix.T @ matrix if ups else matrix @ matrix.T
                    shape = len(square), square.device
                    if shape not in ones:
                        ones[shape] = torch.eye(len(square), device=square.device)
                    found.append(torch.linalg.norm(square - ones[shape]))
        return ORTHOGONAL * torch.stack(found).mean()

    def after_step(self, model: Module, step: int, total: int) -> None:
        tuner = model.base_model
        allocator = tuner.rankallocator
        settings, plan = tuner.peft_config[tuner.trainable_adapter_name], plan_schedule(total)
        settings.total_step, settings.tfinal = total, total - plan.end
        settings.tinit, settings.deltaT = plan.begin, plan.every
        measured = bool(allocator.exp_avg_ipt)
        if step < plan.end:
            trained = [one for name, one in model.named_parameters() if "lora_" in name and one.requires_grad]
            if any(one.grad is None for one in trained):
                return  # a step that was left out
            for one in trained:
                one.grad.nan_to_num_(
                    0.0, 0.0, 0.0
                )  # of a step that the optimizer skips: averages would stay spoilt
            tuner.update_and_allocate(step)
        elif measured:  # ends the measuring; later than planned if the step at the end was left out
            tuner.update_and_allocate(plan.end)
        elif settings.rank_pattern:
            tuner.update_and_allocate(max(step, plan.end + 1))

    def save_state(self, model: Module, folder: Path) -> None:
        import torch

        tuner = model.base_model
        allocator = tuner.rankallocator
        state: dict[str, Any] = {
            "mean": {name: one.cpu() for name, one in allocator.exp_avg_ipt.items()},
            "spread": {name: one.cpu() for name, one in allocator.exp_avg_unc.items()},
            "kept": tuner.peft_config[tuner.trainable_adapter_name].rank_pattern,
        }
        torch.save(state, folder / STATE)

    def load_state(self, model: Module, folder: Path | None) -> None:
        import torch

        tuner = model.base_model
        allocator, settings = tuner.rankallocator, tuner.peft_config[tuner.trainable_adapter_name]
        allocator.reset_ipt()
        settings.rank_pattern = None
        if folder is None:
            return
        state = torch.load(folder / STATE, map_location="cpu", weights_only=True)
        places = dict(tuner.model.named_parameters())
        for name, one in state["mean"].items():
            device = places[name].device
            allocator.exp_avg_ipt[name] = one.to(device)
            allocator.exp_avg_unc[name] = state["spread"][name].to(device)
            allocator.ipt[name] = allocator.exp_avg_ipt[name]  # measured anew in each step
        settings.rank_pattern = state["kept"]

    @contextlib.contextmanager
    def settle_export(self, model: Module) -> Iterator[dict[str, Tensor] | None]:
        """Within it, the settings name the ranks that are kept, once these are final."""
        settings = model.active_peft_config
        tuner = model.base_model
        allocator = getattr(tuner, "rankallocator", None)
        before = dict(vars(settings))
        # Until then what was taken away may grow again before the next decision, and is a part of the model
        if allocator is not None and allocator.exp_avg_ipt:
            settings.rank_pattern = None
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of layers that keep no rank
                yield None
        finally:
            vars(settings).update(before)  # peft renames the ranks that it saves


METHODS = (AdaLora("adalora"),)
