"""The cache of tokens: checked whenever it is opened, private, and cleaned without harm."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import time
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from chat_templates import CHATML
from small_tokenizers import byte_level

from tests.conftest import Recorder
from tui_tuner.config.load import build_config
from tui_tuner.data.examples import cache
from tui_tuner.data.examples.prepare import PreparedRows, prepare_examples
from tui_tuner.data.examples.store import TokenStore, find_store_damage
from tui_tuner.tasks import find_task

MAIN = [sys.executable, "-c", "from tui_tuner.cli import main; main()"]


@pytest.fixture
def tokenizer() -> Any:
    found = byte_level(CHATML.specials, None, CHATML.eos)
    found.chat_template = CHATML.template
    return found


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's own cache, empty, in a folder of the test."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    return tmp_path / "home" / "tui-tuner" / "tokens"


def made(tmp_path: Path, tokenizer: Any, name: str = "a", count: int = 30) -> tuple[PreparedRows, Recorder]:
    path = tmp_path / f"{name}.jsonl"
    rows = [{"prompt": f"question {i}{name}?", "response": f"answer {i}!"} for i in range(count)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    heard = Recorder()
    config = build_config({"data": {"path": str(path), "workers": 1, "validation": 0}})
    return prepare_examples(config, tokenizer, find_task("sft"), sink=heard), heard


def ids_of(found: PreparedRows) -> list[list[int]]:
    return [found.train[i].ids.tolist() + found.train[i].labels.tolist() for i in range(len(found.train))]


def codes(heard: Recorder) -> list[str]:
    return [fields["code"] for fields in heard.of("warning")]


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


# ---- damage -----------------------------------------------------------------------------------------------


def test_a_flipped_bit_anywhere_is_found_and_never_trained(
    tmp_path: Path, tokenizer: Any, root: Path
) -> None:
    first, _heard = made(tmp_path, tokenizer)
    folder = first.train.store.folder
    assert folder.parent == root and find_store_damage(folder) == ""
    whole = ids_of(first)
    names = sorted(path.name for path in folder.iterdir())
    assert {"ids.bin", "labels.bin", "records.bin", "meta.json", "offset.bin"} <= set(names)
    for name in names:
        data = bytearray((folder / name).read_bytes())
        data[len(data) // 2] ^= 1
        (folder / name).write_bytes(data)
        again, heard = made(tmp_path, tokenizer)
        assert codes(heard) == ["cache_damaged"] and name in heard.of("warning")[0]["message"], name
        assert ids_of(again) == whole and find_store_damage(folder) == ""
    _again, heard = made(tmp_path, tokenizer)
    assert not codes(heard) and heard.of("phase")[-1]["note"] == "cached"


@pytest.mark.parametrize("harm", ["cut", "longer", "gone", "empty_meta", "list_meta", "meta_without_sum"])
def test_a_store_of_another_shape_is_made_anew(tmp_path: Path, tokenizer: Any, root: Path, harm: str) -> None:
    first, _heard = made(tmp_path, tokenizer)
    whole, folder = ids_of(first), first.train.store.folder
    ids, meta = folder / "ids.bin", folder / "meta.json"
    match harm:
        case "cut":
            os.truncate(ids, 7)
        case "longer":
            ids.write_bytes(ids.read_bytes() + b"1234")
        case "gone":
            ids.unlink()
        case "empty_meta":
            meta.write_bytes(b"")
        case "list_meta":
            meta.write_bytes(b"%d\n[]\n" % zlib.crc32(b"[]"))
        case "meta_without_sum":
            meta.write_bytes(meta.read_bytes().split(b"\n", 1)[1])
    again, heard = made(tmp_path, tokenizer)
    assert codes(heard) == ["cache_damaged"] and ids_of(again) == whole
    assert again.train.store.folder == folder and not codes(made(tmp_path, tokenizer)[1])


def test_what_else_lies_in_the_cache_harms_nothing(tmp_path: Path, tokenizer: Any, root: Path) -> None:
    first, _heard = made(tmp_path, tokenizer)
    key = first.train.store.folder.name
    other = root / "holiday photos"
    other.mkdir()
    (other / "a.jpg").write_bytes(b"x")
    (root / "notes.txt").write_text("mine")
    (root / ("0" * 32)).write_text("a file by the name of a store")
    (first.train.store.folder / "foreign.bin").write_bytes(b"x")
    long_ago = time.time() - 400 * 86400
    for path in (other, root / "notes.txt"):
        os.utime(path, (long_ago, long_ago))
    again, heard = made(tmp_path, tokenizer)
    assert ids_of(again) == ids_of(first) and not codes(heard)
    made(tmp_path, tokenizer, "b")
    assert (other / "a.jpg").exists() and (root / "notes.txt").exists(), "not ours to delete"
    assert {one.key for one in cache.list_cached_stores(root)} >= {key} and len(
        cache.list_cached_stores(root)
    ) == 2


@pytest.mark.parametrize("what", ["half", "file", "link"])
def test_what_stands_in_the_way_of_a_store_is_replaced(
    tmp_path: Path, tokenizer: Any, root: Path, what: str
) -> None:
    first, _heard = made(tmp_path, tokenizer)
    folder, whole = first.train.store.folder, ids_of(first)
    elsewhere = tmp_path / "elsewhere"
    folder.rename(elsewhere)
    if what == "half":
        folder.mkdir()
        (folder / "ids.bin").write_bytes(b"\0" * 12)
    elif what == "file":
        folder.write_text("")
    else:
        (elsewhere / "meta.json").unlink()
        folder.symlink_to(elsewhere)
    again, _heard = made(tmp_path, tokenizer)
    assert ids_of(again) == whole and again.train.store.folder == folder and not folder.is_symlink()
    assert [path.name for path in root.iterdir()] == [folder.name]
    assert (elsewhere / "ids.bin").exists(), "where a link leads nothing is deleted"


def test_a_model_that_ends_answers_otherwise_has_rows_of_its_own(
    tmp_path: Path, tokenizer: Any, root: Path
) -> None:
    from tui_tuner.data.examples.identity import make_cache_key
    from tui_tuner.data.sources.files import resolve_data_paths

    made(tmp_path, tokenizer)
    keys = set()
    for number, ends in enumerate(([0], [0, 1], [0])):
        model = tmp_path / f"model-{number}"
        model.mkdir()
        (model / "config.json").write_text('{"model_type": "llama"}')
        (model / "generation_config.json").write_text(json.dumps({"eos_token_id": ends}))
        values = {"model": {"name": str(model)}, "data": {"path": str(tmp_path / "a.jsonl")}}
        config = build_config(values)
        keys.add(
            make_cache_key(config, config.data, tokenizer, resolve_data_paths(config.data), find_task("sft"))
        )
    assert len(keys) == 2


# ---- private ----------------------------------------------------------------------------------------------


def test_only_the_user_can_read_it(tmp_path: Path, tokenizer: Any, root: Path) -> None:
    before = os.umask(0o000)
    try:
        root.mkdir(parents=True, mode=0o755)  # as an older version left it
        folder = made(tmp_path, tokenizer)[0].train.store.folder
    finally:
        os.umask(before)
    assert mode(root) == mode(folder) == 0o700
    assert {mode(path) for path in folder.iterdir()} == {0o600}


def no_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine on which the user's own cache cannot be made; the folder for everybody's passing files."""
    (tmp_path / "a file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "a file"))
    passing = tmp_path / "tmp"
    passing.mkdir()
    monkeypatch.setattr(cache.tempfile, "gettempdir", lambda: str(passing))
    return passing


def test_without_a_home_it_is_in_a_private_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    passing = no_home(monkeypatch, tmp_path)
    found = cache.find_cache_root()
    assert found == passing / f"tui-tuner-tokens-{os.geteuid()}" and mode(found) == 0o700
    assert cache.find_cache_root() == found


@pytest.mark.parametrize("trap", ["link", "writable", "file", "foreign"])
def test_a_trap_in_the_passing_folder_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trap: str
) -> None:
    passing = no_home(monkeypatch, tmp_path)
    known = passing / f"tui-tuner-tokens-{os.geteuid()}"
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    match trap:
        case "link":
            known.symlink_to(theirs)
        case "writable":
            known.mkdir()
            known.chmod(0o777)
        case "file":
            known.write_text("")
        case "foreign":
            if os.geteuid() != 0:
                pytest.skip("only root can give a folder away")
            known.mkdir(mode=0o700)
            os.chown(known, 4242, 4242)
    found = cache.find_cache_root()
    assert found != known and found.parent == passing and not found.is_symlink()
    assert mode(found) == 0o700 and found.stat().st_uid == os.geteuid()
    assert cache.find_cache_root() == found, "one for this process"
    assert not list(theirs.iterdir())


# ---- listing and cleaning ---------------------------------------------------------------------------------


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*MAIN, "cache", *arguments], capture_output=True, text=True, check=False)


def aged(folder: Path, days: float) -> None:
    then = time.time() - days * 86400
    os.utime(folder / "meta.json", (then, then))


def test_a_store_stays_readable_when_it_is_deleted(tmp_path: Path, tokenizer: Any, root: Path) -> None:
    found, _heard = made(tmp_path, tokenizer)
    whole = ids_of(found)
    store = found.train.store
    size = sum(path.stat().st_size for path in store.folder.iterdir())
    assert cache.delete_cached_stores(cache.list_cached_stores(root)) == (1, size)
    assert not store.folder.exists()
    assert ids_of(found) == whole and store.read_record(29)["messages"][1]["content"] == "answer 29!"


def test_what_a_run_uses_is_left_alone(tmp_path: Path, tokenizer: Any, root: Path) -> None:
    used, _heard = made(tmp_path, tokenizer)
    folder = used.train.store.folder
    made(tmp_path, tokenizer, "b")
    done = run("clean", "--all", "--yes", "--json")
    assert json.loads(done.stdout) == {
        "folder": str(root),
        "deleted": 1,
        "bytes": json.loads(done.stdout)["bytes"],
        "left": 1,
        "in_use": 1,
    }
    assert [one.in_use for one in cache.list_cached_stores(root)] == [True] and folder.exists()
    del used
    assert "deleted 1 store" in run("clean", "--all", "--yes").stdout and not folder.exists()


def test_list_names_what_is_there(tmp_path: Path, tokenizer: Any, root: Path) -> None:
    found, _heard = made(tmp_path, tokenizer)
    folder, tokens = found.train.store.folder, int(found.train.lengths.sum())
    size = sum(path.stat().st_size for path in folder.iterdir())
    del found
    left = root / f".{'a' * 32}.12345678"
    left.mkdir()
    (left / "ids.bin").write_bytes(b"1234")
    (root / ("b" * 32)).mkdir()
    (root / ("b" * 32) / "meta.json").write_bytes(b"{}")
    listed = json.loads(run("list", "--json").stdout)
    assert listed["folder"] == str(root)
    by_state = {one["state"]: one for one in listed["stores"]}
    assert set(by_state) == {"complete", "unfinished", "damaged"}
    whole = by_state["complete"]
    assert whole["key"] == folder.name and whole["rows"] == 30 and whole["tokens"] == tokens
    assert whole["bytes"] == size and whole["data"] == [str(tmp_path / "a.jsonl")] and whole["complete"]
    assert whole["task"] == "sft" and whole["model"] == "demo" and not whole["in_use"]
    assert listed["bytes"] == size + 4 + 2
    text = run("list").stdout
    assert folder.name[:12] in text and "a.jsonl" in text and f"{tokens:,} tokens" in text
    assert "unfinished" in text and "damaged" in text and "3 stores" in text


def test_clean_takes_what_is_old_damaged_or_never_finished(
    tmp_path: Path, tokenizer: Any, root: Path
) -> None:
    names = {name: made(tmp_path, tokenizer, name)[0].train.store.folder for name in "abc"}
    aged(names["a"], 31)
    aged(names["b"], 8)
    broken = root / ("b" * 32)
    broken.mkdir()
    (broken / "meta.json").write_bytes(b"{}")
    left = root / f".{'a' * 32}.12345678"
    left.mkdir()
    old = time.time() - 3600
    os.utime(left, (old, old))
    writing = root / f".{'c' * 32}.12345678"
    writing.mkdir()  # a moment ago: it may be about to get its name
    asked = run("clean")
    assert asked.returncode == 2 and "--yes" in asked.stderr and names["a"].exists()
    assert "deleted 3 stores" in run("clean", "--yes").stdout
    assert sorted(root.iterdir()) == sorted([writing, names["b"], names["c"]])
    assert "deleted 1 store" in run("clean", "--older-than", "7", "--yes").stdout
    assert sorted(root.iterdir()) == sorted([writing, names["c"]])
    both = run("clean", "--older-than", "7", "--all", "--yes")
    assert both.returncode == 2 and names["c"].exists()
    assert "deleted 1 store" in run("clean", "--all", "--yes").stdout
    assert run("clean", "--yes").returncode == 0 and list(root.iterdir()) == [writing]


def test_a_store_that_is_being_written_is_left_alone(tmp_path: Path, root: Path) -> None:
    from tui_tuner.data.examples.store import StoreWriter

    folder = root / f".{'d' * 32}.12345678"
    with StoreWriter(folder):
        old = time.time() - 3600
        os.utime(folder, (old, old))
        assert [(one.state, one.in_use) for one in cache.list_cached_stores(root)] == [("unfinished", True)]
        assert cache.select_stores_for_deletion(cache.list_cached_stores(root), every=True) == []
    assert [one.path for one in cache.select_stores_for_deletion(cache.list_cached_stores(root))] == [
        folder
    ], "its process died"


# ---- what the rows of a run are ---------------------------------------------------------------------------


def test_rows_are_told_apart_by_what_they_hold_and_not_by_where_it_lies(
    tmp_path: Path, tokenizer: Any
) -> None:
    from tui_tuner.data.examples.identity import digest_rows
    from tui_tuner.data.examples.store import StoreWriter, TokenizedRows
    from tui_tuner.data.records import Example, Origin

    def store(name: str, examples: list[list[int]], mark: int = 5) -> TokenStore:
        folder = tmp_path / name
        with StoreWriter(folder, {"label": "int64"}) as writer:
            for number, ids in enumerate(examples):
                labels = np.array([*ids[1:], -100], dtype=np.int32)
                example = Example(np.array(ids, dtype=np.int32), labels, {"label": mark})
                writer.add_row(Origin("f", number), 0, [example], {}, number)
            writer.finish_store({})
        return TokenStore(folder)

    one = store("one", [[1, 2], [3, 4, 5], [6, 7], [8, 9]])
    identity = lambda where, rows: digest_rows(TokenizedRows(where, np.array(rows)))  # noqa: E731
    base = identity(one, [0, 1, 3])
    assert base == identity(store("other", [[8, 8], [1, 2], [3, 4, 5], [8, 9]]), [1, 2, 3])
    assert len({base, identity(one, [0, 1, 2]), identity(one, [1, 0, 3]), identity(one, [0, 1, 1, 3])}) == 4
    assert identity(store("flipped", [[1, 2], [3, 4, 6], [6, 7], [8, 9]]), [0, 1, 3]) != base
    assert identity(store("columns", [[1, 2], [3, 4, 5], [6, 7], [8, 9]], mark=6), [0, 1, 3]) != base
    assert digest_rows(None) == ""
