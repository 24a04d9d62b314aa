"""Paths that can only lead to the service they are meant for.

An HTTP library normalises dot segments, lets a URL replace the host and decodes escapes, so
everything here is checked before a URL is made.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import quote, unquote

from spojit_stripe.errors import InputError

__all__ = ["MAX_ID_LENGTH", "check_path", "fill"]

MAX_ID_LENGTH = 255
"""Stripe: ids are opaque and at most 255 characters long."""

_MAX_PATH_LENGTH = 2048
_PLAIN = re.compile(r"/v[12](?:/[A-Za-z0-9_-]+)+")
_ALLOWED = re.compile(r"(?:[A-Za-z0-9\-._~!$&'()*+,;=:@/]|%[0-9A-Fa-f]{2})+")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_PARAM = re.compile(r"\{([^{}]*)\}")


def check_path(path: str) -> str:
    """`path` itself, where it is an absolute path of Stripe's API without query.

    Raises `InputError` naming what is wrong: another host, dot segments (escaped ones too),
    a query, a fragment, backslashes, control characters or an unfilled `{name}`.
    """
    if len(path) <= _MAX_PATH_LENGTH and _PLAIN.fullmatch(path):
        return path
    fault = _fault(path)
    if fault is not None:
        raise InputError(f"path {path[:120]!r}: {fault}")
    return path


def _fault(path: str) -> str | None:
    if len(path) > _MAX_PATH_LENGTH:
        return f"longer than {_MAX_PATH_LENGTH} characters"
    fault = _fault_of_start(path) or _fault_of_characters(path)
    if fault is not None:
        return fault
    for segment in path.split("/")[2:]:
        fault = _fault_of_segment(segment)
        if fault is not None:
            return fault
    return None


def _fault_of_start(path: str) -> str | None:
    if not path.startswith("/"):
        scheme = re.match(r"[A-Za-z][A-Za-z0-9+.-]*:", path)
        if scheme or path.startswith("@"):
            return "a path must not name a scheme or a host; write it as /v1/customers"
        return "must begin with /v1/ or /v2/"
    if path.startswith("//"):
        return "must begin with a single /; two would name another host"
    if not path.startswith(("/v1/", "/v2/")):
        return "must begin with /v1/ or /v2/"
    return None


def _fault_of_characters(path: str) -> str | None:
    for character, what in (
        ("?", "must not have a query; put it in params"),
        ("#", "must not have a fragment (#)"),
        ("\\", "must not have a backslash"),
    ):
        if character in path:
            return what
    unfilled = _PARAM.search(path)
    if unfilled:
        return f"put an id in the place of {unfilled.group()}"
    if _CONTROL.search(path) or any(character.isspace() for character in path):
        return "must not have spaces or control characters"
    if not _ALLOWED.fullmatch(path):
        return "has characters that need escaping; use the percent form, %20 for a space"
    return None


def _fault_of_segment(segment: str) -> str | None:
    if not segment:
        return "has an empty part (an id that is empty?)"
    plain = _decoded(segment)
    if plain in (".", ".."):
        return f"the part {segment!r} would lead out of its place"
    if "/" in plain or "\\" in plain:
        return f"the part {segment!r} hides a slash"
    if _CONTROL.search(plain):
        return f"the part {segment!r} hides a control character"
    return None


def _decoded(text: str) -> str:
    """`text` without percent escapes, however often it was escaped."""
    while "%" in text:
        plain = unquote(text)
        if plain == text:
            break
        text = plain
    return text


def fill(template: str, ids: Mapping[str, object]) -> str:
    """`template` with its `{name}` parts replaced by escaped ids.

    Raises `InputError` where an id is missing, empty, too long, or no id at all.
    """

    def put(match: re.Match[str]) -> str:
        name = match.group(1)
        return _escaped(name, ids.get(name))

    return check_path(_PARAM.sub(put, template))


def _escaped(name: str, value: object) -> str:
    if value is None or value == "":
        raise InputError(f"{name}: is empty; give the id of the object that is meant")
    if not isinstance(value, str):
        raise InputError(f"{name}: an id is text, got {value!r}")
    if len(value) > MAX_ID_LENGTH:
        raise InputError(f"{name}: {value[:20]!r}… is longer than {MAX_ID_LENGTH} characters, which no id is")
    if value != value.strip():
        raise InputError(f"{name}: {value!r} has a space before or after it; give the id alone")
    plain = _decoded(value)
    if "/" in plain or "\\" in plain:
        raise InputError(f"{name}: {value!r} has a slash, which no id has; give the id alone, not a path or a URL")
    if plain in (".", ".."):
        raise InputError(f"{name}: {value!r} is no id; give the id of the object that is meant")
    if _CONTROL.search(plain):
        raise InputError(f"{name}: {value!r} has a control character, which no id has")
    try:
        return quote(value, safe="")
    except UnicodeEncodeError:
        raise InputError(f"{name}: {value!r} is no valid text") from None
