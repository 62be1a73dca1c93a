"""What is no regular file is refused before it is read, and templates that run wild end in words."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tui_tuner.config.load import read_config_yaml
from tui_tuner.data.chat.template import render_chat
from tui_tuner.data.chat.template_choice import read_template
from tui_tuner.data.row_problem import RowProblem
from tui_tuner.errors import ModelError, TunerError
from tui_tuner.models.lookup import check_safetensors, count_elements, read_config_json

READERS: list[Callable[[Path], Any]] = [
    read_config_yaml,
    read_config_json,
    lambda path: read_template(str(path)),
]


@pytest.mark.parametrize("read", READERS)
def test_devices_pipes_and_folders_are_refused_at_once(tmp_path: Path, read: Callable[[Path], Any]) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    for path in (Path("/dev/zero"), tmp_path / "pipe", tmp_path / "folder"):
        with pytest.raises(TunerError, match="regular file") as refused:
            read(path)
        assert str(path) in str(refused.value)


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "calls itself"),
        ("{{ 'a' * 99999999999999999999 }}", "does not end"),
        ("{{ 1 // 0 }}", "fails"),
    ],
)
def test_a_template_that_runs_wild_is_a_problem_of_the_row(template: str, words: str) -> None:
    from transformers import PreTrainedTokenizerBase

    tokenizer = PreTrainedTokenizerBase()
    tokenizer.chat_template = template
    with pytest.raises(RowProblem, match=words):
        render_chat(tokenizer, [{"role": "user", "content": "hello"}])


@pytest.mark.parametrize(
    "tensor",
    [
        {"dtype": "F32", "shape": [1], "data_offsets": [0, None]},
        {"dtype": "F32", "shape": 4, "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": ["x"], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [1], "data_offsets": [0, 2**70]},
        {"dtype": None, "shape": [1], "data_offsets": [0, 4]},
        [1],
    ],
)
def test_an_odd_safetensors_header_names_its_tensor(tmp_path: Path, tensor: Any) -> None:
    header = json.dumps({"wte.weight": tensor}).encode()
    (tmp_path / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    for look in (check_safetensors, count_elements):
        with pytest.raises(ModelError, match=r"wte\.weight") as refused:
            look(tmp_path)
        assert "model.safetensors" in str(refused.value)
