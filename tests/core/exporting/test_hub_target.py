"""An export is sent to a hub: only the server is played."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from peft import LoraConfig

from tests.core.exporting.adapters import TARGETS, write_adapter, write_base
from tests.core.exporting.upload_hub import UploadHub
from tui_tuner.errors import HubError, UsageError
from tui_tuner.exporting.exporting import export_model
from tui_tuner.exporting.target import ExportOptions
from tui_tuner.inference.origin import Origin, find_origin
from tui_tuner.runs.store import RunStore


@pytest.fixture
def adapter(tmp_path: Path, tiny_tokenizer: Any) -> Origin:
    base = write_base(tmp_path / "base", tiny_tokenizer)
    place = write_adapter(base, tmp_path / "adapter", LoraConfig(r=4, target_modules=TARGETS))
    return find_origin(str(place), RunStore(tmp_path / "runs"))


def options(**more: Any) -> ExportOptions:
    return ExportOptions("hub", **{"repo": "tiny", "parity": False, **more})


def test_an_adapter_is_sent_to_a_private_repository(
    adapter: Origin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with UploadHub() as hub:
        hub.in_this_process(monkeypatch, tmp_path)
        found = export_model(adapter, options())
    repo = hub.repos["anna/tiny"]
    assert repo["private"] is True and "anna/tiny" in found.address
    sent = repo["files"]
    assert sent["adapter_model.safetensors"] == (tmp_path / "adapter/adapter_model.safetensors").read_bytes()
    assert {"README.md", "adapter_config.json", "parity.json", "tokenizer.json"} <= sent.keys()
    assert not found.folder and not any(name.startswith(".") for name in sent)


def test_a_merged_model_is_sent_and_kept_where_a_folder_is_named(
    adapter: Origin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with UploadHub() as hub:
        hub.in_this_process(monkeypatch, tmp_path)
        export_model(
            adapter, options(repo="acme/big", merge=True, private=False, output=str(tmp_path / "kept"))
        )
    files = hub.repos["acme/big"]["files"]
    assert files["model.safetensors"] == (tmp_path / "kept" / "model.safetensors").read_bytes()


@pytest.mark.parametrize(
    ("role", "repo", "token", "says"),
    [
        ("read", "tiny", "", "may only read"),
        ("write", "other/tiny", "", "belongs to other"),
        ("write", "tiny", "hf_" + "c" * 34, "may not write"),
    ],
)
def test_who_may_not_write_is_told_before_the_work(
    role: str,
    repo: str,
    token: str,
    says: str,
    adapter: Origin,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with UploadHub(role) as hub:
        hub.in_this_process(monkeypatch, tmp_path, *([token] if token else []))
        with pytest.raises(HubError, match=says) as caught:
            export_model(adapter, options(repo=repo, output=str(tmp_path / "out")))
    assert not hub.repos and not list(tmp_path.glob("out*"))
    assert "hf_" not in str(caught.value)


def test_nobody_logged_in_and_a_public_repository_are_refused(
    adapter: Origin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with UploadHub() as hub:
        hub.in_this_process(monkeypatch, tmp_path)
        hub.repos["anna/tiny"] = {"private": False, "files": {}}
        with pytest.raises(UsageError, match="everybody can see it"):
            export_model(adapter, options())
        monkeypatch.delenv("HF_TOKEN")
        with pytest.raises(HubError, match="nobody is logged in"):
            export_model(adapter, options())


def test_rights_that_are_missing_only_at_the_end_are_told(
    adapter: Origin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with UploadHub() as hub:
        hub.in_this_process(monkeypatch, tmp_path)
        hub.refuse_commits = True
        with pytest.raises(HubError, match="may not write there"):
            export_model(adapter, options(output=str(tmp_path / "out")))
    assert (tmp_path / "out" / "adapter_config.json").is_file(), "what was written and proved stays"
