"""The libraries of a run, imported without what it does not need of them.

transformers and peft import whatever else is installed: bitsandbytes, and with it half of torch's compiler,
scipy and sklearn for losses of object detection, datasets with pandas and pyarrow. That is a third of the
time of the imports, and all of it is for what a run here never calls. While they are imported, those packages
look as if they were not installed, which is a way that transformers and peft are made for; afterwards they
are there again, and a name that a module would have taken of them is looked up when it is used. A package
that modules compute something of while they are imported, as they do of torchvision, is not hidden.

All threads of the process see that: who needs such a package in another one imports it within `all_there`.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import sys
import threading
import types
from collections.abc import Callable, Iterator
from typing import Any

LIBRARIES = ("torch", "transformers.modeling_utils", "peft", "transformers.trainer")
# For quantised weights, for rows that are data sets of that package, for losses of other tasks
QUANTISING = ("bitsandbytes",)
OF_OTHER_TASKS = ("datasets", "scipy", "sklearn")

# (module, name in it): where that name comes from. A module is not imported for it.
_TAKEN = {
    ("peft.helpers", "bnb"): "bitsandbytes",
    ("transformers.trainer", "datasets"): "datasets",
    **{
        (f"transformers.loss.loss_{kind}", "linear_sum_assignment"): "scipy.optimize"
        for kind in (
            "for_object_detection",
            "deformable_detr",
            "grounding_dino",
            "lw_detr",
            "rf_detr",
            "rt_detr",
        )
    },
    ("transformers.generation.candidate_generator", "roc_curve"): "sklearn.metrics",
}
# Modules that remember which packages are installed
_ASKED = ("transformers.utils.import_utils", "peft.import_utils")
_hiding = threading.RLock()


def import_libraries(quantised: bool, say: Callable[[int, int], None] = lambda done, total: None) -> None:
    """Import torch, transformers' Trainer and peft, and nothing that this run does not need.

    Args:
        quantised: The run's weights are, or its optimizer's states.
        say: Told how many of them are imported, and how many there are.
    """
    with without(*OF_OTHER_TASKS, *(() if quantised else QUANTISING)):
        for done, name in enumerate(LIBRARIES):
            say(done, len(LIBRARIES))
            importlib.import_module(name)
    say(len(LIBRARIES), len(LIBRARIES))


@contextlib.contextmanager
def without(*names: str) -> Iterator[None]:
    """Let packages that nobody has imported yet look as if they were not installed."""
    with _hiding:
        hidden = [name for name in names if name not in sys.modules]
        try:
            for name in hidden:
                sys.modules[name] = None  # type: ignore[assignment]  # Python's way to say that there is none
            _forget_what_is_installed()
            yield
        finally:
            for name in hidden:
                if sys.modules.get(name, ...) is None:
                    del sys.modules[name]
            _forget_what_is_installed()
            _give_names(hidden)


@contextlib.contextmanager
def all_there() -> Iterator[None]:
    """Wait until no other thread hides a package, and let none begin: for who imports one."""
    with _hiding:
        yield


def _forget_what_is_installed() -> None:
    """So that the next who asks whether a package is installed is told the truth."""
    for module in _ASKED:
        for name, value in list(vars(sys.modules.get(module, types)).items()):
            if name.startswith("is_") and hasattr(value, "cache_clear"):
                value.cache_clear()


def _give_names(hidden: list[str]) -> None:
    """Give modules the names that they would have taken of a package, looked up when they are used."""
    for (module, name), source in _TAKEN.items():
        known = sys.modules.get(module)
        package = source.partition(".")[0]
        if known is None or package not in hidden or importlib.util.find_spec(package) is None:
            continue
        if vars(known).get(name) is None:
            whole = _Later(source)
            setattr(known, name, whole if "." not in source else _function(whole, name))


class _Later(types.ModuleType):
    """A module that is imported when something of it is asked for."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(importlib.import_module(self.__name__), name)


def _function(module: types.ModuleType, name: str) -> Any:
    def call(*args: Any, **kwargs: Any) -> Any:
        return getattr(module, name)(*args, **kwargs)

    return call
