"""Tiny models load as any other, every row of the demo reaches them, and the presets learn with them."""

from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from tests.conftest import Trained
from tui_tuner.config.kinds.tasks import TINY_NAMES
from tui_tuner.config.load import load_config
from tui_tuner.config.presets import find_preset
from tui_tuner.config.schema import ModelSection
from tui_tuner.models import tiny
from tui_tuner.models.facts import load_facts
from tui_tuner.models.tiny import find_tiny_folder

PRESETS = ("bert-qa", "distilbert-imdb", "masked-lm", "t5-summary", "token-tags")
HEAD = "cls.predictions."  # the head that guesses hidden tokens, which tiny-bert brings


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.mark.parametrize("name", TINY_NAMES)
def test_it_loads_with_plain_transformers(name: str, cache: Path) -> None:
    from transformers import AutoModel, AutoTokenizer

    folder = find_tiny_folder(name)
    assert folder is not None and folder.is_relative_to(cache)
    model, info = AutoModel.from_pretrained(folder, output_loading_info=True)
    assert not any(info[key] for key in ("missing_keys", "mismatched_keys"))
    assert all(key.startswith(HEAD) for key in info["unexpected_keys"])
    assert model.config.model_type == name.removeprefix("tiny-")
    stored = load_file(folder / "model.safetensors")
    body = [weight.numel() for key, weight in stored.items() if not key.startswith(HEAD)]
    assert sum(body) == sum(w.numel() for w in model.parameters())
    tokenizer = AutoTokenizer.from_pretrained(folder)
    pair = tokenizer("Who sold the key?", "Ada Bell — née Marsh — sold zebras.")
    words = tokenizer.convert_ids_to_tokens(pair["input_ids"])
    if name == "tiny-t5":
        assert words[:4] == ["▁Who", "▁", "s", "o"] and words.count("</s>") == 2 and words[-1] == "</s>"
        assert tokenizer.convert_ids_to_tokens(tokenizer("The key .")["input_ids"])[1] == "▁key"
    else:
        assert words[:6] == ["[CLS]", "who", "sold", "the", "key", "?"] and words.count("[SEP]") == 2
    assert len(tokenizer) == model.config.vocab_size and tokenizer.pad_token_id == 0
    assert max(pair["input_ids"]) < len(tokenizer)
    assert name == "tiny-t5" or "nee" in tokenizer.decode(pair["input_ids"]).replace(" ", "")
    facts = load_facts(ModelSection(name=name), network=False)
    assert facts.verified and facts.layers == 2


def test_a_folder_that_lost_a_file_is_made_anew(cache: Path) -> None:
    folder = find_tiny_folder("tiny-bert")
    assert folder is not None
    whole = {path.name: path.read_bytes() for path in folder.iterdir()}
    (folder / "model.safetensors").unlink()
    again = find_tiny_folder("tiny-bert")
    assert again == folder and {path.name: path.read_bytes() for path in folder.iterdir()} == whole
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_what_another_thread_made_meanwhile_stays(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever was given the folder may be reading it."""
    write, first = tiny._write_model, []

    def slow(name: str, folder: Path) -> None:
        write(name, folder)
        if not first:
            monkeypatch.setattr(tiny, "_write_model", write)
            made = find_tiny_folder("tiny-bert")
            assert made is not None
            first.append(made.stat().st_ino)

    monkeypatch.setattr(tiny, "_write_model", slow)
    folder = find_tiny_folder("tiny-bert")
    assert folder is not None and [folder.stat().st_ino] == first
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def tried(train: Any, tmp_path: Path, name: str, *sets: str) -> Trained:
    more = [
        "model.name=tiny",
        "data.path=demo",
        f"output.folder={tmp_path / 'runs'}",
        "data.workers=1",
        *sets,
    ]
    done: Trained = train(load_config(find_preset(name), more))
    assert done.outcome.status == "completed", done.outcome.message
    return done


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_takes_every_row_and_trains(name: str, train: Any, tmp_path: Path) -> None:
    done = tried(train, tmp_path, name, "training.max_steps=2", "evaluation.samples=1")
    rows = done.sink.of("ledger")[-1]
    assert {name: count for name, count in rows["outcomes"].items() if count} == {"kept": rows["read"]}
    assert 400 <= rows["read"] <= 1000 and rows["closes"]
    assert len(done.steps()) == 2 and done.sink.of("evaluation")


def test_the_preset_for_tags_learns_them(train: Any, tmp_path: Path) -> None:
    done = tried(
        train, tmp_path, "token-tags", "training.epochs=3", "evaluation.samples=0", "evaluation.every=58"
    )
    before, *_between, after = [fields["metrics"] for fields in done.sink.of("evaluation")]
    assert before["f1"] < 0.2, "random weights know nothing"
    assert after["f1"] > 0.6 and after["accuracy"] > 0.9
