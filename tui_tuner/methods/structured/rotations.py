"""OFT (arXiv 2306.07280) and BOFT (arXiv 2311.06243): rotations of what linear layers read, through peft."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from tui_tuner.config.advice import build_hint, write_setting
from tui_tuner.errors import ConfigError
from tui_tuner.locales import N_, _
from tui_tuner.methods.layers import name_peft_targets
from tui_tuner.methods.numbers.target_names import list_targets
from tui_tuner.methods.numbers.update_shapes import ButterflyNumbers, RotationNumbers
from tui_tuner.methods.peft_method import PeftMethod, wrap_peft_model
from tui_tuner.methods.refusals import refuse_transposed
from tui_tuner.methods.structured.target_shapes import list_shapes
from tui_tuner.text import join_sentence_items

if TYPE_CHECKING:
    from pathlib import Path

    from torch.nn import Module

    from tui_tuner.config.schema import RunConfig
    from tui_tuner.models.facts import ModelFacts


class Rotated(RotationNumbers, PeftMethod):
    """What OFT and BOFT have in common: blocks, which have to fit the widths of the matrices."""

    def check_model(self, config: RunConfig, facts: ModelFacts) -> None:
        refuse_transposed(self, facts)
        if facts.verified:
            widths = {one.inputs for one in list_targets(config.method, facts)}
            check_block(self.find_block(config.method), widths)

    def attach(self, model: Module, config: RunConfig, peft_type: str) -> Module:
        block, targets = self.find_block(config.method), name_peft_targets(model, config, peft_type)
        # peft would take another block for OFT, and warn
        check_block(block, {inputs for inputs, _outputs in list_shapes(model, targets)})
        return self.put_rotations(model, block, targets)

    def put_rotations(self, model: Module, block: int, targets: dict[str, Any]) -> Module:
        """Return the model with rotations of blocks of this size."""
        raise NotImplementedError


class Oft(Rotated):
    """A rotation for each block of inputs, as a series of powers of a skew-symmetric matrix."""

    peft_type = "OFT"
    names: ClassVar[Mapping[str, str]] = {"rotation_block": "oft_block_size"}

    def put_rotations(self, model: Module, block: int, targets: dict[str, Any]) -> Module:
        from peft import OFTConfig

        return wrap_peft_model(model, OFTConfig(r=0, oft_block_size=block, **targets))


class Boft(ButterflyNumbers, Rotated):
    """A rotation for each block of inputs, and a factor for each output."""

    peft_type = "BOFT"
    names: ClassVar[Mapping[str, str]] = {"rotation_block": "boft_block_size"}

    def put_rotations(self, model: Module, block: int, targets: dict[str, Any]) -> Module:
        from peft import BOFTConfig

        with share_permutations():
            settings = BOFTConfig(boft_block_size=block, boft_n_butterfly_factor=1, **targets)
            return wrap_peft_model(model, settings)

    def _load_one(self, base: Module, folder: Path, trained: bool = False) -> Module:
        with share_permutations():
            return super()._load_one(base, folder, trained)

    def is_made_by(self, settings: Mapping[str, Any]) -> bool:
        # Adapters with more factors need the extension, and are loaded as peft does it
        return super().is_made_by(settings) and settings.get("boft_n_butterfly_factor", 1) == 1


@contextlib.contextmanager
def share_permutations() -> Iterator[None]:
    """Within it, layers of BOFT share their permutations, and peft compiles no extension.

    With one factor a permutation changes nothing, but peft keeps one for each layer, as a square matrix in
    float32: 28 GB of host memory for a model of 7B, from where each is copied in every pass.
    """
    import torch
    from peft.tuners.boft import layer as boft

    held: dict[tuple[Any, ...], torch.Tensor] = {}

    def register(module: Any, name: str, tensor: Any, persistent: bool = True) -> None:
        if name == "boft_P":
            weight = module.get_base_layer().weight
            dtype = weight.dtype if weight.dtype.is_floating_point else tensor.dtype
            key = (tuple(tensor.shape), weight.device, dtype)
            if key not in held:
                held[key] = tensor.to(weight.device, dtype)
            tensor = held[key]
        torch.nn.Module.register_buffer(module, name, tensor, persistent=persistent)

    before = boft.get_fbd_cuda, boft.BOFTLayer.perm2mat
    boft.get_fbd_cuda = lambda: None
    boft.BOFTLayer.perm2mat = lambda _layer, order: torch.eye(len(order))  # peft writes it number by number
    boft.Linear.register_buffer = register
    try:
        yield
    finally:
        boft.get_fbd_cuda, boft.BOFTLayer.perm2mat = before
        del boft.Linear.register_buffer


def check_block(block: int, widths: set[int]) -> None:
    """Raise `ConfigError` for a block that does not divide a width, with the nearest that divide all."""
    wrong = sorted(width for width in widths if width % block)
    if not wrong:
        return
    common = math.gcd(*widths)
    fitting = [size for size in range(2, common + 1) if common % size == 0]
    near = [max((size for size in fitting if size < block), default=0)]
    near = sorted({size for size in (*near, min((s for s in fitting if s > block), default=0)) if size})
    hint = _("No block divides all of them; choose fewer matrices with method.targets.")
    if near:
        best = min(near, key=lambda size: abs(size - block))
        told = N_(
            "The nearest that divide all widths are {sizes}: {command}.",
            sizes=join_sentence_items([str(size) for size in near]),
            command=write_setting({"method.rotation_block": best}),
        )
        hint = build_hint(told)
    raise ConfigError(
        _("blocks of {block} inputs do not divide a width of {width}.", block=block, width=wrong[0]),
        where="method.rotation_block",
        field="method.rotation_block",
        hint=hint,
    )


METHODS = (Oft("oft"), Boft("boft"))
