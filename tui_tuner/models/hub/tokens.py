"""Who is logged in to a hub. A token is shown to the hub alone, and kept in a file that only its user reads.

Tokens of Hugging Face lie where huggingface_hub has them, so that `hf auth` sees them too.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tui_tuner.errors import HubError
from tui_tuner.locales import _
from tui_tuner.models.hub import problems
from tui_tuner.models.hub.clients import client_of
from tui_tuner.models.hub.huggingface import HuggingFace
from tui_tuner.models.hub.kinds import LABELS, MODELSCOPE, Who
from tui_tuner.models.hub.modelscope import ModelScope, client
from tui_tuner.models.hub.net import asked, patience, session
from tui_tuner.models.hub.stored import VARIABLES, find_token, is_token, token_file, write_token
from tui_tuner.text import one_line


def who(source: str) -> Who | None:
    """Who is logged in; None if nobody is. Where the hub cannot be asked, the name is empty.

    Raises:
        HubError: the hub does not know the token, or it can be none.
    """
    token, origin = find_token(source)
    if not token:
        return None
    try:
        return Who(_name_of(token, source), source, origin)
    except Exception as error:
        status = getattr(getattr(error, "response", None), "status_code", None)
        if status == 401:
            raise problems.wrong_token(origin, source) from None
        if not is_token(token):
            raise problems.no_token(origin) from None
        return Who("", source, origin)


def login(token: str, source: str) -> Who:
    """See `api.login`."""
    token = token.strip()
    if not is_token(token):
        raise problems.no_token()
    endpoint = client_of(source).endpoint()
    try:
        name = _name_of(token, source)
        if source == MODELSCOPE:
            write_token(token_file(source), token)
        else:
            from huggingface_hub import login as keep

            with _quiet():
                keep(token=token, add_to_git_credential=False)
    except Exception as error:
        status = getattr(getattr(error, "response", None), "status_code", None)
        if status in (400, 401, 403):
            raise problems.wrong_token(LABELS[source], source) from None
        raise _without(problems.in_words(error, LABELS[source], source, endpoint), token) from None
    return Who(name, source, str(token_file(source)))


def logout(source: str) -> bool:
    """See `api.logout`."""
    file = token_file(source)
    there = file.exists()
    if source == MODELSCOPE:
        file.unlink(missing_ok=True)
    elif there:
        _forget_huggingface(file)
    for variable in VARIABLES[source]:
        if os.environ.get(variable):
            raise HubError(
                _(
                    "{variable} holds a token, and this program cannot change the environment.",
                    variable=variable,
                ),
                hint=_("Unset it there: unset {variable}.", variable=variable),
            )
    return there


def _forget_huggingface(file: Path) -> None:
    """The token in use, and not others that are stored under names of their own."""
    from huggingface_hub import logout as forget
    from huggingface_hub.utils import get_stored_tokens

    active = file.read_text(encoding="utf-8", errors="replace").strip()
    names = [name for name, token in get_stored_tokens().items() if token == active]
    with _quiet(), suppress(OSError):  # it says that the environment still holds one
        forget(names[0] if names else None)
    file.unlink(missing_ok=True)


def _name_of(token: str, source: str) -> str:
    """Whose token it is, by the hub itself."""
    if source == MODELSCOPE:
        return _name_on_modelscope(token)
    from huggingface_hub.utils import build_hf_headers, hf_raise_for_status

    def once() -> Any:
        response = session().get(
            f"{HuggingFace.endpoint()}/api/whoami-v2",
            headers=build_hf_headers(token=token),
            timeout=patience(),
        )
        hf_raise_for_status(response)
        return response.json()

    answer = asked(once)
    return one_line(answer.get("name") or "") if isinstance(answer, dict) else ""


def _name_on_modelscope(token: str) -> str:
    response = client().post(
        f"{ModelScope.endpoint()}/api/v1/login", json={"AccessToken": token}, timeout=patience()
    )
    response.raise_for_status()
    answer = response.json()
    data = answer.get("Data") if isinstance(answer, dict) else None
    if not isinstance(data, dict) or answer.get("Success") is False:
        raise problems.wrong_token(LABELS[MODELSCOPE], MODELSCOPE)
    return one_line(data.get("Username") or "")


def _without(error: Any, token: str) -> Any:
    """The same error without the token, whatever a client put into its text."""
    return type(error)(
        error.what.replace(token, "[secret]"), where=error.where, hint=error.hint, field=error.field
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the client of the hub from telling what it does in a log of its own."""
    log = logging.getLogger("huggingface_hub")
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(before)
