"""The tensors of a base model with an adapter merged in, one module at a time by peft's own layers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from tui_tuner.exporting.merging.base_weights import open_weights
from tui_tuner.exporting.merging.freed_memory import return_freed_memory
from tui_tuner.exporting.merging.in_memory import find_own_tokenizer
from tui_tuner.exporting.merging.skeleton import build_skeleton, calm_peft, make_ghost, map_file_names
from tui_tuner.exporting.tensors import TensorForm
from tui_tuner.methods.peft_method import PeftMethod
from tui_tuner.methods.stored import CONFIG
from tui_tuner.models.growing.growth import read_growth

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

    from tui_tuner.exporting.source import Source

# Beginnings that change the base model's weights when an adapter is put onto it, and peft's function of a
# layer
_PLAIN = (True, False, None, "gaussian", "orthogonal", "eva")
_BEGUN = {"pissa": "pissa_init", "olora": "olora_init"}


class NotStreamable(Exception):
    """An adapter that can only be merged with the whole model in memory."""


@dataclass(frozen=True)
class _Unit:
    """A module that an adapter changes, by its name in the base model."""

    name: str
    module: Any


class MergedTensors:
    """The merged weights of a source with an adapter; see `tensors.TensorReader`.

    A tensor that the adapter does not touch comes from the base model's files as it is. One that it touches
    is computed by the adapter's own layer of peft, which has the real weight for that time alone, so that
    results are those of `merge_and_unload` on the model in the types of its files.

    Attributes:
        forms: Name and form of each tensor, under the names that the base model's files have.
        settings: The config of the merged model (transformers').
        generation: Its generation config; None for a model that never writes.
        class_name: The class of transformers that loads it.
        untied: Whether embeddings and head, which the base model shares, differ now.

    Raises:
        NotStreamable: it needs the whole model in memory.
        ModelError: the adapter does not fit the model.
    """

    def __init__(self, source: Source) -> None:
        # Rows of new tokens begin as means of others, which loading the model makes
        if read_growth(find_own_tokenizer(source)) is not None:
            raise NotStreamable(source.name)
        self.files = open_weights(source)
        base = build_skeleton(source, self.files)
        # Encoders have none: they never write
        self.settings, self.generation = base.config, getattr(base, "generation_config", None)
        # tensors of the base by the model's own name
        mapped = map_file_names(base, self.files, source.task.auto_class)
        self._sources = {own: name for name, own in mapped.items()}
        self._note_ties(base)
        self._start = _read_start(source)
        inner = _put_adapter(source, base)
        source.task.keep_metrics(inner, _read_values(source))
        self.settings, self.class_name = inner.config, type(inner).__name__
        self._units = _find_units(inner)
        self._inner = inner
        self._check_units(base)
        self.forms: dict[str, TensorForm] = {}
        self._made: dict[str, tuple[_Unit, str]] = {}  # name -> the unit that makes it, and its name there
        self._copied: dict[str, str] = {}  # name -> that in the files
        self._results: dict[str, Tensor] = {}
        self._list_forms(source, mapped)

    @property
    def touched(self) -> set[str]:
        """Return the names of tensors that the adapter changes."""
        return set(self._made)

    def read_tensor(self, name: str) -> Tensor:
        if name in self._copied:
            return self.files.read_tensor(self._copied[name])
        if name not in self._results:
            self._merge_unit(self._made[name][0])
        return self._results.pop(name)

    # ---- what there is ------------------------------------------------------------------------------------

    def _note_ties(self, base: Any) -> None:
        """Remember which names of the base share one tensor, by the one that the files have."""
        first: dict[int, str] = {}
        self._shared: dict[str, str] = {}
        for prefix, module in base.named_modules():
            for name, one in module._parameters.items():
                full = f"{prefix}.{name}" if prefix else name
                if one is not None and full in self._sources:
                    first[id(one)] = full
        for prefix, module in base.named_modules():
            for name, one in module._parameters.items():
                full = f"{prefix}.{name}" if prefix else name
                if one is not None and full not in self._sources and id(one) in first:
                    self._shared[full] = first[id(one)]

    def _check_units(self, base: Any) -> None:
        """Raise `NotStreamable` where a module that is merged has weights that no file holds as they are."""
        for unit in self._units:
            if _is_saved_module(unit.module):
                continue
            if type(unit.module).__name__ == "ParamWrapper":
                raise NotStreamable(unit.name)
            for name, _unused in _name_base_parameters(unit):
                if name not in self._sources and name not in self._shared:
                    raise NotStreamable(name)

    def _list_forms(self, source: Source, mapped: Mapping[str, str]) -> None:
        inside = {name: unit for unit in self._units for name in _name_results(unit)}
        other_class = type(self._inner).__name__ not in (source.read_base_config().get("architectures") or [])
        prefix = f"{self._inner.base_model_prefix}."
        whole = {} if source.stored is None else source.stored.whole_tensors
        for name in self.files.forms:
            own = mapped.get(name)
            if own is None:
                # Experts that transformers fuses keep the form of the files; the head of another task goes
                if not other_class or name.startswith(prefix):
                    self._copy(name, name)
                continue
            written = name if own.endswith(name) and own == name else own
            if own in inside:
                self._make(written, inside.pop(own), own)
            elif _brings(whole, own):
                self._make(
                    written,
                    _Unit(own.rpartition(".")[0], self._inner.get_submodule(own.rpartition(".")[0])),
                    own,
                )
            else:
                self._copy(written, name)
        self.untied = False
        for own, unit in inside.items():
            shared = self._shared.get(own)
            if shared is not None and self._is_same(own, unit, shared):
                continue
            self.untied |= shared is not None
            self._make(own, unit, own)
        self._add_untied_heads()
        if self.untied:
            self.settings.tie_word_embeddings = False

    def _add_untied_heads(self) -> None:
        """Write the base's own head beside embeddings that changed, where the two were one tensor."""
        for own, first in self._shared.items():
            changed = first in self._made and own not in self._made
            unit = self._made[first][0] if changed else None
            if unit is not None and _is_saved_module(unit.module) and not self._is_tied_copy(own, unit):
                self.untied = True
                self._copy(own, self._sources[first])

    def _is_tied_copy(self, own: str, unit: _Unit) -> bool:
        """Return whether the head at `own` is saved together with the embeddings of a unit."""
        other = next((one for one in self._units if own.startswith(f"{one.name}.")), None)
        return other is not None and self._is_same(own, other, f"{unit.name}.weight")

    def _is_same(self, own: str, unit: _Unit, shared: str) -> bool:
        """Return whether a tensor that a unit makes equals the one it shares memory with in the base."""
        import torch

        other = next((one for one in self._units if f"{shared}.".startswith(f"{one.name}.")), None)
        if other is None or not (_is_saved_module(unit.module) and _is_saved_module(other.module)):
            return False
        mine, theirs = _saved_weights(unit)[own], _saved_weights(other)[shared]
        return mine is theirs or torch.equal(mine, theirs)

    def _copy(self, written: str, name: str) -> None:
        self.forms[written] = self.files.forms[name]
        self._copied[written] = name

    def _make(self, written: str, unit: _Unit, own: str) -> None:
        stored = self._sources.get(own) or self._sources.get(self._shared.get(own, ""))
        one = _name_results(unit).get(own)
        shape = tuple(one.shape) if one is not None else self.files.forms[str(stored)].shape
        if stored is not None:
            kind = self.files.forms[stored].dtype
        else:
            kinds = [form.dtype for form in self.files.forms.values()]
            kind = max(set(kinds), key=kinds.count)
        self.forms[written] = TensorForm(kind, shape)
        self._made[written] = (unit, own)

    # ---- one unit -----------------------------------------------------------------------------------------

    def _merge_unit(self, unit: _Unit) -> None:
        """Give a unit its real weights, merge, keep the results until they are read, and take those away."""
        import torch

        from tui_tuner.exporting.tensors import find_torch_type

        wanted = {own: written for written, (one, own) in self._made.items() if one.name == unit.name}
        with torch.no_grad(), calm_peft():
            if not _is_saved_module(unit.module) and _is_adapted(unit.module):
                self._fill(unit)
                self._begin(unit)
            found = _merge_module(unit)
            for own, written in wanted.items():
                dtype: Any = find_torch_type(self.forms[written].dtype)
                self._results[written] = found[own].detach().to(dtype)
        if _is_adapted(unit.module) and not _is_saved_module(unit.module):
            _empty(unit)
        return_freed_memory()

    def _fill(self, unit: _Unit) -> None:
        import torch

        for own, (holder, name) in _name_base_parameters(unit):
            stored = self._sources.get(own) or self._sources[self._shared[own]]
            real = self.files.read_tensor(stored)
            old = holder._parameters[name]
            if real.shape != old.shape and real.shape[1:] == old.shape[1:] and old.is_contiguous():
                # Embeddings of more tokens than the base has: the adapter's file brings them all
                continue
            holder._parameters[name] = torch.nn.Parameter(real, requires_grad=False)

    def _begin(self, unit: _Unit) -> None:
        """Take out of a base weight what the adapter's beginning moved into it, as peft does when loading."""
        if not self._start or not hasattr(unit.module, self._start[0]):
            return
        function, begun = self._start
        kept = {name: one.data.clone() for name, one in unit.module.named_parameters() if "lora_" in name}
        for adapter in unit.module.active_adapters:
            given = (adapter, begun) if function == "pissa_init" else (adapter,)
            getattr(unit.module, function)(*given)
        for name, one in unit.module.named_parameters():
            if name in kept:
                one.data.copy_(kept[name])


def _put_adapter(source: Source, base: Any) -> Any:
    """Put a source's adapter onto a skeleton; return the model inside, with its adapted layers."""
    method, stored = source.method, source.stored
    if not isinstance(method, PeftMethod) or stored is None or source.adapter is None:
        raise NotStreamable(source.name)
    begins = stored.settings.get("init_lora_weights")
    with calm_peft():
        if _read_start(source) is not None:
            with TemporaryDirectory() as folder:
                _link_plainly(source.adapter, Path(folder))
                return method.load_adapter(base, Path(folder)).get_base_model()
        if begins not in _PLAIN or stored.settings.get("loftq_config"):
            raise NotStreamable(str(begins))
        return method.load_adapter(base, source.adapter).get_base_model()


def _link_plainly(adapter: Path, folder: Path) -> None:
    """Fill a folder with links to an adapter's files, and a config by which peft looks at no weights."""
    for one in adapter.iterdir():
        if one.name != CONFIG:
            (folder / one.name).symlink_to(one.absolute())
    settings = json.loads((adapter / CONFIG).read_text(encoding="utf-8"))
    settings["init_lora_weights"] = True
    (folder / CONFIG).write_text(json.dumps(settings), encoding="utf-8")


def _read_start(source: Source) -> tuple[str, str] | None:
    """Return peft's function for the beginning of an adapter, and that beginning; None for most."""
    begins = source.stored.settings.get("init_lora_weights") if source.stored is not None else None
    name = next((name for name in _BEGUN if str(begins).lower().startswith(name)), None)
    return None if name is None else (_BEGUN[name], str(begins))


def _find_units(inner: Module) -> list[_Unit]:
    """List the modules that peft unloads when it merges, as `merge_and_unload` finds them."""
    from peft.tuners.tuners_utils import BaseTunerLayer
    from peft.utils.other import AuxiliaryTrainingWrapper

    found: list[_Unit] = []
    for name, module in inner.named_modules():
        if any(name.startswith(f"{unit.name}.") for unit in found):
            continue
        if isinstance(module, AuxiliaryTrainingWrapper | BaseTunerLayer):
            found.append(_Unit(name, module))
    return found


def _is_saved_module(module: Any) -> bool:
    return hasattr(module, "modules_to_save") and hasattr(module, "original_module")


def _is_adapted(module: Any) -> bool:
    return (
        hasattr(module, "base_layer")
        or hasattr(module, "token_adapter")
        or hasattr(module, "modules_to_save")
    )


def _find_base_module(unit: _Unit) -> Any:
    module = unit.module
    if hasattr(module, "token_adapter"):
        return module.token_adapter.get_base_layer()
    return module.get_base_layer() if hasattr(module, "base_layer") else module


def _name_base_parameters(unit: _Unit) -> list[tuple[str, tuple[Any, str]]]:
    """Return (name in the base model, (module, its name there)) of each parameter of the layer below."""
    found = []
    for prefix, module in _find_base_module(unit).named_modules():
        for name, one in module._parameters.items():
            if one is not None:
                inside = f"{prefix}.{name}" if prefix else name
                found.append((f"{unit.name}.{inside}", (module, name)))
    return found


def _name_results(unit: _Unit) -> dict[str, Tensor]:
    """Return what a unit will make, by names in the base model; the tensors have the right shapes only."""
    if _is_saved_module(unit.module):
        return _saved_weights(unit)
    return {own: holder._parameters[name] for own, (holder, name) in _name_base_parameters(unit)}


def _saved_weights(unit: _Unit) -> dict[str, Tensor]:
    module = unit.module
    kept = module.modules_to_save[module.active_adapters[0]]
    if hasattr(kept, "base_layer"):
        raise NotStreamable(unit.name)
    return {f"{unit.name}.{name}": one for name, one in kept.state_dict(keep_vars=True).items()}


def _merge_module(unit: _Unit) -> dict[str, Tensor]:
    module = unit.module
    if _is_saved_module(module):
        return _saved_weights(unit)
    if hasattr(module, "unload_and_optionally_merge_module"):
        made = module.unload_and_optionally_merge_module(merge=True, safe_merge=False, adapter_names=None)
    elif hasattr(module, "base_layer"):
        module.merge()
        made = module.get_base_layer()
    else:
        made = module
    return {f"{unit.name}.{name}": one for name, one in made.state_dict(keep_vars=True).items()}


def _empty(unit: _Unit) -> None:
    """Give the layer below its shape without memory again."""
    import torch

    for _own, (holder, name) in _name_base_parameters(unit):
        old = holder._parameters[name]
        holder._parameters[name] = torch.nn.Parameter(make_ghost(old.shape, old.dtype), requires_grad=False)


def _brings(whole: Mapping[str, Any], own: str) -> bool:
    """Return whether an adapter's file holds this tensor of the base model whole."""
    return any(name.removeprefix("base_model.model.") == own for name in whole)


def _read_values(source: Source) -> dict[str, Any]:
    from tui_tuner.inference.heads import read_model_json

    return read_model_json(source.folder / "config.json") if source.adapter is not None else {}
