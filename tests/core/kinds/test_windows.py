"""Windows that a model keeps in its mask alone are found, though the first rows are all shorter than them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.conftest import MakeConfig, Trained, chat_rows, write_jsonl
from tests.core import ways
from tests.core.test_architectures import EXPERTS, SHAPE
from tests.core.test_loss import SomeRows
from tests.core.ways import Silent
from tui_tuner.compute import attention
from tui_tuner.compute.check_rows import list_attention_windows, make_window_check_rows, shorten_rows
from tui_tuner.compute.forward import lay_padded_rows
from tui_tuner.data.records import IGNORE

Train = Callable[..., Trained]
SLIDING = {"layer_types": ["sliding_attention", "full_attention"]}
# A model, and whether its attention is told of the window: then our own honours it
KINDS: dict[str, tuple[dict[str, Any], bool]] = {
    "llama4_text": ({"attention_chunk_size": 8, "num_local_experts": 2}, False),
    "phimoe": ({"sliding_window": 8, "num_local_experts": 4, "num_experts_per_tok": 2}, False),
    "doge": ({"sliding_window": 8}, False),
    "mistral": ({"sliding_window": 8}, True),
    "qwen2_moe": ({"sliding_window": 8, "use_sliding_window": True, "max_window_layers": 0, **EXPERTS}, True),
    "gemma3_text": ({"sliding_window": 8, **SLIDING}, True),
    "gpt_oss": ({"sliding_window": 8, **SLIDING, "num_local_experts": 4}, False),
}
SHORT, LONG = [7, 6, 5, 8], [60, 50]


def prepared(kind: str, longest_row: int) -> tuple[Any, Any, SomeRows, Silent]:
    from transformers import AutoConfig, AutoModelForCausalLM

    attention.register_attention()
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **{**SHAPE, **KINDS[kind][0]})).eval()
    rows = SomeRows(SHORT + LONG, 300)
    causal, voice = ways.prepared(model, rows, [[0, 1, 2, 3]], 100, longest_row=longest_row)
    return causal, model, rows, voice


def apart(causal: Any, model: Any, rows: SomeRows) -> float:
    """How far the losses of the long rows are from those of each alone, as any user would call the model."""
    with torch.no_grad():
        truth = [
            causal.compute_plain_losses(model, lay_padded_rows(rows, [row], 0), causal.way) for row in (4, 5)
        ]
        found = causal.compute_losses(model, causal.lay_batch(rows, [4, 5]), causal.way)
    return float((torch.cat(truth) - found).abs().max())


def padding_error(causal: Any, model: Any, rows: SomeRows) -> float:
    """How far the losses of a padded batch are from those of each row alone, in the model's own code."""
    batch = range(len(SHORT + LONG))
    with torch.no_grad():
        alone = [
            causal.compute_plain_losses(model, lay_padded_rows(rows, [row], 0), causal.way) for row in batch
        ]
        together = causal.compute_plain_losses(model, lay_padded_rows(rows, batch, 0), causal.way)
    return float((torch.cat(alone) - together).abs().max())


@pytest.mark.parametrize("kind", KINDS)
def test_rows_longer_than_the_window_have_the_models_own_losses(kind: str) -> None:
    causal, model, rows, voice = prepared(kind, max(LONG))
    assert 8 in list_attention_windows(model)
    assert apart(causal, model, rows) < 1e-4
    assert causal.way.segments is KINDS[kind][1], voice.said
    # The Doge of transformers 5.14 reads padding, which the check has to find.
    assert causal.exact is (padding_error(causal, model, rows) < 1e-4)


def test_without_rows_that_long_nothing_is_lost_to_a_window() -> None:
    """The rows of the first step alone show nothing, so the made-up ones are what tells."""
    causal, model, rows, _voice = prepared("llama4_text", max(SHORT))
    assert causal.way.segments
    assert apart(causal, model, rows) > 1e-2


def test_held_out_rows_count(
    make_config: MakeConfig, train: Train, tiny_tokenizer: Any, tmp_path: Path
) -> None:
    """Only they are longer than the window here. The run is one of LoRA, which leaves the router alone."""
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(0)
    special = {"vocab_size": len(tiny_tokenizer), "bos_token_id": None}
    chunked = {"attention_chunk_size": 90, "num_local_experts": 2}
    shape = AutoConfig.for_model("llama4_text", **{**SHAPE, **special, **chunked})
    AutoModelForCausalLM.from_config(shape).save_pretrained(tmp_path / "chunked")
    tiny_tokenizer.save_pretrained(tmp_path / "chunked")
    rows = chat_rows(12)
    for row in rows[8:]:
        row["messages"][1]["content"] *= 8
    short, long = (write_jsonl(tmp_path / f"{len(part)}.jsonl", part) for part in (rows[:8], rows[8:]))

    def config(path: Path) -> Any:
        return make_config(
            model={"name": str(tmp_path / "chunked"), "dtype": "float32"},
            data={"path": str(short), "validation": str(path), "max_length": 256, "workers": 1},
            training__max_steps=1,
            evaluation__every=1,
        )

    run = train(config(long))
    assert run.outcome.status == "completed", run.outcome
    assert "self_check" in run.codes()
    assert "self_check" not in train(config(short)).codes()


def test_made_up_rows_have_labels_beyond_the_window_only() -> None:
    rows = shorten_rows(SomeRows([40, 9], 300), [0, 1], 100, 1000)
    made = make_window_check_rows(rows, 50, 500)
    assert made.lengths.tolist() == [40, 114]
    assert np.flatnonzero(made[1].labels != IGNORE).tolist() == list(range(50, 114))
    assert make_window_check_rows(rows, 50, 80).lengths.tolist() == [40, 80]


def test_rows_of_a_check_keep_some_of_their_labels() -> None:
    data = SomeRows([100, 3000], 300)
    rows = shorten_rows(data, [0, 1], 200, 64)
    assert rows.lengths.tolist() == [100, 200]
    assert rows.trained_tokens.tolist() == [32, 32]
    kept = np.flatnonzero(rows[0].labels != IGNORE)
    known = np.flatnonzero(data[0].labels != IGNORE)
    assert set(kept) <= set(known) and (kept[0], kept[-1]) == (known[0], known[-1])
    assert np.array_equal(rows[0].labels[kept], data[0].labels[kept])
    # of the long one the labels are in its second half: what is kept ends with the last of them
    assert np.array_equal(rows[1].ids, data[1].ids[2799:2999])
