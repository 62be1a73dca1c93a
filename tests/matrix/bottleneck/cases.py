"""What both sides of the comparison with the adapters library compute: models, adapters, and their numbers.

Imported by this repository's tests and by `oracle.py` in another environment, so it needs torch alone.
Weights are not stored: each is filled from its name, on both sides alike.
"""

import zlib

import torch

SHAPE = {"vocab_size": 60, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
MODELS = {
    "bert": {**SHAPE, "intermediate_size": 48},
    "roberta": {**SHAPE, "intermediate_size": 48, "pad_token_id": 1},
    "distilbert": {"vocab_size": 60, "dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 48},
    "llama": {**SHAPE, "intermediate_size": 48, "num_key_value_heads": 2},
    "gpt2": {"vocab_size": 60, "n_embd": 32, "n_layer": 2, "n_head": 4},
}
ENCODERS = ("bert", "roberta", "distilbert")
PLAIN = {"style": "pfeiffer", "reduction": 16, "non_linearity": "relu", "layer_norm": "none"}
ADAPTERS = {
    "pfeiffer": PLAIN,
    "houlsby": {**PLAIN, "style": "houlsby", "non_linearity": "swish"},
    "parallel": {**PLAIN, "style": "parallel", "reduction": 2},
    "norm before": {**PLAIN, "reduction": 4, "layer_norm": "before", "non_linearity": "gelu"},
    "norm after": {**PLAIN, "style": "houlsby", "layer_norm": "after", "non_linearity": "tanh"},
}
FUSIONS = {
    "fusion": [PLAIN, {**PLAIN, "reduction": 8}, {**PLAIN, "non_linearity": "gelu"}],
    "houlsby fusion": [ADAPTERS["houlsby"], {**ADAPTERS["houlsby"], "reduction": 4}],
}
CASES = [(model, name) for model in MODELS for name in (*ADAPTERS, *FUSIONS)]
IDS = [[2, 11, 25, 38, 7, 59, 3], [2, 40, 13, 9, 31, 44, 3]]


@torch.no_grad()
def fill(weight, name):
    """Give a weight the numbers that follow from its name: around 1 for norms, around 0 for all others."""
    places = torch.arange(weight.numel(), dtype=torch.float64)
    wave = torch.sin(places * 0.7310585 + zlib.crc32(name.encode()) % 9973).view(weight.shape)
    level = 1.0 if weight.dim() == 1 and name.endswith("norm.weight") else 0.0
    weight.copy_((level + 0.12 * wave).to(weight.dtype))


def fill_base(model, is_added):
    """Fill the model's own weights. `is_added` says of a name whether it is an adapter's."""
    for name, weight in model.named_parameters():
        if not is_added(name):
            fill(weight, "norm.weight" if "norm" in name.lower() or "ln_" in name else name)
