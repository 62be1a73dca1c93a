"""The target `ollama`: a GGUF file, and the Modelfile by which Ollama runs it as it was trained."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

from tui_tuner.exporting.gguf.gguf_target import FILE, Gguf, get_draft, list_ends
from tui_tuner.exporting.merged import get_result
from tui_tuner.exporting.ollama.chat_parts import take_apart, trims_turns
from tui_tuner.exporting.ollama.go_template import PLAIN, write_go_template
from tui_tuner.exporting.ollama.modelfile import Modelfile, list_parameters
from tui_tuner.exporting.target import ExportJob
from tui_tuner.locales import _
from tui_tuner.text import one_line

MODELFILE = "Modelfile"
PROGRAM = "ollama"
_MOST_SECONDS = 1800  # that Ollama may take to copy the file into its own store


class Ollama(Gguf):
    """A GGUF file with a Modelfile; what is proved is the file, and the template when it is written."""

    def check(self, job: ExportJob) -> None:
        super().check(job)
        # what cannot be written is refused before any work
        get_modelfile(job).write_text()
        if shutil.which(PROGRAM) is None:
            job.note(
                _("Ollama is not installed here. Where it is: `{command}`.", command=_write_command(job))
            )

    def write(self, job: ExportJob, folder: Path) -> None:
        super().write(job, folder)
        (folder / MODELFILE).write_text(get_modelfile(job).write_text(), encoding="utf-8")

    def publish(self, job: ExportJob, folder: Path) -> None:
        """Bring the model into Ollama, where that is installed."""
        program = shutil.which(PROGRAM)
        if program is None:
            return
        name = name_model(job)
        job.say(_("bringing {name} into Ollama", name=name), 0, 0, "")
        try:
            done = subprocess.run(
                [program, "create", name, "-f", MODELFILE],
                cwd=folder,
                capture_output=True,
                text=True,
                errors="replace",
                stdin=subprocess.DEVNULL,
                timeout=_MOST_SECONDS,
            )
            problem = one_line(done.stderr[-300:], 300) if done.returncode else ""
        except (OSError, subprocess.TimeoutExpired) as error:
            problem = one_line(error, 300)
        # the files are whole and proved: a server that is not running is no reason to call them failed
        job.note(
            _(
                "Ollama did not take it: {problem} Later: `{command}`.",
                problem=problem,
                command=_write_command(job),
            )
            if problem
            else _("Run it with `ollama run {name}`.", name=name)
        )

    def describe_loading(self, job: ExportJob) -> tuple[str, str]:
        return "bash", f"{_write_command(job)}\nollama run {name_model(job)}\n"


def get_modelfile(job: ExportJob) -> Modelfile:
    """Return the Modelfile of a job, settled once.

    Raises:
        ModelError: its chat template does what Ollama's cannot.
    """
    found = job.facts.get("_modelfile")
    if found is None:
        found = job.facts["_modelfile"] = _settle_modelfile(job)
    assert isinstance(found, Modelfile)
    return found


def _settle_modelfile(job: ExportJob) -> Modelfile:
    draft, config = get_draft(job), job.source.config
    vocabulary, tokenizer = draft.vocabulary, draft.tokenizer
    ends = list_ends(job, tokenizer)
    stops = [vocabulary.tokens[end] for end in ends if end < len(vocabulary.tokens)]
    told = list_parameters(
        get_result(job).generation, draft.config.max_position_embeddings, config.data.max_length or 0
    )
    if not vocabulary.template:
        return Modelfile(FILE, PLAIN, stops, told)
    parts = take_apart(tokenizer, job.source.name)
    begin = str(tokenizer.bos_token) if vocabulary.flags["add_bos_token"] else ""
    if trims_turns(parts, tokenizer):
        job.note(_("Ollama keeps spaces around a message, which the chat template drops."))
    if parts.system == "none":
        job.note(_("The chat template takes no system message: Ollama leaves it out."))
    if "tools" in vocabulary.template:
        job.note(_("Tools are not part of the template for Ollama."))
    system = config.data.system or ""
    return Modelfile(
        FILE, write_go_template(parts, begin), stops, told, system if parts.system != "none" else ""
    )


def name_model(job: ExportJob) -> str:
    """Return the name for Ollama: small letters, digits and a few signs."""
    name = job.source.origin.name.rstrip("/").rpartition("/")[2].lower()
    return re.sub(r"[^a-z0-9._-]+", "-", name).strip("-._")[:80] or "model"


def _write_command(job: ExportJob) -> str:
    return f"ollama create {name_model(job)} -f {MODELFILE}"


TARGET = Ollama("ollama")
