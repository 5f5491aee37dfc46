"""What the Hub's client raises, in our words: what may pass, who must log in, and what is refused for good."""

from __future__ import annotations

import re
from http import HTTPStatus

from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

from m3leo_prep.core.errors import CredentialsError, PrepError, PublishError
from m3leo_prep.publish.limits import PARTS
from m3leo_prep.publish.targets.patience import LONGEST_WAIT_S, MayPass

HttpError: type[Exception] = HfHubHTTPError.__bases__[0]
"""Root of what its HTTP library raises; that library has changed its name between versions of the client."""
RAISED: tuple[type[Exception], ...] = (HttpError, OSError, RuntimeError, ValueError)
"""What the client's calls raise; an upload in its threads comes as RuntimeError, a refusal by LFS as ValueError."""
LOGIN = "run `hf auth login`, or set HF_TOKEN to a token that may write (https://huggingface.co/settings/tokens)"
NAMES = (
    "a repository is OWNER/NAME; NAME has letters, digits, '-', '_' and '.', at most 96 characters, "
    "and neither begins nor ends with '-' or '.', nor holds '--' or '..'"
)
_AGAIN = "run the same `publish` again: it goes on where it stopped"
_PASSING = {
    HTTPStatus.REQUEST_TIMEOUT,
    HTTPStatus.CONFLICT,
    HTTPStatus.PRECONDITION_FAILED,
    HTTPStatus.TOO_MANY_REQUESTS,
    HTTPStatus.INTERNAL_SERVER_ERROR,
    HTTPStatus.BAD_GATEWAY,
    HTTPStatus.SERVICE_UNAVAILABLE,
    HTTPStatus.GATEWAY_TIMEOUT,
}


def explained(error: Exception, where: str) -> PrepError | MayPass:
    """Return what to raise in place of an error of the client.

    Texts of the client are not passed on, since addresses in them may be signed; only what the server says is.

    Raises:
        Exception: the error itself, where it is none of the network's or the Hub's.
    """
    cause = error.__cause__ if isinstance(error, RuntimeError) else error
    if isinstance(cause, HfHubHTTPError):
        return _answered(cause, where)
    if isinstance(cause, HFValidationError):
        return PublishError("this name is not allowed", where=where, hint=NAMES)
    if isinstance(cause, ValueError):  # the LFS server refused objects, or the card's head is wrong
        return _refused(str(cause), where)
    is_local = isinstance(cause, FileNotFoundError | PermissionError) and not isinstance(cause, LocalEntryNotFoundError)
    if isinstance(cause, (HttpError, OSError)) and not is_local:
        hint = f"check the network and https://status.huggingface.co, then {_AGAIN}"
        return MayPass(PublishError("the Hub does not answer", where=where, hint=hint))
    if isinstance(error, RuntimeError) and type(error).__module__.startswith("hf_xet"):
        return MayPass(PublishError("the Hub's storage does not answer", where=where, hint=_AGAIN))
    raise error


def _answered(error: HfHubHTTPError, where: str) -> PrepError | MayPass:
    status, said = error.response.status_code, _words(error.server_message or "")
    if _is_full(status, said):
        return _refused(said, where)
    if status == HTTPStatus.UNAUTHORIZED:
        return CredentialsError("the Hub refuses this login: it is wrong, or it has ended", where=where, hint=LOGIN)
    if status == HTTPStatus.FORBIDDEN:
        message = f"this login may not write here{f' ({said})' if said else ''}"
        return CredentialsError(message, where=where, hint=f"choose a repository of yours, or {LOGIN}")
    if status == HTTPStatus.NOT_FOUND:
        message = "there is no such repository or revision, or this login may not see it"
        return PublishError(message, where=where, hint="a tag or a commit cannot be written: give a branch")
    if status == HTTPStatus.BAD_REQUEST and "LFS pointer" in said:
        return MayPass(PublishError("the Hub has lost a file that was sent", where=where, hint=_AGAIN))
    if status not in _PASSING:
        return _refused(said, where)
    if status == HTTPStatus.PRECONDITION_FAILED:
        hint = f"wait until nobody else writes there, then {_AGAIN}"
        return MayPass(PublishError("somebody else changes the repository", where=where, hint=hint))
    wait = _asked(error)
    message = f"the Hub answers {status}{f' ({said})' if said else ''}"
    if wait is not None and wait > LONGEST_WAIT_S:
        return PublishError(f"{message} and asks to wait {wait / 3600:.1f} h", where=where, hint=f"then {_AGAIN}")
    return MayPass(PublishError(message, where=where, hint=_AGAIN), wait)


def _refused(said: str, where: str) -> PublishError:
    said = _words(said)
    if _is_full(None, said):
        hint = f"make room or get more storage (https://huggingface.co/docs/hub/storage-limits); or {PARTS}"
        return PublishError(f"the account is full: {said}", where=where, hint=hint)
    hint = NAMES if re.search(r"\b(name|repo)", said, re.IGNORECASE) else "change what it names, and publish again"
    return PublishError(f"the Hub refuses it: {said or 'it does not say why'}", where=where, hint=hint)


def _is_full(status: int | None, said: str) -> bool:
    full = {HTTPStatus.PAYMENT_REQUIRED, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, HTTPStatus.INSUFFICIENT_STORAGE}
    return status in full or bool(re.search(r"storage|quota", said, re.IGNORECASE))


def _asked(error: HfHubHTTPError) -> float | None:
    """Return the seconds that the Hub asks to wait: ``Retry-After``, or ``t`` of ``RateLimit``."""
    headers = error.response.headers
    if (text := headers.get("retry-after", "")).strip().isdigit():
        return float(text)
    reset = re.search(r"\bt=(\d+)", headers.get("ratelimit", ""))
    return float(reset[1]) if reset and error.response.status_code == HTTPStatus.TOO_MANY_REQUESTS else None


def _words(said: str) -> str:
    """Return the first words of what the server says, without addresses."""
    return " ".join(re.sub(r"https?://\S+", "", said).split())[:200]
