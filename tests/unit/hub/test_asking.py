"""Searching a hub, what a model on it is, and what is said where it refuses: by a played hub."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from tests.hub_server import MODELSCOPE_TOKEN, TOKEN, PlayedHub, hub
from tui_tuner.config.advice import format_error_words
from tui_tuner.errors import HubError, ModelError
from tui_tuner.models.hub import api, net
from tui_tuner.models.hub.kinds import SOURCES
from tui_tuner.models.hub.local import list_models_on_machine
from tui_tuner.runs.secrets import get_current_scrubber

__all__ = ["hub"]
TOKENS = {"huggingface": TOKEN, "modelscope": MODELSCOPE_TOKEN}


@pytest.fixture
def shop(hub: PlayedHub) -> PlayedHub:
    hub.add_demo("acme/tiny", downloads=10)
    hub.add_demo("acme/tiny-chat", downloads=2000, gated=True)
    hub.add_demo("acme/tiny-voice", downloads=9000, pipeline_tag="text-to-speech")
    hub.add_demo("acme/tiny-bare", downloads=5, pipeline_tag=None, parameters=None, tags=())
    hub.add_demo("acme/tiny-gguf", downloads=8000, tags=("gguf",))
    return hub


@pytest.mark.parametrize("source", SOURCES)
def test_text_models_most_used_first(shop: PlayedHub, source: str) -> None:
    found = api.search_models_on_hub("tiny", source)
    names = [one.name for one in found if one.name != "acme/tiny-gguf"]
    assert names == ["acme/tiny-chat", "acme/tiny", "acme/tiny-bare"]
    assert api.search_models_on_hub("nothing-of-this-name", source) == []
    if source == "huggingface":
        first = found[0]
        assert (first.parameters, first.gated, first.licence) == (901_120, True, "apache-2.0")
        assert first.bytes == 4 * 901_120
        assert (first.updated, first.kind) == ("2026-05-01", "text-generation")
        assert found[-1].parameters is None  # not told, so not known
        assert "acme/tiny-gguf" not in [one.name for one in found]


@pytest.mark.parametrize("source", SOURCES)
def test_what_a_fetch_would_take(shop: PlayedHub, source: str) -> None:
    model = api.describe_hub_model("acme/tiny", source=source)
    files = shop.models["acme/tiny"].files
    assert {file.name for file in model.files} == set(files)
    assert (model.bytes, model.here, model.missing_bytes) == (sum(map(len, files.values())), 0, model.bytes)
    assert model.config is not None and model.config["model_type"] == "llama"
    assert model.safetensors and not model.remote_code and not shop.bytes_sent


def test_a_mirror_that_tells_no_sizes(shop: PlayedHub) -> None:
    """Only names: sizes come by the list of files, or with the files."""
    shop.refuse("/tree/", 404)
    for model in shop.models.values():
        model.tell_sizes = False
    assert api.describe_hub_model("acme/tiny").bytes == 0
    assert api.list_hub_models(Path("/nonexistent")) == []
    folder = api.fetch_hub_model("acme/tiny")
    assert (folder / "model.safetensors").stat().st_size == len(
        shop.models["acme/tiny"].files["model.safetensors"]
    )


@pytest.mark.parametrize("source", SOURCES)
def test_refusals_say_what_to_do_next(shop: PlayedHub, source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(net, "ATTEMPTS", 1)
    with pytest.raises(HubError, match=r"acme/tinny: is not on .*Did you mean acme/tiny"):
        api.describe_hub_model("acme/tinny", source=source)
    with pytest.raises(HubError, match=r"has no revision v9\. Give a branch") as told:
        api.describe_hub_model("acme/tiny", "v9", source=source)
    assert told.value.field == "model.revision"
    with pytest.raises(ModelError, match="neither a folder here nor a hub id"):
        api.describe_hub_model("acme/tiny/of/it", source=source)
    for status, words in (
        (403, "may not read the model"),
        (500, "an internal problem"),
        (429, "too many requests"),
    ):
        shop.refusals.clear()
        shop.refuse("/acme/tiny", status)
        with pytest.raises(HubError, match=words) as told:
            api.describe_hub_model("acme/tiny", source=source)
        assert told.value.hint
    shop.refusals.clear()
    shop.refuse("/acme/tiny", 200, headers={"Content-Type": "text/html"}, body="<html>log in here</html>")
    with pytest.raises(HubError, match="does not answer like a hub"):
        api.describe_hub_model("acme/tiny", source=source)


def test_a_screen_is_told_of_keys_and_not_of_commands(
    shop: PlayedHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(net, "ATTEMPTS", 1)
    shop.add("acme/pickles", {"config.json": b"{}", "pytorch_model.bin": b"p"})
    shop.refuse("/acme/broken", 500)
    said = []
    for name in ("acme/nothing", "acme/tiny-chat", "acme/pickles", "acme/broken", "offline", "nowhere"):
        if name == "offline":
            monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
        if name == "nowhere":
            monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
            monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
        with pytest.raises((HubError, ModelError)) as told:
            api.fetch_hub_model(name)
        said.append(format_error_words(told.value))
    assert not [
        words for words in said if "tui-tuner" in words or "resume from there" in words or "{" in words
    ]
    assert sum("models screen" in words for words in said) == 5  # all but the hub's own trouble


def test_a_wrong_token_is_told_and_never_shown(shop: PlayedHub, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = "hf_" + "b" * 34
    monkeypatch.setenv("HF_TOKEN", wrong)
    with pytest.raises(HubError, match=r"does not know this token \(401\)") as told:
        api.describe_hub_model("acme/tiny")
    assert wrong not in str(told.value) and wrong not in repr(told.value.__cause__)
    with pytest.raises(HubError, match="does not know this token"):
        api.find_hub_user()


@pytest.mark.parametrize(
    ("source", "variable", "wrong"),
    [
        ("huggingface", "HF_TOKEN", "hf_\u00e9\u00e9secret"),
        ("modelscope", "MODELSCOPE_API_TOKEN", "hf_\u00e9\u00e9secret"),
        (
            "modelscope",
            "MODELSCOPE_API_TOKEN",
            "secret\nsecret",
        ),  # the other hub's client takes line ends out
    ],
)
def test_a_token_that_no_header_can_hold_is_told_and_never_shown(
    shop: PlayedHub, source: str, variable: str, wrong: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, wrong)
    for call in (
        lambda: api.describe_hub_model("acme/tiny", source=source),
        lambda: api.search_models_on_hub("tiny", source),
    ):
        with pytest.raises(HubError, match=f"{variable}: this is not a token") as told:
            call()
        assert "secret" not in str(told.value)
    with pytest.raises(HubError, match=f"{variable}: this is not a token"):
        api.find_hub_user(source)


@pytest.mark.parametrize("source", SOURCES)
def test_a_hub_that_is_not_there_is_told(
    shop: PlayedHub, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("MODELSCOPE_DOMAIN", "http://127.0.0.1:9")
    monkeypatch.delenv("MODELSCOPE_ENDPOINT")
    with pytest.raises(HubError, match=r"hub at http://127\.0\.0\.1:9 cannot be reached.*models list"):
        api.search_models_on_hub("tiny", source)
    with pytest.raises(HubError, match="cannot be reached"):
        api.fetch_hub_model("acme/tiny", source=source)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(HubError, match="HF_HUB_OFFLINE is set"):
        api.fetch_hub_model("acme/tiny", source=source)


@pytest.mark.parametrize("source", SOURCES)
def test_logging_in_and_out(shop: PlayedHub, source: str, tmp_path: Path) -> None:
    assert api.find_hub_user(source) is None and api.log_out_of_hub(source) is False
    with pytest.raises(HubError, match="not a token: a token is a single word"):
        api.log_in_to_hub("two words", source)
    wrong = TOKENS[source][:-4] + "0000"
    with pytest.raises(HubError, match="does not know this token") as told:
        api.log_in_to_hub(wrong, source)
    assert wrong not in str(told.value) and api.find_hub_user(source) is None
    who = api.log_in_to_hub(f" {TOKENS[source]}\n", source)
    assert who.name == "anna" and api.find_hub_user(source) == who
    kept = Path(who.origin)
    assert kept.is_relative_to(tmp_path) and kept.read_text() == TOKENS[source]
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    # what is written elsewhere has it taken out
    assert TOKENS[source] not in get_current_scrubber().mask_text(f"my token is {TOKENS[source]} indeed")
    if source == "huggingface":
        from huggingface_hub import get_token
        from huggingface_hub.utils import get_stored_tokens

        assert get_token() == TOKEN and TOKEN in get_stored_tokens().values()
    assert api.log_out_of_hub(source) is True and api.find_hub_user(source) is None and not kept.exists()


def test_a_token_of_the_environment_stays_there(shop: PlayedHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    who = api.find_hub_user()
    assert who is not None and (who.name, who.origin) == ("anna", "HF_TOKEN")
    with pytest.raises(HubError, match="HF_TOKEN holds a token"):
        api.log_out_of_hub()


def test_shapes_of_tokens_are_known_without_an_environment() -> None:
    for token in TOKENS.values():
        assert token not in get_current_scrubber().mask_text(f"Cookie: m_session_id={token}; x")


def test_folders_next_to_the_working_one(shop: PlayedHub, tmp_path: Path) -> None:
    from tui_tuner import demo

    model = Path(demo.__file__).parent / "model"
    for place in ("here", "models/there", "models/.hidden", "cut"):
        (tmp_path / "work" / place).mkdir(parents=True)
        for file in ("config.json", "model.safetensors"):
            os.link(model / file, tmp_path / "work" / place / file)
    (tmp_path / "work" / "cut" / "model.safetensors").rename(
        tmp_path / "work" / "cut" / "model-00001-of-00002.safetensors"
    )
    (tmp_path / "work" / "cut" / "model.safetensors.index.json").write_text(
        '{"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}'
    )
    found = {
        one.name: (one.source, one.whole, one.missing) for one in list_models_on_machine(tmp_path / "work")
    }
    assert found == {
        "here": ("folder", True, ""),
        "models/there": ("folder", True, ""),
        "cut": ("folder", False, "1 of 2 weight files are missing"),
    }
