"""The data host, which asks for a login and sends on to a signed address on another host."""

from __future__ import annotations

from urllib.parse import quote

from m3leo_prep.testing.answers import Answer, file_part
from m3leo_prep.testing.earthdata import login
from m3leo_prep.testing.earthdata.calls import Call

_ERROR = '<?xml version="1.0" encoding="UTF-8"?><Error><Code>{}</Code><Message>{}</Message></Error>'


def data(call: Call) -> Answer:
    """Send who is logged in to the file's signed address, others to the login."""
    if not login.has_cookie(call) and not (call.held.takes_tokens and login.knows(call)):
        return login.to_login(call)
    dataset, name = call.parts["dataset"], call.parts["name"]
    if call.held.file(dataset, name) is None:
        return storage_error(404, "NoSuchKey", "The specified key does not exist.")
    path = f"/signed/{dataset}/{name}"
    query = f"A-userid={call.held.user}&X-Amz-Expires=3600&X-Amz-Signature={call.held.signature(path)}"
    return Answer(b"", 303, "text/plain", {"Location": f"{call.signed}{quote(path)}?{query}"})


def signed(call: Call) -> Answer:
    """Return a file to who has its signed address, and to nobody who shows a login besides."""
    if "authorization" in call.headers:
        return storage_error(400, "InvalidArgument", "Only one auth mechanism allowed")
    if call.one("X-Amz-Signature") != call.held.signature(call.request.path):
        return storage_error(403, "AccessDenied", "Request has expired")
    file = call.held.file(call.parts["dataset"], call.parts["name"])
    if file is None:
        return storage_error(404, "NoSuchKey", "The specified key does not exist.")
    return file_part(file, call.request.range, {"ETag": f'"{call.held.signature(str(file))[:32]}"'})


def storage_error(status: int, code: str, text: str) -> Answer:
    """Return an error as an object store forms it."""
    return Answer(_ERROR.format(code, text).encode(), status, "application/xml")
