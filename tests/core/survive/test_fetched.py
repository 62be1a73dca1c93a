"""A run whose model is not here fetches it first, from a played hub: counted, stopped, gone on with."""

from __future__ import annotations

import json
import threading
import time

import pytest

from tests.conftest import MakeConfig, Trained
from tests.core.test_session import Train
from tests.hub_server import PlayedHub, hub
from tui_tuner.models.hub import place
from tui_tuner.runs.control import send_control_command
from tui_tuner.runs.events import ModelSource, Phase

__all__ = ["hub"]
WEIGHTS = "model.safetensors"


@pytest.fixture
def acme(hub: PlayedHub, monkeypatch: pytest.MonkeyPatch) -> PlayedHub:
    from huggingface_hub import constants
    from transformers.utils import hub as of_transformers

    monkeypatch.setattr(place, "_settled", set())
    for name in ("TRANSFORMERS_CACHE", "HF_HUB_CACHE"):
        if hasattr(of_transformers, name):
            monkeypatch.setattr(of_transformers, name, constants.HF_HUB_CACHE)
    hub.add_demo("acme/tiny")
    return hub


def phases(trained: Trained, name: str) -> list[Phase]:
    return [body for body in trained.sink.bodies if isinstance(body, Phase) and body.name == name]


@pytest.mark.parametrize("source", ["huggingface", "modelscope"])
def test_a_run_fetches_its_model_and_goes_on_without_a_network(
    make_config: MakeConfig, train: Train, acme: PlayedHub, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    config = make_config(model__name="acme/tiny", model__hub=source, training__max_steps=1)
    first = train(config)
    told = phases(first, "fetching")
    size = sum(map(len, acme.models["acme/tiny"].files.values()))
    assert told and {one.unit for one in told} == {"bytes"} and told[-1].done == told[-1].total == size
    names = [body.name for body in first.sink.bodies if isinstance(body, Phase)]
    assert names[0] == "fetching"  # before anything else that takes long
    [where] = [body for body in first.sink.bodies if isinstance(body, ModelSource)]
    assert where.place == "hub" and where.revision == ("master" if source == "modelscope" else "c" * 40)
    adapter = json.loads((first.folder.last_path / "adapter_config.json").read_text())
    assert adapter["base_model_name_or_path"] == "acme/tiny"  # others can find it by that
    sent = acme.bytes_sent
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    second = train(config)
    assert not phases(second, "fetching") and acme.bytes_sent == sent


def test_a_stop_while_it_is_fetched_keeps_what_is_here(
    make_config: MakeConfig, train: Train, acme: PlayedHub
) -> None:
    acme.slow(1_000_000)
    config = make_config(model__name="acme/tiny", training__max_steps=1)

    def stop_early(trained: Trained) -> None:
        def wait() -> None:
            while acme.sent[WEIGHTS] < 500_000:
                time.sleep(0.02)
            send_control_command(trained.folder.control_path, "stop")

        threading.Thread(target=wait, daemon=True).start()

    stopped = train(config, before=stop_early)
    assert stopped.outcome.status == "stopped"
    acme.slow(None)
    sent = acme.bytes_sent
    again = train(config)
    assert again.outcome.status == "completed"
    assert acme.bytes_sent - sent < len(acme.models["acme/tiny"].files[WEIGHTS]) - 400_000


def test_a_tokenizer_of_modelscope_comes_alone_and_weights_are_asked_for(acme: PlayedHub) -> None:
    from tui_tuner.config.schema import ModelSection
    from tui_tuner.errors import HubError
    from tui_tuner.models.facts import load_facts
    from tui_tuner.models.loading import find_model_source, load_tokenizer

    model = ModelSection(name="acme/tiny", hub="modelscope")
    assert load_facts(model, network=True).vocab > 1000  # by its config.json alone
    assert set(acme.sent) == {"config.json"}
    assert len(load_tokenizer(model)) > 1000 and not acme.bytes_sent
    with pytest.raises(HubError, match=r"not on this machine yet.*fetch acme/tiny --source modelscope"):
        find_model_source(model)
