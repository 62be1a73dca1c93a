"""Methods of peft whose updates have a shape: products, rotations, waves, random bases, norms."""

from __future__ import annotations

from tui_tuner.config.kinds.method_kind import MethodKind, Trait
from tui_tuner.locales import N_

_MERGED = frozenset({Trait.ADAPTER, Trait.MERGEABLE, Trait.CHECKPOINTABLE})
_OVER_BITS = _MERGED | {Trait.QUANTISABLE}

STRUCTURED_METHODS: tuple[MethodKind, ...] = (
    MethodKind(
        "lokr",
        N_("LoKr"),
        N_("An update made of a small matrix and a low-rank one, block by block (arXiv 2309.14859)."),
        _MERGED,
        ("rank", "alpha", "targets", "layers", "decompose_factor", "decompose_both"),
        "structured.kronecker",
        explanation=N_(
            "Each weight matrix is seen as a grid of equal blocks. One low-rank matrix is trained that is "
            "as large as a block, and a small one that says how strongly it is added to each of them (a "
            "Kronecker product). That is a small part of what LoRA trains at the same rank, but the update "
            "can change the matrix in every direction. It comes from image models, where it is a common "
            "choice."
        ),
        paper="Yeh et al. 2023, arXiv 2309.14859",
        usual=N_("Rank 8 to 32 with alpha twice the rank; a factor of 4 or 8 trains more."),
    ),
    MethodKind(
        "ln_tuning",
        N_("Norm tuning"),
        N_("Trains the model's norms and nothing else (arXiv 2312.11420)."),
        _OVER_BITS | {Trait.FEW_WEIGHTS},
        ("layers",),
        "structured.norm_tuning",
        explanation=N_(
            "Between its large matrices a model has norms, which decide how strong each feature is: one or "
            "two numbers for each. Only these are trained, in a copy that is saved next to the model. It is "
            "among the smallest adapters, costs nothing when the model answers, and suits a change of tone "
            "or domain better than new knowledge."
        ),
        paper="Zhao et al. 2023, arXiv 2312.11420",
        usual=N_("All layers, and a learning rate above LoRA's."),
    ),
    MethodKind(
        "oft",
        N_("OFT"),
        N_("Rotates what each matrix reads, in blocks, and keeps its lengths and angles (arXiv 2306.07280)."),
        _MERGED,
        ("rotation_block", "targets", "layers"),
        "structured.rotations",
        explanation=N_(
            "LoRA adds something to a weight; OFT turns it. The inputs of each matrix are cut into blocks, "
            "and for each block a rotation is trained. Rotations keep the angles between the model's "
            "neurons, in which much of its knowledge lies, so little is forgotten and training is steady "
            "even at higher learning rates. A step is slower than LoRA's."
        ),
        paper="Qiu et al. 2023, arXiv 2306.07280; Qiu et al. 2025, arXiv 2506.19847",
        usual=N_("Blocks of 32; larger ones train more."),
    ),
    MethodKind(
        "boft",
        N_("BOFT"),
        N_("OFT with small blocks, and a factor for each output (arXiv 2311.06243)."),
        _OVER_BITS,
        ("rotation_block", "targets", "layers"),
        "structured.rotations",
        explanation=N_(
            "As with OFT the inputs of each matrix are rotated in blocks, and each output gets a trained "
            "factor. The rotation is written out as a matrix as wide as the layer, so a step is slow and "
            "takes much memory. The paper multiplies several rotations (butterfly factors), which PEFT does "
            "only with a CUDA extension that it compiles; one is used here, and PEFT loads the result "
            "anywhere."
        ),
        paper="Liu et al. 2023, arXiv 2311.06243",
        usual=N_("Blocks of 4 or 8, and attention's matrices only: targets q_proj and v_proj."),
    ),
    MethodKind(
        "fourierft",
        N_("FourierFT"),
        N_("Trains a few frequencies of each update: tiny files at any width (arXiv 2405.03003)."),
        _MERGED | {Trait.FEW_WEIGHTS},
        ("frequencies", "targets", "layers"),
        "structured.fourier",
        explanation=N_(
            "An update is seen as a picture that is made of waves. A thousand waves are chosen at random "
            "for each matrix, and only how strong each is gets trained: 64,000 numbers for the queries and "
            "values of a model with 7 billion parameters, where LoRA trains millions. The whole update is "
            "computed from them in each step, which makes steps slower, and learning rates are a hundred "
            "times LoRA's."
        ),
        paper="Gao et al. 2024, arXiv 2405.03003",
        usual=N_("1,000 frequencies on the queries and values of attention."),
    ),
    MethodKind(
        "randlora",
        N_("RandLoRA"),
        N_("Trains how random matrices are mixed, for updates of full rank (arXiv 2502.00987)."),
        _OVER_BITS,
        ("rank", "dropout", "targets", "layers"),
        "structured.random_bases",
        explanation=N_(
            "LoRA's update has a low rank, and hard tasks may need more. RandLoRA adds up many low-rank "
            "products of random matrices until every direction is reached, and trains only how strongly "
            "each counts. All layers share the random matrices. A lower rank trains more numbers here, "
            "unlike with LoRA. The saved file also holds the random matrices, which are as large as the "
            "widest weight."
        ),
        paper="Albert et al. 2025, arXiv 2502.00987",
        usual=N_("Rank 32; it scales its update by 20."),
    ),
)
