"""The screen of models over a hub that a local server plays, with its real clients."""

from __future__ import annotations

import json
import shutil
import socket
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest
import textual.app
from textual._wait import wait_for_idle
from textual.pilot import Pilot
from textual.widgets import Input, Static

from tests.hub_server import TOKEN, PlayedHub, hub
from tests.ui.conftest import SIZES, Opened, text, until
from tui_tuner.models.catalog import find_catalog_config
from tui_tuner.models.hub.api import list_hub_models
from tui_tuner.ui.base_models.fetches import DONE, FAILED
from tui_tuner.ui.screens.data_screen import DataScreen
from tui_tuner.ui.screens.dialogs import ConfirmDialog
from tui_tuner.ui.screens.home import HomeScreen
from tui_tuner.ui.screens.models.login import LoginDialog
from tui_tuner.ui.screens.models.model_dialogs import CodeDialog, FailedDialog, FetchDialog
from tui_tuner.ui.screens.models.models_screen import ModelsScreen
from tui_tuner.ui.screens.settings import SettingsScreen
from tui_tuner.ui.widgets.models.model_list import ModelList

__all__ = ["hub"]  # the fixture
HOSTILE = "[/red] [@click=app.quit]x[/] \x1b[2J"


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")


@pytest.fixture(autouse=True)
def no_wait_for_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """After each key, Textual's pilot waits up to twice a second for threads that work something out."""

    async def rest(least: float = 0.02) -> None:
        await wait_for_idle(least, 0.1)

    monkeypatch.setattr(textual.app, "wait_for_idle", rest)


def row_of(pilot: Pilot[Any], name: str) -> str:
    """The line of a model in the list."""
    return next((line for line in text(pilot).splitlines() if line[3:].startswith(f"{name} ")), "")


def flat(pilot: Pilot[Any]) -> str:
    """What stands on the screen, wherever its lines end."""
    return " ".join(text(pilot).replace("│", " ").split())


async def searched(pilot: Pilot[Any], query: str, name: str) -> ModelList:
    """Open the models at home, search, and put the cursor on a model."""
    await pilot.press("m")
    await until(pilot, lambda: isinstance(pilot.app.screen, ModelsScreen))
    await pilot.press(*query)
    models = pilot.app.screen.query_one(ModelList)
    await until(pilot, lambda: any(row.name == name for row in models.rows.values()))
    await until(pilot, lambda: not pilot.app.screen.hunt.is_waiting)
    await pilot.press("down")
    await until(pilot, lambda: models.has_focus and models.chosen_row is not None)
    for _unused in range(len(models.rows)):
        if models.chosen_row.name == name:
            break
        await pilot.press("down")
    assert models.chosen_row.name == name
    return models


async def on(pilot: Pilot[Any], kind: type) -> Any:
    await until(pilot, lambda: isinstance(pilot.app.screen, kind))
    return pilot.app.screen


async def choose(pilot: Pilot[Any], label: str) -> None:
    """Choose an answer of a dialog by its words."""
    from textual.widgets import OptionList

    box = pilot.app.screen.query_one(OptionList)
    index = next(i for i, option in enumerate(box.options) if str(option.prompt).startswith(label))
    pilot.app.screen.set_focus(box)
    box.highlighted = index
    await pilot.press("enter")


@pytest.mark.parametrize("size", SIZES)
async def test_a_model_is_found_looked_at_and_taken(hub: PlayedHub, opened: Opened, size: Any) -> None:
    hub.add_demo("acme/tiny-chat", downloads=5000)
    hub.add_demo("acme/other", tags=("safetensors", f"license:{HOSTILE}"))
    shape = json.dumps(find_catalog_config("meta-llama/Llama-3.1-405B")).encode()
    hub.add("acme/huge", {"config.json": shape, "model.safetensors": b"\0" * 9}, parameters=405_853_388_800)
    async with opened(size) as pilot:
        models = await searched(pilot, "acme", "acme/huge")
        await until(pilot, lambda: "✗ " in row_of(pilot, "acme/huge"))
        assert "405.9 B" in row_of(pilot, "acme/huge")
        await until(pilot, lambda: "✓ " in row_of(pilot, "acme/tiny-chat"), 60)
        assert "901 K" in row_of(pilot, "acme/tiny-chat") and "apache-2.0" in row_of(pilot, "acme/tiny-chat")
        assert "3.6 MiB" in row_of(pilot, "acme/tiny-chat") and "\x1b" not in text(pilot)
        while models.chosen_row.name != "acme/tiny-chat":
            await pilot.press("up")
        await until(pilot, lambda: "llama · 3 layers" in text(pilot))
        shown = text(pilot)
        assert "2,048" in shown and "127.0.0.1" in shown and "needs " in shown
        assert all(len(line) <= size[0] for line in shown.splitlines())
        await pilot.press("i")
        await until(pilot, lambda: "model.safetensors" in text(pilot) and "Its page" in text(pilot))
        await pilot.press("escape", "w")
        await until(pilot, lambda: not row_of(pilot, "acme/huge"))
        assert "only what fits" in text(pilot)
        await pilot.press("enter")
        await on(pilot, SettingsScreen)
        assert pilot.app.draft["model"] == {"name": "acme/tiny-chat"}


def words_of(pilot: Pilot[Any]) -> str:
    """What a dialog says, wherever its lines are broken: paths are longer on some machines."""
    return " ".join(" ".join(str(part.content) for part in pilot.app.screen.query(Static)).split())


async def test_a_model_is_fetched_left_off_and_goes_on_from_there(hub: PlayedHub, opened: Opened) -> None:
    hub.add_demo("acme/tiny-chat")
    size = len(hub.models["acme/tiny-chat"].files["model.safetensors"])
    hub.slow(1_500_000)
    async with opened() as pilot:
        await searched(pilot, "acme", "acme/tiny-chat")
        await pilot.press("f")
        await on(pilot, FetchDialog)
        await until(pilot, lambda: "in 7 files" in text(pilot))
        assert all(words in words_of(pilot) for words in ("free in", "afterwards", "apache-2.0"))
        await pilot.press("enter")
        fetches = pilot.app.fetches
        await until(pilot, lambda: fetches.current is not None and fetches.current.done > 600_000)
        await until(pilot, lambda: "MiB/s" in text(pilot) and " of 3.6 MiB" in text(pilot))
        assert row_of(pilot, "acme/tiny-chat").lstrip().startswith("⇣")
        await pilot.press("x")
        await until(pilot, lambda: "% here" in row_of(pilot, "acme/tiny-chat"))
        await until(pilot, lambda: "press f to resume" in text(pilot))
        assert not fetches.active_jobs and [model.whole for model in list_hub_models()] == [False]
        hub.slow(None)
        before = hub.bytes_sent
        await pilot.press("f")
        await on(pilot, FetchDialog)
        await until(pilot, lambda: "of it is already on this machine" in text(pilot))
        await pilot.press("enter", "escape")  # it goes on where no screen shows it
        await on(pilot, HomeScreen)
        told = pilot.app._notifications
        await until(pilot, lambda: any("is on this machine now" in one.message for one in told))
        assert fetches.find_job("acme/tiny-chat", "huggingface").state == DONE
        assert 0 < hub.bytes_sent - before < size - 500_000
        await pilot.press("m")
        await until(pilot, lambda: row_of(pilot, "acme/tiny-chat").lstrip().startswith("●"))


async def test_two_are_fetched_in_turn_and_leaving_asks(hub: PlayedHub, opened: Opened) -> None:
    hub.add_demo("acme/one")
    hub.add_demo("acme/two")
    hub.stalled.set()
    async with opened() as pilot:
        await searched(pilot, "acme", "acme/one")
        await pilot.press("f")
        await on(pilot, FetchDialog)
        await pilot.press("enter")
        await pilot.press("down" if pilot.app.screen.query_one(ModelList).highlighted == 1 else "up", "f")
        await on(pilot, FetchDialog)
        await pilot.press("enter")
        await until(pilot, lambda: "waiting" in row_of(pilot, "acme/two") and "(+1 waits)" in text(pilot))
        await pilot.press("escape")
        await until(pilot, lambda: "⇣" in text(pilot).splitlines()[0])
        await pilot.press("ctrl+q")
        await on(pilot, ConfirmDialog)
        assert "it resumes from there" in text(pilot) and "tui-tuner models fetch acme/one" in text(pilot)
        await pilot.press("n")
        await on(pilot, HomeScreen)
        assert [job.name for job in pilot.app.fetches.active_jobs] == ["acme/one", "acme/two"]


async def test_a_gated_model_leads_to_the_login(hub: PlayedHub, opened: Opened, tmp_path: Path) -> None:
    hub.add_demo("acme/gated", gated=True, readers={TOKEN})
    async with opened() as pilot:
        await searched(pilot, "acme", "acme/gated")
        await until(pilot, lambda: "accept its terms at" in text(pilot))
        assert "gated" in row_of(pilot, "acme/gated")
        await pilot.press("f")
        await on(pilot, FetchDialog)
        await pilot.press("enter")
        fetches = pilot.app.fetches
        await until(pilot, lambda: fetches.jobs and fetches.jobs[0].state == FAILED)
        await pilot.press("f")
        await on(pilot, FailedDialog)
        assert f"{hub.url}/acme/gated" in flat(pilot)
        await choose(pilot, "Log in")
        dialog = await on(pilot, LoginDialog)
        await until(pilot, lambda: "Not logged in" in text(pilot))
        pilot.app.screen.set_focus(dialog.query_one(Input))
        await pilot.press(*"hf_wrongwrongwrong", "enter")
        await until(pilot, lambda: "does not know this token" in text(pilot))
        await pilot.press(*TOKEN)
        assert TOKEN not in text(pilot) and "••••" in text(pilot)
        await pilot.press("enter")
        await until(pilot, lambda: "Logged in as anna" in text(pilot))
        assert dialog.query_one(Input).value == ""
        await pilot.press("escape")
        await until(pilot, lambda: "you have access" in text(pilot), 60)
        await pilot.press("f")
        await on(pilot, FailedDialog)
        await pilot.press("enter")
        await until(pilot, lambda: row_of(pilot, "acme/gated").lstrip().startswith("●"))
        await pilot.press("l")
        await on(pilot, LoginDialog)
        await until(pilot, lambda: "Logged in as anna" in text(pilot))
        await choose(pilot, "Log out")
        await until(pilot, lambda: "Not logged in" in text(pilot))
        assert not (tmp_path / "home" / "hf" / "token").exists()
        pilot.app.drafts.flush_draft()
    kept = [path for path in tmp_path.rglob("*") if path.is_file() and path.stat().st_size < 1_000_000]
    assert not [path for path in kept if TOKEN.encode() in path.read_bytes()]


async def test_code_of_a_model_is_asked_about(hub: PlayedHub, opened: Opened) -> None:
    hub.add_demo("acme/coded", {"modeling_acme.py": b"raise SystemExit"})
    async with opened(config={"model": {"name": "acme/before", "trust_remote_code": True}}) as pilot:
        await searched(pilot, "acme/c", "acme/coded")
        await until(pilot, lambda: "its own Python code" in text(pilot))
        await pilot.press("enter")
        await on(pilot, CodeDialog)
        await choose(pilot, "Choose it, without running")
        await on(pilot, SettingsScreen)
        assert pilot.app.draft["model"] == {"name": "acme/coded", "trust_remote_code": False}
        await pilot.press("escape")
        await searched(pilot, "acme/c", "acme/coded")
        await until(pilot, lambda: "its own Python code" in text(pilot))
        await pilot.press("enter")
        await on(pilot, CodeDialog)
        await choose(pilot, "Choose it, and allow its code")
        await on(pilot, SettingsScreen)
        assert pilot.app.draft["model"]["trust_remote_code"] is True


async def test_a_full_disk_shows_what_takes_the_room(
    hub: PlayedHub, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    hub.add_demo("acme/small")
    hub.add_demo("acme/tiny-chat")
    async with opened() as pilot:
        await searched(pilot, "acme", "acme/small")
        await pilot.press("f")
        await on(pilot, FetchDialog)
        await pilot.press("enter")
        await until(pilot, lambda: row_of(pilot, "acme/small").lstrip().startswith("●"))
        monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage(10, 9, 1))
        models = pilot.app.screen.query_one(ModelList)
        while models.chosen_row.name != "acme/tiny-chat":
            await pilot.press("down")
        await pilot.press("f")
        await on(pilot, FetchDialog)
        await until(pilot, lambda: "not enough" in words_of(pilot))
        await pilot.press("enter")
        await until(pilot, lambda: row_of(pilot, "acme/tiny-chat").lstrip().startswith("✗"))
        await pilot.press("f")
        await on(pilot, FailedDialog)
        await choose(pilot, "See what takes up the room")
        await until(pilot, lambda: "largest first" in text(pilot))
        assert next(iter(models.rows.values())).name == "acme/small"


@pytest.mark.parametrize("how", ["offline", "refused", "broken"])
async def test_without_a_hub_the_models_of_this_machine_are_listed(
    hub: PlayedHub, opened: Opened, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    from huggingface_hub import constants

    if how == "offline":
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    elif how == "refused":
        with socket.create_server(("127.0.0.1", 0)) as server:
            monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.getsockname()[1]}")
    else:
        hub.refuse("/api/models", 503)
    async with opened() as pilot:
        await pilot.press("m")
        await until(pilot, lambda: "● demo" in text(pilot) and "✓" in row_of(pilot, "demo"))
        await pilot.press(*"smol", "enter")
        await until(pilot, lambda: "Press r to try again" in flat(pilot))
        assert "HuggingFaceTB/SmolLM2-135M" in text(pilot) and "✗" in text(pilot)
        if how == "broken":
            hub.heal()
            hub.add_demo("acme/smol-one")
            await pilot.press("r")
            await until(pilot, lambda: row_of(pilot, "acme/smol-one"))
            assert "Press r to try again" not in flat(pilot)


async def test_a_hub_that_does_not_answer_holds_up_no_key(
    hub: PlayedHub, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    with socket.create_server(("127.0.0.1", 0), backlog=16) as silent:  # connects, and says nothing
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        async with opened((120, 40)) as pilot:
            await pilot.press("m")
            await on(pilot, ModelsScreen)
            await pilot.press(*"smol", "enter")
            await until(pilot, lambda: "Asking Hugging Face… 1 s" in text(pilot))
            await until(pilot, lambda: text(pilot).count("✓") >= 4, 60)
            assert pilot.app.screen.hunt.is_waiting
            await pilot.press("enter")  # takes the first known one, unasked
            await on(pilot, SettingsScreen)
            assert pilot.app.draft["model"]["name"].startswith("HuggingFaceTB/SmolLM2-135M")


async def test_another_hub_and_a_name_that_is_wrong(hub: PlayedHub, opened: Opened) -> None:
    hub.add_demo("acme/tiny-chat")
    async with opened() as pilot:
        await searched(pilot, "acme/tiny-chta", "acme/tiny-chta")
        assert "As typed" in text(pilot)
        await until(pilot, lambda: "Did you mean acme/tiny-chat?" in flat(pilot))
        await pilot.press("slash", *(["backspace"] * 3), "h")
        await until(pilot, lambda: row_of(pilot, "acme/tiny-chat"))
        await pilot.press("down", "h")
        await until(pilot, lambda: "ModelScope" in text(pilot).splitlines()[0])
        await until(pilot, lambda: "Found on ModelScope" in text(pilot))
        await until(pilot, lambda: "llama · 3 layers" in text(pilot))
        await pilot.press("enter")
        await on(pilot, SettingsScreen)
        assert pilot.app.draft["model"] == {"name": "acme/tiny-chat", "hub": "modelscope"}


async def test_a_word_that_names_an_embedded_model_leads_to_what_the_hub_found(
    hub: PlayedHub, opened: Opened
) -> None:
    hub.add_demo("acme/tiny-chat")
    async with opened() as pilot:
        await pilot.press("m")
        screen = await on(pilot, ModelsScreen)
        await until(pilot, lambda: "✗ unsuited" in row_of(pilot, "tiny"))
        await pilot.press(*"tiny", "enter")
        await until(pilot, lambda: row_of(pilot, "acme/tiny-chat") and screen.model_list.has_focus)
        assert row_of(pilot, "tiny") and screen.model_list.chosen_row.name == "acme/tiny-chat"


async def test_the_data_screen_asks_for_a_model(hub: PlayedHub, opened: Opened, tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text(json.dumps({"instruction": "Say a colour.", "output": "Blue."}) + "\n")
    async with opened(config={"model": {"name": "tiny"}, "data": {"path": str(rows)}}) as pilot:
        await pilot.press("d")
        await on(pilot, DataScreen)
        await until(pilot, lambda: "tokens of tiny" in text(pilot))
        await pilot.press("m")
        screen = await on(pilot, ModelsScreen)
        await until(pilot, lambda: screen.hunt.looked)
        await pilot.press("down", "up")
        assert screen.query_one(ModelList).chosen_row.name == "demo"
        await pilot.press("enter")
        await on(pilot, DataScreen)
        await until(pilot, lambda: "tokens of demo" in text(pilot))


async def test_the_form_asks_for_a_model_on_f6(hub: PlayedHub, opened: Opened) -> None:
    hub.add_demo("acme/tiny-chat")
    draft = {"model": {"name": "acme/before", "revision": "v2"}, "data": {"path": "demo"}}
    async with opened(config=draft) as pilot:
        pilot.app.open_settings()
        await on(pilot, SettingsScreen)
        await pilot.press("enter", "down")
        await until(pilot, lambda: "model.name" in text(pilot) and "f6" in text(pilot))
        await pilot.press("f6")
        screen = await on(pilot, ModelsScreen)
        await pilot.press(*"acme/tiny", "enter")
        models = screen.query_one(ModelList)
        await until(
            pilot, lambda: models.chosen_row is not None and models.chosen_row.name == "acme/tiny-chat"
        )
        await pilot.press("enter")
        await on(pilot, SettingsScreen)
        await until(pilot, lambda: "acme/tiny-chat" in text(pilot))
        assert pilot.app.draft["model"] == {"name": "acme/tiny-chat", "revision": None}
