"""Methods of this package entered into peft's own registry, under types that peft does not know.

`peft.utils.register_peft_method` takes only members of its enum `PeftType`, which an outsider cannot extend.
So the member is made here first. peft promises nobody that this works:
`tests/core/kinds/test_peft_registry.py` holds that it does.
"""

from __future__ import annotations

from typing import Any

from peft import PeftType
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING
from peft.utils import register_peft_method


def add_peft_type(name: str) -> Any:
    """Return the member of peft's enum with this name, such as `BOTTLENECK`; made if there is none yet."""
    if name in PeftType.__members__:
        return PeftType[name]
    member = str.__new__(PeftType, name)
    member._name_ = member._value_ = name
    members: Any = PeftType
    members._member_map_[name] = member
    members._value2member_map_[name] = member
    members._member_names_.append(name)
    type.__setattr__(PeftType, name, member)
    return member


def register_method(name: str, config: type, model: type) -> None:
    """Enter a method's config and model classes under a name in lower case; once for each process."""
    if add_peft_type(name.upper()) not in PEFT_TYPE_TO_CONFIG_MAPPING:
        register_peft_method(name=name, config_cls=config, model_cls=model)
