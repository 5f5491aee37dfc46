"""Files that hold secrets: written whole, readable by their owner alone; and the netrc format in them."""

from __future__ import annotations

import netrc
import os
import re
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from m3leo_prep.core.errors import ConfigError, PrepError, StoreError
from m3leo_prep.ports.login import Stored

_TOKEN = re.compile(r'"(?:\\.|[^"\\])*"|(?:\\.|[^\s\\])+', re.DOTALL)
_PLAIN = re.compile(r"[A-Za-z0-9._@%+=:,/~^*!-]+")
_KEYS = {"login": "login", "user": "login", "account": "account", "password": "password"}


def write_secret(path: Path, data: bytes, *, check: Callable[[Path], None] | None = None) -> Stored:
    """Write a file that only its owner may read (mode 0600), whole or not at all, through a link to what it links to.

    Args:
        path: the file; its folder is made for the owner alone (0700) if there is none.
        data: all of its new content.
        check: called with the new file before it takes the old one's place; what it raises leaves the old one.

    Raises:
        StoreError: it cannot be written.
    """
    target = Path(os.path.realpath(path))
    notes = []
    temporary = None
    try:
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if target.exists() and target.stat().st_mode & 0o077:
            notes.append(f"{path} could be read by others; now only by you")
        handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")  # made with mode 0600
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if check is not None:
            check(Path(temporary))
        Path(temporary).replace(target)
        temporary = None
    except PrepError:
        raise
    except OSError as error:
        raise StoreError(
            f"the login cannot be stored: {error.strerror}",
            where=str(path),
            hint="the file and its folder must be yours",
        ) from None
    finally:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
    return Stored(path, tuple(notes))


def netrc_path() -> Path:
    """Return the netrc file of this user: ``$NETRC``, else ``~/.netrc``."""
    return Path(os.environ.get("NETRC") or "~/.netrc").expanduser()


def netrc_has(machine: str) -> bool:
    """Return whether the netrc file holds a user and a password for ``machine``."""
    return netrc_login(machine) is not None


def netrc_login(machine: str) -> tuple[str, str] | None:
    """Return user and password of the netrc file for ``machine``, None if it holds none.

    Raises:
        ConfigError: the file is not in that format.
        StoreError: it cannot be read.
    """
    path = netrc_path()
    if not path.is_file():
        return None
    user, _, password = _read(path).hosts.get(machine, ("", "", ""))
    return (user, password) if user and password else None


def warn_of_readers(path: Path) -> None:
    """Say once that others can read the passwords of a file."""
    if path not in _warned and path.stat().st_mode & 0o077:
        _warned.add(path)
        warnings.warn(f"{path} with your passwords can be read by others: chmod 600 {path}", UserWarning, stacklevel=3)


_warned: set[Path] = set()


def store_netrc(machine: str, user: str, password: str) -> Stored:
    """Put a login into the netrc file in place of the machine's old one; the rest is kept byte for byte.

    Raises:
        ConfigError: the format cannot hold the user or the password, or the file is not in that format.
        StoreError: it cannot be written.
    """
    for name, value in (("user", user), ("password", password)):
        if not value:
            raise ConfigError(f"the {name} is empty", hint="nothing was stored")
        if not value.isprintable():
            raise ConfigError(f"the {name} holds a character that a netrc file cannot", hint="nothing was stored")
    path = netrc_path()
    try:
        # Latin-1 gives every byte back as it was; what matters to the format is ASCII.
        old = path.read_bytes().decode("latin-1")
    except FileNotFoundError:
        before, old = None, ""
    except OSError as error:
        raise StoreError(f"it cannot be read: {error.strerror}", where=str(path)) from None
    else:
        before = _read(path)
    new = _with_login(old, machine, {"login": user, "password": password}).encode("latin-1")
    hosts, macros = ({}, {}) if before is None else (before.hosts, before.macros)
    wanted = hosts | {machine: (user, hosts.get(machine, ("", "", ""))[1], password)}

    def check(made: Path) -> None:
        """The reader that the official clients use must find the login as it was typed, and all others as before."""
        try:
            found = _read(made)
            is_right = found.hosts == wanted and found.macros == macros
        except ConfigError:  # its message would blame our copy
            is_right = False
        if not is_right:
            raise ConfigError(
                "the login cannot be added to this file without harm; nothing was stored",
                where=str(path),
                hint=f"write by hand: machine {machine} login USER password PASSWORD",
            )

    return write_secret(path, new, check=check)


def _read(path: Path) -> netrc.netrc:
    try:
        return netrc.netrc(str(path))
    except OSError as error:
        raise StoreError(f"it cannot be read: {error.strerror}", where=str(path)) from None
    except (netrc.NetrcParseError, UnicodeDecodeError) as error:
        # Its message may quote a password.
        line = f", line {error.lineno}" if isinstance(error, netrc.NetrcParseError) else ""
        raise ConfigError(
            "this is not a netrc file as Python reads it, so no login in it works; nothing was stored",
            where=f"{path}{line}",
            hint="quote values with spaces, write comments as '# text' on lines of their own; or move the file away",
        ) from None


@dataclass
class _Entry:
    """Where one machine's entry stands in the text."""

    machine: str
    end: int
    values: dict[str, tuple[int, int]] = field(default_factory=dict)


def _with_login(text: str, machine: str, answers: dict[str, str]) -> str:
    """Return a netrc text with the login of ``machine`` changed or added, before any ``default``."""
    quoted = {key: _quote(value).encode().decode("latin-1") for key, value in answers.items()}
    entries, default = _entries(text)
    changes: list[tuple[int, int, str]] = []
    for entry in (e for e in entries if e.machine == machine):
        for key, value in quoted.items():
            start, end = entry.values.get(key, (entry.end, entry.end))
            changes.append((start, end, value if start < end else f" {key} {value}"))
    if not changes:
        line = f"machine {machine} login {quoted['login']} password {quoted['password']}\n"
        at = len(text) if default is None else default
        changes.append((at, at, line if at == 0 or text[at - 1] == "\n" else f"\n{line}"))
    # From the end, and at one place the later change first, so that no place moves before its turn.
    changes.sort(key=lambda change: change[0])
    for start, end, value in reversed(changes):
        text = text[:start] + value + text[end:]
    return text


def _entries(text: str) -> tuple[list[_Entry], int | None]:
    """Return the machines' entries, and where ``default`` stands."""
    entries: list[_Entry] = []
    default = None
    tokens = _tokens(text)
    for token in tokens:
        word = token[0]
        if word == "machine":
            name = next(tokens, token)
            entries.append(_Entry(_unquote(name[0]), name.end()))
        elif word == "default":
            default = token.start()
            entries.append(_Entry("", token.end()))
        elif word in _KEYS and entries:
            value = next(tokens, token)
            entries[-1].values[_KEYS[word]] = value.span()
            entries[-1].end = value.end()
    return entries, default


def _tokens(text: str) -> Iterator[re.Match[str]]:
    """Yield the words of a netrc text, without comments and macros."""
    position, is_value = 0, False
    while token := _TOKEN.search(text, position):
        position = token.end()
        if token[0].startswith("#") and not is_value:
            position = _after(text, "\n", position)
        elif token[0] == "macdef" and not is_value:
            position = _after(text, "\n\n", position)
        else:
            is_value = not is_value and token[0] in {"machine", *_KEYS}
            yield token


def _after(text: str, mark: str, position: int) -> int:
    found = text.find(mark, position)
    return len(text) if found < 0 else found + len(mark)


def _quote(value: str) -> str:
    if _PLAIN.fullmatch(value):
        return value
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _unquote(token: str) -> str:
    return re.sub(r"\\(.)", r"\1", token[1:-1] if token.startswith('"') else token)
