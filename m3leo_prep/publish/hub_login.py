"""Hugging Face's login, kept where huggingface_hub looks for it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING

from m3leo_prep.core.errors import ConfigError, CredentialsError, MissingDependency, StoreError
from m3leo_prep.ports.login import Prompt, Stored

if TYPE_CHECKING:
    from m3leo_prep.ports.login import Login

ROLES = {
    "write": "it may write",
    "read": "it may only read, so nothing can be published with it",
    "fineGrained": "what it may write is in its settings (https://huggingface.co/settings/tokens)",
}


class HubLogin:
    """Stores an access token, as ``hf auth login`` does, once the Hub has accepted it."""

    name = "hub"
    title = "Hugging Face Hub (publishing, and reading private datasets)"
    signup = "https://huggingface.co/join; tokens are made at https://huggingface.co/settings/tokens"
    command = "hf auth login"
    prompts = (Prompt("token", "Access token"),)

    @property
    def path(self) -> Path:
        """The file of the token, as huggingface_hub names it in its ``constants``."""
        cache = os.environ.get("XDG_CACHE_HOME", "~/.cache")
        home = os.environ.get("HF_HOME", f"{cache}/huggingface")
        return Path(os.path.expandvars(os.environ.get("HF_TOKEN_PATH", f"{home}/token"))).expanduser()

    def stored(self) -> bool:
        """Return whether there is a token, in that file or in ``HF_TOKEN``; whether it is good, only the Hub knows."""
        return bool(os.environ.get("HF_TOKEN", "").strip()) or self.path.is_file()

    def store(self, answers: Mapping[str, str]) -> Stored:
        """Store the token, after the Hub has said whose it is.

        Raises:
            ConfigError: it is empty, or an organisation's.
            CredentialsError: the Hub does not accept it.
            MissingDependency: huggingface_hub is not installed.
            StoreError: the Hub does not answer, or the file cannot be written.
        """
        try:
            import huggingface_hub
            from huggingface_hub.errors import HfHubHTTPError
        except ImportError as error:
            raise MissingDependency("the Hub needs huggingface-hub", hint="pip install 'm3leo-prep[hub]'") from error
        # Its HTTP library has changed its name between versions.
        no_answer: type[Exception] = HfHubHTTPError.__bases__[0]
        token = answers["token"].strip()
        if not token or token.startswith("api_org"):
            hint = "make one at https://huggingface.co/settings/tokens"
            raise ConfigError("this is no access token of a person", where=self.name, hint=hint)
        endpoint = os.environ.get("HF_ENDPOINT") or None
        try:
            who = huggingface_hub.HfApi(endpoint=endpoint).whoami(token)
            huggingface_hub.login(token)
        except HfHubHTTPError as error:
            if error.response.status_code != HTTPStatus.UNAUTHORIZED:
                text = f"the Hub answers {error.response.status_code}"
                raise StoreError(text, where=self.name, hint="try again later") from None
            hint = "copy it again, or make a new one at https://huggingface.co/settings/tokens"
            raise CredentialsError("the Hub does not accept this token", where=self.name, hint=hint) from None
        except (no_answer, ConnectionError):
            raise StoreError("the Hub does not answer", where=self.name, hint="check the network") from None
        except OSError as error:
            text = f"the token cannot be written: {error.strerror or error}"
            raise StoreError(text, where=str(self.path), hint="HF_TOKEN_PATH or HF_HOME names another place") from None
        access = (who.get("auth") or {}).get("accessToken") or {}
        role = ROLES.get(access.get("role", ""), "")
        notes = [f"logged in as {who['name']}" + (f": {role}" if role else "")]
        if os.environ.get("HF_TOKEN"):
            notes.append("HF_TOKEN is set, and goes before what is stored")
        return Stored(self.path, tuple(notes))


if TYPE_CHECKING:
    _: Login = HubLogin()
