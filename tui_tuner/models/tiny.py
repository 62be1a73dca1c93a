"""Small encoders with random weights, and the models inside this package, as folders that anything can load.

`tiny-bert` and `tiny-distilbert` are made when they are first asked for, in the user's cache: config.json, a
WordPiece tokenizer of the words in the rows of the demo, and weights drawn from a fixed seed. They know
nothing, but they are of a real architecture, so that a task can be tried with no download, and an adapter
names a model that is there. Nothing here imports torch.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import string
import tempfile
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from tui_tuner import demo
from tui_tuner.config.kinds import TINY_NAMES
from tui_tuner.errors import ModelError
from tui_tuner.locales import _
from tui_tuner.text import one_line

SEED = 20_264
WIDTH, INNER, LAYERS, HEADS, POSITIONS = 128, 512, 2, 4, 512
# Of the random weights: about 1 / sqrt(WIDTH). With BERT's 0.02 so narrow a model is slow to learn
SPREAD = 0.08
_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_LETTERS = string.ascii_lowercase + string.digits
_ENDINGS = ("s", "es", "ed", "ing", "er", "est", "ly", "en", "ness", "tion", "able", "ful", "less")
# What words are made of that the demo does not have
_PIECES = (*string.punctuation, *_LETTERS, *(f"##{part}" for part in (*_LETTERS, *_ENDINGS)))


def own_folder(name: str) -> Path | None:
    """The folder of a model that this package brings or makes; None for all others.

    Raises:
        ModelError: there is no room to make it.
    """
    if name == "demo":
        return Path(demo.MODEL_DIR)
    if name not in TINY_NAMES:
        return None
    root = _root()
    try:
        return _tiny_folder(name, root)
    except OSError as error:
        raise ModelError(
            _("cannot be made in {folder}: {problem}.", folder=one_line(root), problem=error.strerror),
            where=name,
            hint=_("Make room there, or name another folder in XDG_CACHE_HOME."),
        ) from None


def _root() -> Path:
    """The user's cache of models, made if need be; a folder of this process alone where there can be none."""
    home = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    root = Path(home) / "tui-tuner" / "models"
    with contextlib.suppress(OSError):
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        if os.access(root, os.W_OK | os.X_OK) and root.stat().st_uid in (os.geteuid(), 0):
            return root
    return _passing_root()


@cache
def _passing_root() -> Path:
    return Path(tempfile.mkdtemp(prefix="tui-tuner-models-"))


def _tiny_folder(name: str, root: Path) -> Path:
    """The folder of a tiny model, as a whole or not at all: two runs may make it at the same time."""
    folder = root / f"{name}-{_edition()}"
    if _is_whole(folder):
        return folder
    made = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=root))
    try:
        _write(name, made)
        if _is_whole(folder):  # another thread or process was faster, and may have begun to read it
            return folder
        if folder.exists():  # a file of it was lost
            shutil.rmtree(folder, ignore_errors=True)
        with contextlib.suppress(OSError):  # another process was faster: theirs is the same
            made.rename(folder)
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return folder


def _is_whole(folder: Path) -> bool:
    names = ("config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors")
    return all((folder / name).is_file() for name in names)


@cache
def _edition() -> str:
    """A name for what these models are made of: this file and the demo's rows."""
    digest = hashlib.blake2b(Path(__file__).read_bytes(), digest_size=4)
    for path in sorted(Path(demo.__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _write(name: str, folder: Path) -> None:
    from safetensors.numpy import save_file

    kind = name.removeprefix("tiny-")
    vocabulary = _write_tokenizer(kind, folder)
    config = _CONFIGS[kind](vocabulary)
    save_file(_weights(_SHAPES[kind](vocabulary)), folder / "model.safetensors", metadata={"format": "pt"})
    _write_json(folder / "config.json", config)


def _write_json(path: Path, values: Any) -> None:
    path.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


# ---- the tokenizer ----------------------------------------------------------------------------------------


def _texts() -> Iterator[str]:
    """Every text of the rows of the demo that these models are tried with."""
    for review in demo.review_rows():
        yield review["text"]
    for tagged in demo.tag_rows():
        yield " ".join(tagged["tokens"])
    for row in demo.question_rows():
        yield row["question"]
        yield row["context"]


def _write_tokenizer(kind: str, folder: Path) -> int:
    """Write a tokenizer as BERT has one (WordPiece, lower case) of these words; how many tokens it has."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    normalizer, splitter = normalizers.BertNormalizer(lowercase=True), pre_tokenizers.BertPreTokenizer()
    counts: Counter[str] = Counter()
    for text in _texts():
        counts.update(word for word, _place in splitter.pre_tokenize_str(normalizer.normalize_str(text)))
    # The trainer of the library orders words that are equally frequent as it happens, so it is not asked
    tokens = [*_SPECIAL, *_PIECES, *sorted(counts, key=lambda word: (-counts[word], word))]
    words = {token: number for number, token in enumerate(dict.fromkeys(tokens))}
    tokenizer = Tokenizer(models.WordPiece(words, unk_token="[UNK]"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizer, splitter
    tokenizer.decoder = decoders.WordPiece(prefix="##")
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in _SPECIAL])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS]:0 $A:0 [SEP]:0",
        pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1",
        special_tokens=[(token, tokenizer.token_to_id(token)) for token in ("[CLS]", "[SEP]")],
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "vocab.txt").write_text("".join(f"{token}\n" for token in words), encoding="utf-8")
    settings = {
        "tokenizer_class": {"bert": "BertTokenizer", "distilbert": "DistilBertTokenizer"}[kind],
        "do_lower_case": True,
        "model_max_length": POSITIONS,
        "clean_up_tokenization_spaces": False,
    } | {f"{token.strip('[]').lower()}_token": token for token in _SPECIAL}
    _write_json(folder / "tokenizer_config.json", settings)
    return len(words)


# ---- the model --------------------------------------------------------------------------------------------


def _bert(vocabulary: int) -> dict[str, Any]:
    return {
        "architectures": ["BertModel"],
        "model_type": "bert",
        "vocab_size": vocabulary,
        "hidden_size": WIDTH,
        "intermediate_size": INNER,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "max_position_embeddings": POSITIONS,
        "type_vocab_size": 2,
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.1,
        "attention_probs_dropout_prob": 0.1,
        "initializer_range": SPREAD,
        "layer_norm_eps": 1e-12,
        "pad_token_id": 0,
    }


def _distilbert(vocabulary: int) -> dict[str, Any]:
    return {
        "architectures": ["DistilBertModel"],
        "model_type": "distilbert",
        "vocab_size": vocabulary,
        "dim": WIDTH,
        "hidden_dim": INNER,
        "n_layers": LAYERS,
        "n_heads": HEADS,
        "max_position_embeddings": POSITIONS,
        "sinusoidal_pos_embds": False,
        "activation": "gelu",
        "dropout": 0.0,
        "attention_dropout": 0.0,
        "seq_classif_dropout": 0.0,
        "qa_dropout": 0.0,
        "initializer_range": SPREAD,
        "pad_token_id": 0,
    }


Shapes = dict[str, tuple[int, ...]]


def _linear(name: str, outputs: int, inputs: int) -> Shapes:
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def _norm(name: str) -> Shapes:
    return {f"{name}.weight": (WIDTH,), f"{name}.bias": (WIDTH,)}


def _embeddings(vocabulary: int) -> Shapes:
    return {
        "embeddings.word_embeddings.weight": (vocabulary, WIDTH),
        "embeddings.position_embeddings.weight": (POSITIONS, WIDTH),
        **_norm("embeddings.LayerNorm"),
    }


def _bert_shapes(vocabulary: int) -> Shapes:
    """Names and shapes of the weights as transformers has them."""
    found = {"embeddings.token_type_embeddings.weight": (2, WIDTH), **_embeddings(vocabulary)}
    for layer in (f"encoder.layer.{number}." for number in range(LAYERS)):
        for name in ("attention.self.query", "attention.self.key", "attention.self.value"):
            found |= _linear(layer + name, WIDTH, WIDTH)
        found |= _linear(f"{layer}attention.output.dense", WIDTH, WIDTH)
        found |= _norm(f"{layer}attention.output.LayerNorm")
        found |= _linear(f"{layer}intermediate.dense", INNER, WIDTH)
        found |= _linear(f"{layer}output.dense", WIDTH, INNER)
        found |= _norm(f"{layer}output.LayerNorm")
    return found | _linear("pooler.dense", WIDTH, WIDTH)


def _distilbert_shapes(vocabulary: int) -> Shapes:
    """Names and shapes of the weights as transformers has them."""
    found = _embeddings(vocabulary)
    for layer in (f"transformer.layer.{number}." for number in range(LAYERS)):
        for name in ("q_lin", "k_lin", "v_lin", "out_lin"):
            found |= _linear(f"{layer}attention.{name}", WIDTH, WIDTH)
        found |= _norm(f"{layer}sa_layer_norm")
        found |= _linear(f"{layer}ffn.lin1", INNER, WIDTH)
        found |= _linear(f"{layer}ffn.lin2", WIDTH, INNER)
        found |= _norm(f"{layer}output_layer_norm")
    return found


_CONFIGS = {"bert": _bert, "distilbert": _distilbert}
_SHAPES = {"bert": _bert_shapes, "distilbert": _distilbert_shapes}


def _weights(shapes: Shapes) -> dict[str, Any]:
    """Matrices from a normal distribution, biases zero, norms one: as transformers begins a model."""
    import numpy as np

    chance = np.random.default_rng(SEED)
    found = {}
    for name, shape in shapes.items():
        if len(shape) == 2:
            values = chance.standard_normal(shape, dtype=np.float32) * np.float32(SPREAD)
        else:
            one = "norm" in name.lower() and name.endswith("weight")
            values = np.full(shape, 1.0 if one else 0.0, dtype=np.float32)
        found[name] = values
    found["embeddings.word_embeddings.weight"][0] = 0.0  # of padding
    return found
