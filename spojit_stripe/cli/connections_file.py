"""Edit `connections.yaml` as a person would: comments and the other entries stay as they are.

The text is edited by lines and then read again. Where the reading differs from what was
meant (flow style, anchors), the whole file is written anew: comments go, entries never do.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import cast

from spojit_stripe.cli.sink import written_whole
from spojit_stripe.errors import ConfigurationError, SpojitError
from spojit_stripe.values import JsonObject, JsonValue
from spojit_stripe.yamlfile import Document, parse

__all__ = ["block_of", "edited", "locked", "read", "save"]

# Scalars that any YAML reads as the very text that is written, in a block and in braces.
_PLAIN = re.compile(r"(?:[A-Za-z/]|\$\{)(?:[A-Za-z0-9_./${}~@+-]|:(?! |$))*")
_PLAIN_IN_FLOW = re.compile(r"[A-Za-z/][A-Za-z0-9_./@+-]*")
_NOT_TEXT = frozenset({"true", "false", "null", "yes", "no", "on", "off", "y", "n"})
_ROOT = "connections"


@contextlib.contextmanager
def locked(path: Path) -> Generator[None]:
    """Only one process edits the file at a time; the folder is made where it is missing."""
    folder = path.resolve().parent
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise ConfigurationError(f"can't write {path}: {error.strerror or error}") from None
    try:
        with contextlib.suppress(ImportError, OSError):  # no such locks on Windows and some network drives
            import fcntl

            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def read(path: Path) -> tuple[str, Document]:
    """Text and data of the file; nothing where there is none yet."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return "", Document(str(path), None)
    except OSError as error:
        raise ConfigurationError(f"can't read the connections file {path}: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"can't read the connections file {path}: {error}") from None
    return text, parse(text, str(path))


def save(path: Path, text: str) -> None:
    """Replace the file as a whole; only its owner may read it."""
    with written_whole(path, mode=0o600) as stream:
        stream.write(text)


def edited(text: str, document: Document, name: str, entry: JsonObject | None) -> tuple[str, bool]:
    """The text with `name` set to `entry`, or taken out; and whether comments were kept."""
    entries = _entries(document)
    meant = {key: value for key, value in entries.items() if entry is not None or key != name}
    if entry is not None:
        meant[name] = entry
    new = _by_lines(text, document, name, entry)
    if _reads_as(new, meant):
        return new, True
    anew = _emitted({_ROOT: meant})
    if not _reads_as(anew, meant):  # better no change than a lost entry
        raise ConfigurationError(f"{document.name}: can't be edited without loss; edit it by hand")
    return anew, "#" not in text


def _entries(document: Document) -> JsonObject:
    data = document.data
    found = data.get(_ROOT) if isinstance(data, dict) else None
    return found if isinstance(found, dict) else {}


def _reads_as(text: str, meant: JsonObject) -> bool:
    try:
        found = parse(text, _ROOT)
    except SpojitError:
        return False
    return _entries(found) == meant and (not meant or list(cast("JsonObject", found.data)) == [_ROOT])


def _by_lines(text: str, document: Document, name: str, entry: JsonObject | None) -> str:
    lines = text.splitlines()
    root = document.positions.get((_ROOT,))
    if root is None:
        return "\n".join([*lines, f"{_ROOT}:", *(block_of(name, entry, 2) if entry is not None else [])]) + "\n"
    here = document.positions.get((_ROOT, name))
    first = min((document.positions[_ROOT, key] for key in _entries(document)), default=None)
    indent = first[1] - 1 if first else root[1] + 1
    block = block_of(name, entry, indent) if entry is not None else []
    if here is not None:
        start, end = here[0] - 1, _end(lines, here[0], here[1])
    else:
        start = end = _end(lines, root[0], indent)
    return "\n".join([*lines[:start], *block, *lines[end:]]) + "\n"


def _end(lines: list[str], after: int, indent: int) -> int:
    """The first line behind what is indented at least by `indent`, comments behind it left out."""
    end = after
    for at in range(after, len(lines)):
        content = lines[at].strip()
        if not content or content.startswith("#"):
            continue
        if len(lines[at]) - len(lines[at].lstrip(" ")) < indent:
            break
        end = at + 1
    return end


# --- YAML out ---------------------------------------------------------------------------------


def block_of(name: str, entry: JsonObject, indent: int) -> list[str]:
    """The lines of one entry."""
    return [" " * indent + line for line in _lines({name: entry}, blocks=1)]


def _emitted(data: JsonObject) -> str:
    return "\n".join(_lines(data, blocks=2)) + "\n"


def _lines(data: JsonObject, blocks: int = 0) -> Iterator[str]:
    """Block style for the outer `blocks` levels and for what is nested, flow style for the rest."""
    for name, value in data.items():
        key = _scalar(name, _PLAIN)
        nested = isinstance(value, dict) and any(isinstance(one, dict | list) for one in value.values())
        if isinstance(value, dict) and value and (blocks or nested):
            yield f"{key}:"
            yield from (f"  {line}" for line in _lines(value, max(blocks - 1, 0)))
        elif isinstance(value, dict | list):
            yield f"{key}: {_flow(value)}"
        else:
            yield f"{key}: {_scalar(value, _PLAIN)}"


def _flow(value: JsonValue) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_flow(name)}: {_flow(one)}" for name, one in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_flow(one) for one in value) + "]"
    return _scalar(value, _PLAIN_IN_FLOW)


def _scalar(value: JsonValue, plain: re.Pattern[str]) -> str:
    if not isinstance(value, str):
        return json.dumps(value)
    if plain.fullmatch(value) and value.lower() not in _NOT_TEXT:
        return value
    return json.dumps(value)  # every JSON text is YAML
