"""The target `hub`: a repository on Hugging Face, filled with the adapter or the whole model."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tui_tuner.config.advice import Command, build_hint
from tui_tuner.errors import HubError, UsageError
from tui_tuner.exporting.adapter import TARGET as ADAPTER
from tui_tuner.exporting.merged import TARGET as MERGED
from tui_tuner.exporting.parity.report import ParityReport
from tui_tuner.exporting.target import ExportJob, Target
from tui_tuner.locales import N_, _
from tui_tuner.models.hub.hub_errors import explain_error
from tui_tuner.models.hub.huggingface import HuggingFace
from tui_tuner.models.hub.kinds import HUGGINGFACE
from tui_tuner.models.hub.net import is_network_offline
from tui_tuner.models.hub.stored_tokens import find_token
from tui_tuner.text import one_line

_LOGIN = Command("`tui-tuner models login`", N_("Log in to a hub"))


class Hub(Target):
    """A repository of a hub. What is sent is written and proved here first."""

    def expect_bytes(self, job: ExportJob) -> int:
        return _choose_form(job).expect_bytes(job)

    def check(self, job: ExportJob) -> None:
        job.facts["_repo"] = _check_rights(job)
        _choose_form(job).check(job)

    def write(self, job: ExportJob, folder: Path) -> None:
        _choose_form(job).write(job, folder)

    def prove(self, job: ExportJob, folder: Path) -> ParityReport:
        return _choose_form(job).prove(job, folder)

    def publish(self, job: ExportJob, folder: Path) -> None:
        repo = str(job.facts["_repo"])
        job.say(_("sending to {repo}", repo=one_line(repo, 100)), 0, 0, "")
        api = _make_client()
        with _explain(repo):
            made = api.create_repo(repo, private=job.options.private, exist_ok=True, repo_type="model")
            api.upload_folder(
                repo_id=repo,
                folder_path=str(folder),
                repo_type="model",
                commit_message="Upload with tui-tuner",
            )
            sent = {
                one.rfilename: one.size for one in api.model_info(repo, files_metadata=True).siblings or []
            }
        lacking = [
            str(path.relative_to(folder))
            for path in sorted(folder.rglob("*"))
            if path.is_file() and sent.get(str(path.relative_to(folder))) != path.stat().st_size
        ]
        if lacking:
            raise HubError(
                _("{file} did not arrive as it was sent.", file=one_line(lacking[0], 120)),
                where=one_line(repo, 120),
                hint=_("Send it again: what arrived is not sent twice."),
            )
        job.facts["address"] = str(made)

    def describe_loading(self, job: ExportJob) -> tuple[str, str]:
        language, code = _choose_form(job).describe_loading(job)
        repo = str(job.facts.get("_repo") or job.options.repo)
        return language, code.replace('(".")', f'("{repo}")').replace('base, "."', f'base, "{repo}"')


def _choose_form(job: ExportJob) -> Target:
    """Return what is sent: the adapter where there is one, unless the whole model is asked for."""
    return MERGED if job.options.merge or job.source.adapter is None else ADAPTER


def _make_client() -> Any:
    from huggingface_hub import HfApi

    return HfApi(token=find_token(HUGGINGFACE)[0] or None)


@contextmanager
def _explain(repo: str) -> Iterator[None]:
    """Turn what huggingface_hub raises into errors that say what to do, without tokens."""
    try:
        yield
    except Exception as error:
        status = getattr(getattr(error, "response", None), "status_code", None)
        if status in (401, 403, 404):
            raise HubError(
                _("the hub refuses: this token may not write there (code {status}).", status=status),
                where=one_line(repo, 120),
                hint=build_hint(
                    N_("Log in with a token that may write ({login}), or choose a repository of your own.",
                       login=_LOGIN)
                ),
            ) from None  # fmt: skip
        raise explain_error(error, repo, HUGGINGFACE, HuggingFace().hub_address()) from None


def _check_rights(job: ExportJob) -> str:
    """Return the full name of the repository, once it is known that this user may write it.

    Raises:
        HubError: nobody is logged in, the token may only read, or the owner is somebody else.
        UsageError: an existing repository is public, and a private one was asked for.
    """
    token, origin = find_token(HUGGINGFACE)
    asked = job.options.repo
    if not token:
        raise HubError(
            _("nobody is logged in to the hub, so nothing can be sent."),
            where=one_line(asked, 120),
            hint=build_hint(N_("Log in with a token that may write: {login}.", login=_LOGIN)),
        )
    if is_network_offline():
        raise HubError(
            _("cannot be reached: this machine is set to work without network."),
            where=one_line(asked, 120),
            hint=_("Unset HF_HUB_OFFLINE, or export to a folder and send that later."),
        )
    api = _make_client()
    with _explain(asked):
        user = api.whoami()
    role = ((user.get("auth") or {}).get("accessToken") or {}).get("role")
    if role == "read":
        raise HubError(
            _("the token (from {origin}) may only read.", origin=one_line(origin, 100)),
            where=one_line(asked, 120),
            hint=build_hint(N_("Log in with a token that may write: {login}.", login=_LOGIN)),
        )
    owner, slash, name = asked.partition("/")
    owner, name = (owner, name) if slash else (str(user["name"]), owner)
    owners = [str(user["name"]), *(str(one.get("name")) for one in user.get("orgs") or [])]
    if owner not in owners:
        raise HubError(
            _("belongs to {owner}, and you are {names}.", owner=one_line(owner, 60), names=", ".join(owners)),
            where=one_line(asked, 120),
            hint=_("Give --repo NAME for a repository of your own."),
        )
    repo = f"{owner}/{name}"
    _check_existing(api, repo, job)
    return repo


def _check_existing(api: Any, repo: str, job: ExportJob) -> None:
    from huggingface_hub.errors import RepositoryNotFoundError

    with _explain(repo):
        try:
            info = api.model_info(repo)
        except RepositoryNotFoundError:
            return
    if job.options.private and not info.private:
        raise UsageError(
            _("is there already, and everybody can see it."),
            where=one_line(repo, 120),
            hint=_("Add --public if that is meant, or choose another name."),
        )
    job.note(
        _("{repo} is there already: its files of the same names are replaced.", repo=one_line(repo, 120))
    )


TARGET = Hub("hub")
