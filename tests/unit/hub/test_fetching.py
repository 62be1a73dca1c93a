"""Fetching a model: the real client of the hub, against a hub played by a local server."""

from __future__ import annotations

import errno
import os
import shutil
import threading
import time
from collections import namedtuple
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import pytest

from tests.hub_server import TOKEN, PlayedHub, hub
from tui_tuner.errors import DiskFullError, HubError, ModelError
from tui_tuner.models.hub import api, fetching, transfer
from tui_tuner.models.hub.kinds import SOURCES, FetchCancelled, Progress

__all__ = ["hub"]
WEIGHTS = "model.safetensors"
OTHERS = {"pytorch_model.bin": b"p" * 200_000, "onnx/model.onnx": b"o" * 1000, "model.gguf": b"g" * 1000}


@pytest.fixture
def tiny(hub: PlayedHub) -> PlayedHub:
    hub.add_demo("acme/tiny", OTHERS)
    return hub


def size_of_weights(hub: PlayedHub) -> int:
    return len(hub.models["acme/tiny"].files[WEIGHTS])


def part_on_disk(home: Path) -> int:
    """Measure the largest unfinished file while threads of a fetch add, move and delete files."""
    sizes = [0]
    for folder, _folders, names in os.walk(home):
        in_parts = Path(folder).name == ".parts"
        for name in names:
            if name.endswith(".incomplete") or (in_parts and not name.endswith(".lock")):
                with suppress(FileNotFoundError):  # it became whole since the folder was read
                    sizes.append((Path(folder) / name).stat().st_size)
    return max(sizes)


@pytest.mark.parametrize("source", SOURCES)
def test_only_what_is_needed_is_fetched_and_loads_without_a_network(
    tiny: PlayedHub, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[Progress] = []
    folder = api.fetch_hub_model("acme/tiny", source=source, progress=said.append)
    names = {
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.name.startswith(".")
    }
    assert {
        "config.json",
        "tokenizer.json",
        "generation_config.json",
        "chat_template.jinja",
        WEIGHTS,
    } <= names
    assert not names & OTHERS.keys() and not set(tiny.sent) & OTHERS.keys()
    assert (said[-1].done, said[-1].files_done) == (said[-1].total, 7)
    assert all(one.done <= two.done for one, two in pairwise(said))
    assert not [path for _method, path, _range in tiny.requests if "xet" in path]
    # what is here is asked for once more, and not fetched
    before = tiny.bytes_sent
    assert api.fetch_hub_model("acme/tiny", source=source) == folder and tiny.bytes_sent == before
    # and it is found where no hub can be asked
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert api.fetch_hub_model("acme/tiny", source=source) == folder
    if source == "huggingface":
        from huggingface_hub import snapshot_download

        found = snapshot_download("acme/tiny", cache_dir=constants.HF_HUB_CACHE, local_files_only=True)
        assert Path(found) == folder
    from transformers import AutoModelForCausalLM

    assert AutoModelForCausalLM.from_pretrained(folder, local_files_only=True).num_parameters() > 900_000


@pytest.mark.parametrize("source", SOURCES)
def test_a_broken_connection_goes_on_where_it_broke(tiny: PlayedHub, source: str) -> None:
    tiny.break_after(WEIGHTS, 1_000_000)
    said: list[Progress] = []
    api.fetch_hub_model("acme/tiny", source=source, progress=said.append)
    assert tiny.bytes_sent == size_of_weights(tiny)
    assert {wanted for _m, _p, wanted in tiny.requests if wanted} == {"bytes=1000000-"}
    assert any("resuming in" in one.note for one in said)


@pytest.mark.parametrize("ranges", ["none", "other"])
def test_a_server_that_cannot_go_on_sends_all_again(tiny: PlayedHub, ranges: str) -> None:
    tiny.ranges = ranges
    tiny.break_after(WEIGHTS, 2_000_000)
    folder = api.fetch_hub_model("acme/tiny")
    assert (folder / WEIGHTS).read_bytes() == tiny.models["acme/tiny"].files[WEIGHTS]


def test_a_server_that_never_sends_more_than_before_is_left(
    tiny: PlayedHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bytes that come again, after those of a shorter answer, are no progress."""
    monkeypatch.setattr(transfer, "compute_retry_pause", lambda error, attempt: 0.0)
    tiny.ranges = "none"
    for _n in range(20):
        tiny.break_after(WEIGHTS, 300_000)
        tiny.break_after(WEIGHTS, 200_000)
    with pytest.raises(HubError, match="cannot be reached"):
        api.fetch_hub_model("acme/tiny")


def test_a_very_large_file_is_asked_for_in_turns(tiny: PlayedHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "MOST_AT_ONCE", 1_500_000)
    said: list[Progress] = []
    folder = api.fetch_hub_model("acme/tiny", progress=said.append)
    assert (folder / WEIGHTS).read_bytes() == tiny.models["acme/tiny"].files[WEIGHTS]
    asked = [wanted for _m, path, wanted in tiny.requests if wanted and WEIGHTS in path and "/cdn/" in path]
    assert asked == ["bytes=0-1499999", "bytes=1500000-2999999", "bytes=3000000-"]
    assert tiny.bytes_sent == size_of_weights(tiny) and not any(one.note for one in said)


def test_an_address_of_a_file_that_holds_no_longer_is_asked_for_anew(
    tiny: PlayedHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny.refuse("/cdn/", 403, times=2, body="<Error><Code>AccessDenied</Code></Error>")
    api.fetch_hub_model("acme/tiny")
    assert tiny.bytes_sent == size_of_weights(tiny)
    monkeypatch.setattr(transfer, "compute_retry_pause", lambda error, attempt: 0.0)
    tiny.models["acme/tiny"].files[WEIGHTS] += b" "
    tiny.models["acme/tiny"].commit = "d" * 40
    tiny.refuse("/cdn/", 404)
    with pytest.raises(HubError, match=r"localhost refuses \(error 404\)") as told:
        api.fetch_hub_model("acme/tiny")
    assert "token" not in str(told.value) and "is not on" not in str(told.value)


def test_a_bare_refusal_blames_no_token_where_there_is_none(tiny: PlayedHub) -> None:
    tiny.refuse("/api/models/acme/", 401)
    with pytest.raises(HubError, match="A private model needs a login") as told:
        api.fetch_hub_model("acme/tiny")
    assert "this token" not in str(told.value)


@pytest.mark.parametrize("source", SOURCES)
def test_a_fetch_that_was_stopped_goes_on_where_it_was(tiny: PlayedHub, source: str, tmp_path: Path) -> None:
    tiny.slow(2_000_000)
    with pytest.raises(FetchCancelled):
        api.fetch_hub_model("acme/tiny", source=source, cancelled=lambda: part_on_disk(tmp_path) > 300_000)
    kept = part_on_disk(tmp_path)
    [partial] = [one for one in api.list_hub_models(tmp_path) if one.name == "acme/tiny"]
    assert not partial.whole and partial.missing == "an unfinished download" and partial.bytes >= kept
    assert api.describe_hub_model("acme/tiny", source=source).here >= kept
    time.sleep(0.1)  # the server notices that nobody listens
    tiny.slow(None)
    tiny.sent.clear()
    said: list[Progress] = []
    api.fetch_hub_model("acme/tiny", source=source, progress=said.append)
    assert tiny.bytes_sent == size_of_weights(tiny) - kept
    assert next(one for one in said if one.total).done >= kept  # said at once, before anything moves
    assert [one.whole for one in api.list_hub_models(tmp_path)] == [True]


def test_two_that_fetch_the_same_fetch_it_once(tiny: PlayedHub) -> None:
    tiny.slow(4_000_000)
    notes: set[str] = set()
    with ThreadPoolExecutor(2) as pool:
        asked = [
            pool.submit(api.fetch_hub_model, "acme/tiny", progress=lambda at: notes.add(at.note))
            for _n in (1, 2)
        ]
        assert len({one.result() for one in asked}) == 1
    assert tiny.bytes_sent == size_of_weights(tiny)
    assert "another process is fetching it" in notes


def test_a_tokenizer_alone(tiny: PlayedHub, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = api.fetch_hub_model("acme/tiny", weights=False)
    assert (folder / "tokenizer.json").is_file() and not tiny.bytes_sent
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert api.fetch_hub_model("acme/tiny", weights=False) == folder
    with pytest.raises(HubError, match="HF_HUB_OFFLINE"):
        api.fetch_hub_model("acme/tiny")


def test_a_server_that_says_nothing_holds_nobody(tiny: PlayedHub) -> None:
    tiny.stalled.set()
    asked = threading.Event()
    threading.Timer(0.5, asked.set).start()
    began = time.monotonic()
    with pytest.raises(FetchCancelled):
        api.fetch_hub_model("acme/tiny", cancelled=asked.is_set)
    assert time.monotonic() - began < fetching.LET_GO_SECONDS + 5
    assert not [t for t in threading.enumerate() if t.name.startswith("fetch-") and t.is_alive()]
    tiny.heal()


def test_what_arrives_damaged_is_fetched_again_and_never_kept(tiny: PlayedHub, tmp_path: Path) -> None:
    tiny.spoil(WEIGHTS)
    folder = api.fetch_hub_model("acme/tiny")
    assert tiny.bytes_sent == 2 * size_of_weights(tiny)
    assert (folder / WEIGHTS).read_bytes() == tiny.models["acme/tiny"].files[WEIGHTS]
    shutil.rmtree(tmp_path / "home")
    tiny.spoil(WEIGHTS, times=2)
    with pytest.raises(HubError, match="damaged twice"):
        api.fetch_hub_model("acme/tiny")
    assert part_on_disk(tmp_path) == 0


def test_a_file_of_another_size_is_fetched_again(tiny: PlayedHub) -> None:
    folder = api.fetch_hub_model("acme/tiny")
    blob = (folder / WEIGHTS).resolve()
    blob.write_bytes(blob.read_bytes()[:1000])
    tiny.sent.clear()
    api.fetch_hub_model("acme/tiny")
    assert tiny.bytes_sent == size_of_weights(tiny)
    assert (folder / WEIGHTS).stat().st_size == size_of_weights(tiny)


def test_a_new_commit_of_a_branch_takes_what_has_changed(tiny: PlayedHub) -> None:
    old = api.fetch_hub_model("acme/tiny")
    model = tiny.models["acme/tiny"]
    model.commit, model.files["README.md"] = "d" * 40, b"another text"
    tiny.sent.clear()
    new = api.fetch_hub_model("acme/tiny")
    assert new != old and (new / "README.md").read_bytes() == b"another text"
    assert set(tiny.sent) == {"README.md"}
    assert (old / WEIGHTS).resolve() == (new / WEIGHTS).resolve()


def test_a_model_that_changed_works_until_all_of_the_new_one_has_come(
    tiny: PlayedHub, tmp_path: Path
) -> None:
    """ModelScope keeps one folder for a branch; Hugging Face has one for each commit."""
    files = tiny.models["acme/tiny"].files
    folder = api.fetch_hub_model("acme/tiny", source="modelscope")
    (folder / "mine.txt").write_text("of the user")
    before = {name: (folder / name).read_bytes() for name in ("config.json", WEIGHTS)}
    shard = "model-00001-of-00001.safetensors"
    files[shard] = files.pop(WEIGHTS)[::-1]
    files["config.json"] += b"\n"
    files["model.safetensors.index.json"] = b'{"weight_map": {"a": "%s"}}' % shard.encode()
    tiny.slow(2_000_000)
    with pytest.raises(FetchCancelled):
        api.fetch_hub_model(
            "acme/tiny", source="modelscope", cancelled=lambda: part_on_disk(tmp_path) > 300_000
        )
    assert {name: (folder / name).read_bytes() for name in before} == before
    tiny.slow(None)
    time.sleep(0.1)  # the server notices that nobody listens
    tiny.sent.clear()
    assert api.fetch_hub_model("acme/tiny", source="modelscope") == folder
    assert "config.json" not in tiny.sent  # it was waiting for the others
    assert (folder / shard).read_bytes() == files[shard] and not (folder / WEIGHTS).exists()
    assert (folder / "config.json").read_bytes() == files["config.json"]
    assert (folder / "mine.txt").exists()
    tiny.sent.clear()
    api.fetch_hub_model("acme/tiny", source="modelscope")
    assert not tiny.sent


def test_shards_come_by_their_index_and_other_formats_do_not(hub: PlayedHub) -> None:
    shards = [f"model-0000{number}-of-00002.safetensors" for number in (1, 2)]
    index = b'{"weight_map": {"a": "%s", "b": "%s"}}' % tuple(name.encode() for name in shards)
    files = {"config.json": b"{}", "model.safetensors.index.json": index, "consolidated.safetensors": b"c"}
    hub.add("acme/shards", {**files, **dict.fromkeys(shards, b"weights"), "../evil.json": b"x"})
    folder = api.fetch_hub_model("acme/shards")
    assert {path.name for path in folder.iterdir()} == {*files, *shards} - {"consolidated.safetensors"}


def test_a_model_without_safetensors_is_refused_before_a_byte(hub: PlayedHub) -> None:
    hub.add("acme/pickle", {"config.json": b"{}", "pytorch_model.bin": b"p" * 1000})
    with pytest.raises(ModelError, match="Python pickles"):
        api.fetch_hub_model("acme/pickle")
    assert not hub.sent


def test_too_little_room_is_said_before_a_byte(tiny: PlayedHub, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10_000_000, 9_000_000, 1_000_000))
    with pytest.raises(DiskFullError, match=r"needs 4\.6 MiB more, but only 976\.6 KiB are free"):
        api.fetch_hub_model("acme/tiny")
    assert not tiny.sent


def test_a_disk_that_becomes_full_leaves_what_can_be_gone_on_from(
    tiny: PlayedHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_500_000, before[1]))  # no file can grow beyond it
    try:
        with pytest.raises(DiskFullError, match="the disk is full") as told:
            api.fetch_hub_model("acme/tiny")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert os.strerror(errno.EFBIG) in str(told.value) and "resume from there" in str(told.value)
    kept = part_on_disk(tmp_path)
    assert kept == 1_500_000
    tiny.sent.clear()
    api.fetch_hub_model("acme/tiny")
    assert tiny.bytes_sent == size_of_weights(tiny) - kept


def test_a_busy_hub_is_waited_for_and_a_broken_one_is_told(tiny: PlayedHub) -> None:
    tiny.refuse("/cdn/", 429, times=1, headers={"Retry-After": "1"})
    tiny.refuse("/cdn/", 503, times=1)
    said: list[Progress] = []
    api.fetch_hub_model("acme/tiny", progress=said.append)
    assert tiny.bytes_sent == size_of_weights(tiny)
    assert any("too many requests" in one.note for one in said)


def test_a_hub_that_wants_long_waits_is_told(tiny: PlayedHub) -> None:
    tiny.refuse("/cdn/", 429, headers={"Retry-After": "3000"})
    with pytest.raises(HubError, match=r"asks to wait 50 min"):
        api.fetch_hub_model("acme/tiny")


def test_a_token_is_for_the_hub_alone(tiny: PlayedHub, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights come from another host, which is shown none; and a gated model comes with one."""
    model = tiny.models["acme/tiny"]
    model.gated = True
    with pytest.raises(HubError, match=r"gated.*accept the terms.*models login"):
        api.fetch_hub_model("acme/tiny")
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with pytest.raises(HubError, match="gated"):  # known, but has not accepted
        api.fetch_hub_model("acme/tiny")
    model.readers.add(TOKEN)
    tiny.authorized.clear()
    api.fetch_hub_model("acme/tiny")
    by_host = {host.partition(":")[0]: shown for host, shown in tiny.authorized}
    assert by_host == {"127.0.0.1": True, "localhost": False}
