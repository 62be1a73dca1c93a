"""Import the libraries of a run without the parts that it does not need.

transformers and peft import whatever else is installed: bitsandbytes, and with it half of torch's compiler,
scipy and sklearn for losses of object detection, datasets with pandas and pyarrow. That is a third of the
import time, all for code that a run here never calls. During the imports those packages look as if they were
not installed, a case that transformers and peft support; afterwards they are visible again, and a name that
a module would have imported from them is looked up when it is used. A package that modules compute something
with while they are imported, such as torchvision, is not hidden.

All threads of the process see that: another thread that needs such a package imports it within
`show_packages`.
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

LIBRARIES = ("torch", "transformers.modeling_utils", "peft")
# For quantised weights, for rows that are data sets of that package, for losses of other tasks
QUANTISING = ("bitsandbytes",)
OF_OTHER_TASKS = ("datasets", "scipy", "sklearn")

# (module, name in it): where that name comes from. Only modules that are imported anyway are patched.
_TAKEN = {
    ("peft.helpers", "bnb"): "bitsandbytes",
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
    """Import torch, transformers and peft, and nothing that this run does not need.

    Args:
        quantised: Whether the run's weights or its optimizer's states are quantised.
        say: Called with the number of libraries imported so far and the number of all.
    """
    with hide_packages(*OF_OTHER_TASKS, *(() if quantised else QUANTISING)):
        for done, name in enumerate(LIBRARIES):
            say(done, len(LIBRARIES))
            importlib.import_module(name)
    say(len(LIBRARIES), len(LIBRARIES))


@contextlib.contextmanager
def hide_packages(*names: str) -> Iterator[None]:
    """Make packages that are not imported yet look as if they were not installed."""
    with _hiding:
        # A package that is already imported costs nothing more, and modules that hold it would break.
        hidden = [name for name in names if name not in sys.modules]
        try:
            for name in hidden:
                # None makes both `import` and `find_spec` report that there is no such package.
                sys.modules[name] = None  # type: ignore[assignment]
            _forget_what_is_installed()
            yield
        finally:
            for name in hidden:
                # Another thread may have put the real module there in the meantime; that one stays.
                if sys.modules.get(name, ...) is None:
                    del sys.modules[name]
            _forget_what_is_installed()
            _give_names(hidden)


@contextlib.contextmanager
def show_packages() -> Iterator[None]:
    """Wait until no other thread hides a package, and prevent hiding while the block runs."""
    with _hiding:
        yield


def _forget_what_is_installed() -> None:
    """Clear the caches of `is_..._available`, so that they answer by what is visible now."""
    for module in _ASKED:
        for name, value in list(vars(sys.modules.get(module, types)).items()):
            if name.startswith("is_") and hasattr(value, "cache_clear"):
                value.cache_clear()


def _give_names(hidden: list[str]) -> None:
    """Set the names that modules would have imported from hidden packages, looked up on use."""
    for (module, name), source in _TAKEN.items():
        known = sys.modules.get(module)
        package = source.partition(".")[0]
        if known is None or package not in hidden or importlib.util.find_spec(package) is None:
            continue
        if vars(known).get(name) is None:
            whole = _Later(source)
            setattr(known, name, whole if "." not in source else _defer_function(whole, name))


class _Later(types.ModuleType):
    """A module that is imported on first access to one of its names."""

    def __getattr__(self, name: str) -> Any:
        # inspect and copy ask every module for such names; answering would import the package for nothing.
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(importlib.import_module(self.__name__), name)


def _defer_function(module: types.ModuleType, name: str) -> Any:
    def call(*args: Any, **kwargs: Any) -> Any:
        return getattr(module, name)(*args, **kwargs)

    return call
