"""Log in to a hub. A token is sent to the hub only, and stored in a file that only its user can read.

Tokens of Hugging Face are stored where huggingface_hub keeps them, so that `hf auth` sees them too.
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
from tui_tuner.models.hub import hub_errors
from tui_tuner.models.hub.clients import find_hub_client
from tui_tuner.models.hub.huggingface import HuggingFace
from tui_tuner.models.hub.kinds import LABELS, MODELSCOPE, Account
from tui_tuner.models.hub.modelscope import ModelScope, make_modelscope_client
from tui_tuner.models.hub.net import call_with_retries, get_http_session, make_request_timeouts
from tui_tuner.models.hub.stored_tokens import VARIABLES, find_token, find_token_file, is_token, write_token
from tui_tuner.text import one_line


def find_token_user(source: str) -> Account | None:
    """Return who is logged in, or None. The name is empty if the hub cannot be reached.

    Raises:
        HubError: the hub does not know the token, or the text cannot be a token.
    """
    token, origin = find_token(source)
    if not token:
        return None
    try:
        return Account(_ask_name(token, source), source, origin)
    except Exception as error:
        status = getattr(getattr(error, "response", None), "status_code", None)
        if status == 401:
            raise hub_errors.make_wrong_token_error(origin, source) from None
        if not is_token(token):
            raise hub_errors.make_no_token_error(origin) from None
        return Account("", source, origin)


def store_checked_token(token: str, source: str) -> Account:
    """Check and store a token; see `api.log_in_to_hub`."""
    token = token.strip()
    if not is_token(token):
        raise hub_errors.make_no_token_error()
    endpoint = find_hub_client(source).hub_address()
    try:
        name = _ask_name(token, source)
        if source == MODELSCOPE:
            write_token(find_token_file(source), token)
        else:
            from huggingface_hub import login as keep

            with _quiet_client():
                keep(token=token, add_to_git_credential=False)
    except Exception as error:
        status = getattr(getattr(error, "response", None), "status_code", None)
        if status in (400, 401, 403):
            raise hub_errors.make_wrong_token_error(LABELS[source], source) from None
        raise _remove_token(
            hub_errors.explain_error(error, LABELS[source], source, endpoint), token
        ) from None
    return Account(name, source, str(find_token_file(source)))


def delete_stored_token(source: str) -> bool:
    """Delete the stored token; see `api.log_out_of_hub`."""
    file = find_token_file(source)
    there = file.exists()
    if source == MODELSCOPE:
        file.unlink(missing_ok=True)
    elif there:
        _forget_huggingface(file)
    for variable in VARIABLES[source]:
        # Without this error the user would believe to be logged out while the variable still works.
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
    """Delete the token in use, but not others that are stored under their own names."""
    from huggingface_hub import logout as forget
    from huggingface_hub.utils import get_stored_tokens

    active = file.read_text(encoding="utf-8", errors="replace").strip()
    names = [name for name, token in get_stored_tokens().items() if token == active]
    # The client raises OSError if the environment still holds a token, which `logout` reports itself.
    with _quiet_client(), suppress(OSError):
        forget(names[0] if names else None)
    file.unlink(missing_ok=True)


def _ask_name(token: str, source: str) -> str:
    """Ask the hub whose token it is."""
    if source == MODELSCOPE:
        return _name_on_modelscope(token)
    from huggingface_hub.utils import build_hf_headers, hf_raise_for_status

    def request_name() -> Any:
        response = get_http_session().get(
            f"{HuggingFace.hub_address()}/api/whoami-v2",
            headers=build_hf_headers(token=token),
            timeout=make_request_timeouts(),
        )
        hf_raise_for_status(response)
        return response.json()

    answer = call_with_retries(request_name)
    return one_line(answer.get("name") or "") if isinstance(answer, dict) else ""


def _name_on_modelscope(token: str) -> str:
    response = make_modelscope_client().post(
        f"{ModelScope.hub_address()}/api/v1/login",
        json={"AccessToken": token},
        timeout=make_request_timeouts(),
    )
    response.raise_for_status()
    answer = response.json()
    data = answer.get("Data") if isinstance(answer, dict) else None
    if not isinstance(data, dict) or answer.get("Success") is False:
        raise hub_errors.make_wrong_token_error(LABELS[MODELSCOPE], MODELSCOPE)
    return one_line(data.get("Username") or "")


def _remove_token(error: Any, token: str) -> Any:
    """Return the same error with the token removed from its text."""
    return type(error)(
        error.what.replace(token, "[secret]"), where=error.where, hint=error.hint, field=error.field
    )


@contextmanager
def _quiet_client() -> Iterator[None]:
    """Keep the hub's client from logging what it does."""
    log = logging.getLogger("huggingface_hub")
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(before)
