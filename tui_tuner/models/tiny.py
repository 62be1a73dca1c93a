"""Provide small models with random weights, and the models inside this package, as folders.

`tiny-bert`, `tiny-distilbert` and `tiny-t5` are created on first use in the user's cache: config.json, a
tokenizer of the words in the demo's rows, and weights drawn from a fixed seed. They know nothing, but their
architecture is real, so a task can be tried without a download, and an adapter names a base model that
exists. Nothing here imports torch.
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
from tui_tuner.config.kinds.tasks import TINY_NAMES
from tui_tuner.errors import ModelError
from tui_tuner.locales import _
from tui_tuner.text import one_line

_T5_SPECIAL = ("<pad>", "</s>", "<unk>")
_T5_ATTENTIONS = ("SelfAttention", "EncDecAttention")  # of an encoder the first
SEED = 20_264
WIDTH, INNER, LAYERS, HEADS, POSITIONS = 128, 512, 2, 4, 512
# Standard deviation of the random weights, about 1 / sqrt(WIDTH): with BERT's 0.02 so narrow a model learns
# slowly.
SPREAD = 0.08
BUCKETS = 32  # of T5's distances between positions
_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_LETTERS = string.ascii_lowercase + string.digits
_ENDINGS = ("s", "es", "ed", "ing", "er", "est", "ly", "en", "ness", "tion", "able", "ful", "less")
# Pieces that spell words which the demo does not contain
_PIECES = (*string.punctuation, *_LETTERS, *(f"##{part}" for part in (*_LETTERS, *_ENDINGS)))


def find_tiny_folder(name: str) -> Path | None:
    """Return the folder of a model that this package brings or makes; None for all others.

    Raises:
        ModelError: there is no room to make it.
    """
    if name == "demo":
        return Path(demo.MODEL_DIR)
    if name not in TINY_NAMES:
        return None
    root = _find_root()
    try:
        return _tiny_folder(name, root)
    except OSError as error:
        raise ModelError(
            _("cannot be created in {folder}: {problem}.", folder=one_line(root), problem=error.strerror),
            where=name,
            hint=_("Free some space there, or set XDG_CACHE_HOME to another folder."),
        ) from None


def _find_root() -> Path:
    """Return the user's cache of models, created if need be, or a temporary folder of this process."""
    home = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    root = Path(home) / "tui-tuner" / "models"
    with contextlib.suppress(OSError):
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        # A cache that belongs to somebody else could be filled with weights of their choice.
        if os.access(root, os.W_OK | os.X_OK) and root.stat().st_uid in (os.geteuid(), 0):
            return root
    return _make_passing_root()


@cache
def _make_passing_root() -> Path:
    return Path(tempfile.mkdtemp(prefix="tui-tuner-models-"))


def _tiny_folder(name: str, root: Path) -> Path:
    """Return the folder of a tiny model, complete: two runs may create it at the same time."""
    folder = root / f"{name}-{_make_edition()}"
    if _is_whole(folder):
        return folder
    made = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=root))
    try:
        _write_model(name, made)
        if _is_whole(folder):
            return folder
        # Incomplete: a cleaner of caches has deleted one of its files.
        if folder.exists():
            shutil.rmtree(folder, ignore_errors=True)
        with contextlib.suppress(OSError):
            made.rename(folder)
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return folder


def _is_whole(folder: Path) -> bool:
    names = ("config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors")
    return all((folder / name).is_file() for name in names)


@cache
def _make_edition() -> str:
    """Return a name for the version of these models: a digest of this file and of the demo's rows."""
    digest = hashlib.blake2b(Path(__file__).read_bytes(), digest_size=4)
    for path in sorted(Path(demo.__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _write_model(name: str, folder: Path) -> None:
    from safetensors.numpy import save_file

    kind = name.removeprefix("tiny-")
    vocabulary = _write_pieces(folder) if kind == "t5" else _write_tokenizer(kind, folder)
    config = _CONFIGS[kind](vocabulary)
    save_file(
        _draw_weights(_SHAPES[kind](vocabulary)), folder / "model.safetensors", metadata={"format": "pt"}
    )
    _write_json(folder / "config.json", config)


def _write_json(path: Path, values: Any) -> None:
    path.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


# ---- the tokenizer ----------------------------------------------------------------------------------------


def _read_demo_texts() -> Iterator[str]:
    """Yield every text of the demo rows that these models are tried with."""
    for review in demo.review_rows():
        yield review["text"]
    for tagged in demo.tag_rows():
        yield " ".join(tagged["tokens"])
    for row in demo.question_rows():
        yield row["question"]
        yield row["context"]


def _write_tokenizer(kind: str, folder: Path) -> int:
    """Write a WordPiece tokenizer of these words, as BERT has it, and return its number of tokens."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    normalizer, splitter = normalizers.BertNormalizer(lowercase=True), pre_tokenizers.BertPreTokenizer()
    counts: Counter[str] = Counter()
    for text in _read_demo_texts():
        counts.update(word for word, _place in splitter.pre_tokenize_str(normalizer.normalize_str(text)))
    # Built by hand: the library's trainer orders equally frequent words at random, so ids would vary.
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


def _write_pieces(folder: Path) -> int:
    """Write a unigram tokenizer of these words, as T5 has it, and return its number of tokens."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors

    counts: Counter[str] = Counter()
    for row in demo.summary_rows():
        counts.update(f"{row['document']} {row['summary']}".split())
    words = sorted(counts, key=lambda word: (-counts[word], word))
    letters = [*string.ascii_letters, *string.digits, *string.punctuation]
    pieces = dict.fromkeys([f"▁{word}" for word in words] + ["▁", *letters])
    # A whole word scores higher than any other way to spell it.
    scores = dict.fromkeys(_T5_SPECIAL, 0.0) | {
        piece: -1.0 if piece[1:] in counts else -8.0 for piece in pieces
    }
    tokenizer = Tokenizer(models.Unigram(list(scores.items()), unk_id=_T5_SPECIAL.index("<unk>")))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(prepend_scheme="always")]
    )
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="always")
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in _T5_SPECIAL])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", _T5_SPECIAL.index("</s>"))]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "T5Tokenizer",
        "extra_ids": 0,
        "model_max_length": POSITIONS,
    } | {f"{name}_token": token for name, token in zip(("pad", "eos", "unk"), _T5_SPECIAL, strict=True)}
    _write_json(folder / "tokenizer_config.json", settings)
    return len(scores)


# ---- the model --------------------------------------------------------------------------------------------


def _bert_config(vocabulary: int) -> dict[str, Any]:
    return {
        "architectures": ["BertForMaskedLM"],
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


def _distilbert_config(vocabulary: int) -> dict[str, Any]:
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


def _t5_config(vocabulary: int) -> dict[str, Any]:
    return {
        "architectures": ["T5ForConditionalGeneration"],
        "model_type": "t5",
        "vocab_size": vocabulary,
        "d_model": WIDTH,
        "d_kv": WIDTH // HEADS,
        "d_ff": INNER,
        "num_layers": LAYERS,
        "num_decoder_layers": LAYERS,
        "num_heads": HEADS,
        "relative_attention_num_buckets": BUCKETS,
        "relative_attention_max_distance": 128,
        # Random weights have nothing to unlearn: dropout would only make them learn more slowly.
        "dropout_rate": 0.0,
        "layer_norm_epsilon": 1e-6,
        "feed_forward_proj": "relu",
        "tie_word_embeddings": True,
        "is_encoder_decoder": True,
        "pad_token_id": 0,
        "eos_token_id": 1,
        "decoder_start_token_id": 0,
    }


Shapes = dict[str, tuple[int, ...]]


def _linear_shapes(name: str, outputs: int, inputs: int) -> Shapes:
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def _norm_shapes(name: str) -> Shapes:
    return {f"{name}.weight": (WIDTH,), f"{name}.bias": (WIDTH,)}


def _embedding_shapes(vocabulary: int) -> Shapes:
    return {
        "embeddings.word_embeddings.weight": (vocabulary, WIDTH),
        "embeddings.position_embeddings.weight": (POSITIONS, WIDTH),
        **_norm_shapes("embeddings.LayerNorm"),
    }


def _bert_shapes(vocabulary: int) -> Shapes:
    """Return names and shapes of BERT's weights, as transformers stores them."""
    found = {"embeddings.token_type_embeddings.weight": (2, WIDTH), **_embedding_shapes(vocabulary)}
    for layer in (f"encoder.layer.{number}." for number in range(LAYERS)):
        for name in ("attention.self.query", "attention.self.key", "attention.self.value"):
            found |= _linear_shapes(layer + name, WIDTH, WIDTH)
        found |= _linear_shapes(f"{layer}attention.output.dense", WIDTH, WIDTH)
        found |= _norm_shapes(f"{layer}attention.output.LayerNorm")
        found |= _linear_shapes(f"{layer}intermediate.dense", INNER, WIDTH)
        found |= _linear_shapes(f"{layer}output.dense", WIDTH, INNER)
        found |= _norm_shapes(f"{layer}output.LayerNorm")
    found = {
        f"bert.{name}": shape
        for name, shape in (found | _linear_shapes("pooler.dense", WIDTH, WIDTH)).items()
    }
    head = "cls.predictions."
    found |= _linear_shapes(f"{head}transform.dense", WIDTH, WIDTH) | _norm_shapes(
        f"{head}transform.LayerNorm"
    )
    return found | {f"{head}bias": (vocabulary,)}


def _distilbert_shapes(vocabulary: int) -> Shapes:
    """Return names and shapes of DistilBERT's weights, as transformers stores them."""
    found = _embedding_shapes(vocabulary)
    for layer in (f"transformer.layer.{number}." for number in range(LAYERS)):
        for name in ("q_lin", "k_lin", "v_lin", "out_lin"):
            found |= _linear_shapes(f"{layer}attention.{name}", WIDTH, WIDTH)
        found |= _norm_shapes(f"{layer}sa_layer_norm")
        found |= _linear_shapes(f"{layer}ffn.lin1", INNER, WIDTH)
        found |= _linear_shapes(f"{layer}ffn.lin2", WIDTH, INNER)
        found |= _norm_shapes(f"{layer}output_layer_norm")
    return found


def _t5_shapes(vocabulary: int) -> Shapes:
    """Return names and shapes of T5's weights, as transformers stores them; the embedding is the head too."""
    found: Shapes = {"shared.weight": (vocabulary, WIDTH)}
    for side, attentions in (("encoder", _T5_ATTENTIONS[:1]), ("decoder", _T5_ATTENTIONS)):
        first = f"{side}.block.0.layer.0.{attentions[0]}.relative_attention_bias.weight"
        found[first] = (BUCKETS, HEADS)
        for block in (f"{side}.block.{number}.layer." for number in range(LAYERS)):
            for place, name in enumerate(attentions):
                found |= {f"{block}{place}.{name}.{one}.weight": (WIDTH, WIDTH) for one in "qkvo"}
            last = f"{block}{len(attentions)}.DenseReluDense."
            found |= {f"{last}wi.weight": (INNER, WIDTH), f"{last}wo.weight": (WIDTH, INNER)}
            found |= {f"{block}{place}.layer_norm.weight": (WIDTH,) for place in range(len(attentions) + 1)}
        found[f"{side}.final_layer_norm.weight"] = (WIDTH,)
    return found


_CONFIGS = {"bert": _bert_config, "distilbert": _distilbert_config, "t5": _t5_config}
_SHAPES = {"bert": _bert_shapes, "distilbert": _distilbert_shapes, "t5": _t5_shapes}


def _draw_weights(shapes: Shapes) -> dict[str, Any]:
    """Draw weights as transformers initialises a model: normal matrices, zero biases, norms of one."""
    import numpy as np

    chance = np.random.default_rng(SEED)
    found = {}
    for name, shape in shapes.items():
        if len(shape) == 2:
            spread = np.float32(_find_spread(name, shape))
            values = chance.standard_normal(shape, dtype=np.float32) * spread
        else:
            one = "norm" in name.lower() and name.endswith("weight")
            values = np.full(shape, 1.0 if one else 0.0, dtype=np.float32)
        found[name] = values
    # torch keeps the row of the padding token at zero (`padding_idx`), and so do trained models.
    for name, values in found.items():
        if name.endswith("embeddings.word_embeddings.weight"):
            values[0] = 0.0
    return found


def _find_spread(name: str, shape: tuple[int, ...]) -> float:
    """Return the standard deviation of a matrix of random weights: T5's own, or that of a BERT."""
    if name == "shared.weight":
        return 1.0
    if ".block." not in name:
        return SPREAD
    # T5 does not divide attention scores by the root of a head's width, so its queries begin small.
    return float((shape[1] * (WIDTH // HEADS if ".q." in name else 1)) ** -0.5)
