"""Loads final models by transformers and peft alone: `python reload.py`, JSON on standard input and output.

Imports nothing of ours. In: `{pair: {folder, said, texts}}`; out: `{pair: the largest difference}`.
"""

from __future__ import annotations

import json
import os
import sys
import warnings
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"
warnings.simplefilter("ignore")


def load(folder: Path) -> Any:
    """The model, by the first lines of the snippet in its card."""
    card = (folder / "README.md").read_text(encoding="utf-8")
    snippet = card.partition("```python\n")[2].partition("```")[0]
    lines, _end, _asking = snippet.partition(".eval()")
    names: dict[str, Any] = {}
    os.chdir(folder)
    exec(f"{lines}.eval()", names)
    return names["model"]


def main() -> None:
    import torch
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    found: dict[str, Any] = {}
    for name, ask in json.load(sys.stdin).items():
        try:
            torch.manual_seed(len(found))
            model = load(Path(ask["folder"]))
            said = []
            with torch.no_grad():
                for text in ask["texts"]:
                    ids = torch.tensor([text])
                    both = {"decoder_input_ids": ids[:, :3]} if model.config.is_encoder_decoder else {}
                    out = model(input_ids=ids, attention_mask=torch.ones_like(ids), **both)
                    spans = hasattr(out, "start_logits")
                    logits = [out.start_logits, out.end_logits] if spans else [out.logits]
                    said += [one.float().flatten() for one in logits]
            wanted = torch.load(ask["said"], weights_only=True)
            found[name] = float((torch.cat(said) - wanted).abs().max())
        except Exception as error:
            found[name] = f"{type(error).__name__}: {error}"
    assert not any(name.startswith("tui_tuner") for name in sys.modules)
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
