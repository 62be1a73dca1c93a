"""Estimated rows, and what of a hub data set decides that its tokens may be used again."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from tui_tuner.config.load import build_config
from tui_tuner.config.schema import DataSection
from tui_tuner.data.examples import identity
from tui_tuner.data.sources.files import resolve_data_paths
from tui_tuner.data.sources.row_estimate import estimate_rows


def about(path: Path, limit: int | None = None) -> int | None:
    return estimate_rows(resolve_data_paths(DataSection(path=str(path))), limit)


def test_rows_are_estimated_closely(tmp_path: Path) -> None:
    lines = [json.dumps({"text": "word " * (10 + number % 300)}) for number in range(9000)]
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join(lines))
    assert abs((about(path) or 0) - 9000) < 900 and about(path, 50) == 50
    (tmp_path / "b.csv").write_text("a,b\n" + '"two\nlines",x\n' * 1000)
    assert abs((about(tmp_path / "b.csv") or 0) - 1000) < 20
    (tmp_path / "c.jsonl.gz").write_bytes(gzip.compress(path.read_bytes()))
    assert about(tmp_path / "c.jsonl.gz") is None


def test_a_hub_set_is_cached_by_its_revision(monkeypatch: pytest.MonkeyPatch, tiny_tokenizer: Any) -> None:
    config = build_config({"data": {"path": "hub:owner/set"}})
    sources = resolve_data_paths(config.data)

    def key(revision: str) -> str:
        monkeypatch.setattr(identity, "fetch_hub_revision", lambda name: revision)
        return identity.make_cache_key(config, config.data, tiny_tokenizer, sources)

    assert key("one") == key("one") != key("two")
    assert key("") != key("")  # not told: never the same
