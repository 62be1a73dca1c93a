"""Check before a model is built that its config.json and its weights belong together."""

from __future__ import annotations

from tui_tuner.config.schema import ModelSection
from tui_tuner.errors import ModelError
from tui_tuner.locales import _
from tui_tuner.models.architectures.families import FAMILIES
from tui_tuner.models.facts import read_config_facts
from tui_tuner.models.hub.place import find_folder_on_disk
from tui_tuner.models.lookup import count_elements, read_config_json
from tui_tuner.text import one_line


def check_weights_match_config(model: ModelSection) -> None:
    """Raise unless a folder's config.json and weights describe models of about the same size.

    transformers fills weights that are described but not stored with random numbers, however many there are,
    before it reports them as missing.

    Raises:
        ModelError: much more is described than stored.
    """
    folder = find_folder_on_disk(model)
    stored = count_elements(folder) if folder is not None else None
    if folder is None or not stored:
        return
    try:
        facts = read_config_facts(read_config_json(folder / "config.json"))
    except ModelError:
        return  # an architecture that is not in the table may name its sizes otherwise
    # A factor of 4 is more than a head or a pooler that is counted but not stored can explain. Only families
    # whose counts are verified can be judged.
    if facts.family.verified and facts.model_type in FAMILIES and facts.parameters > 4 * stored:
        raise ModelError(
            _(
                "config.json describes {described:,} parameters, but the weights hold {stored:,}.",
                described=facts.parameters,
                stored=stored,
            ),
            where=one_line(folder),
            hint=_("The config and the weights belong to different models."),
        )
