"""Count the parameters of a run's model on the model itself, built without data.

For architectures and methods that `planning.heads.parameters` has no shapes for.
"""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from tui_tuner.errors import ModelError, RunError, TunerError
from tui_tuner.locales import _
from tui_tuner.text import one_line


def count_built_parameters(request: dict[str, Any]) -> tuple[int, int]:
    """Count the trained parameters, and all parameters.

    Args:
        request: `config` (of the model), `method` (its section), `auto_class` and `peft_type` (of the task),
            `outputs` (of the head; 0 keeps the config's), `new_pooler`, and `added`: parameters of a prompt
            method, which cannot be attached to a model without data.

    Raises:
        ModelError: transformers has no such model for the task.
        ConfigError: the method does not fit it.
    """
    import torch
    import transformers

    from tui_tuner.config.kinds.method_kind import Trait
    from tui_tuner.config.sections.method import MethodSection
    from tui_tuner.config.sections.model import ModelSection
    from tui_tuner.methods import attach, count_model_parameters
    from tui_tuner.methods.layers import name_saved_modules
    from tui_tuner.models.loading import silence_libraries
    from tui_tuner.models.new_weights import note_random_head

    silence_libraries()
    values = {
        name: value
        for name, value in request["config"].items()
        if name not in ("num_labels", "quantization_config")
    }
    kind = values.pop("model_type")
    # The lists of labels would set the number of outputs again.
    if request["outputs"]:
        values = {name: value for name, value in values.items() if name not in ("id2label", "label2id")}
        values["num_labels"] = request["outputs"]
    try:
        with torch.device("meta"):
            config = transformers.AutoConfig.for_model(kind, **values)
            model = getattr(transformers, request["auto_class"]).from_config(config)
    # Libraries raise all kinds of errors for a config that they do not know.
    except Exception as error:
        what = _("cannot be built for this task: {error}", error=one_line(error, 200))
        raise ModelError(what, where=one_line(kind, 60)) from error
    if request["new_pooler"]:
        note_random_head(model)
    section = MethodSection.model_validate(request["method"])
    if section.has_trait(Trait.VIRTUAL_TOKENS):
        kept = name_saved_modules(model, request["peft_type"])
        head = sum(one.numel() for name in kept for one in model.get_submodule(name).parameters())
        added = head + int(request["added"])
        return added, sum(one.numel() for one in model.parameters()) + added
    run: Any = SimpleNamespace(method=section, model=ModelSection(), training=SimpleNamespace(seed=0))
    with torch.device("meta"):
        return count_model_parameters(attach(model, run, request["peft_type"]))


def run_parameters_operation(
    arguments: dict[str, Any], progress: Any, cancelled: Callable[[], bool]
) -> dict[str, Any]:
    """Carry out the operation `parameters` of a helper process.

    Raises:
        RunError: the model cannot be built, in the libraries' words.
    """
    try:
        trained, total = count_built_parameters(arguments)
    except TunerError:
        raise
    except Exception as error:
        raise RunError(_("the count failed: {error}", error=one_line(error, 200)), where="model") from error
    return {"trained": trained, "total": total}
