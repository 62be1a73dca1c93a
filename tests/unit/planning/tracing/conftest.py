"""One process that traces for all tests here, and what it counted: both take seconds."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator

import pytest

from tui_tuner.launch.helper import Helper
from tui_tuner.planning.memory.setup import Setup
from tui_tuner.planning.trace_check import make_trace_request


@pytest.fixture(scope="package")
def helper() -> Iterator[Helper]:
    pytest.importorskip("peft")
    with Helper() as process:
        yield process


@pytest.fixture(scope="package")
def layer_launches(helper: Helper) -> Callable[[Setup, bool], Counter[str]]:
    """Launches of one layer, forward and backward, by kind; each setup is counted once."""
    from tui_tuner.training.tracing.launches import count_layer_launches

    counted: dict[str, Counter[str]] = {}

    def share(setup: Setup, quick: bool) -> Counter[str]:
        request = {**make_trace_request(setup), "layers": [2, 3], "quick": quick}
        key = json.dumps(request, sort_keys=True)
        if key not in counted:
            phases = count_layer_launches(
                helper.prepare_request("launches", request, seconds=240).wait_for_result()
            )
            counted[key] = Counter(phases["forward"])
            counted[key].update(phases["backward"])
        return counted[key]

    return share
