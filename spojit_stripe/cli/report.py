"""What people read on standard error: one clear line each, without secrets or escapes."""

from __future__ import annotations

import json
import os
import re
import sys
from typing import TYPE_CHECKING

from spojit_stripe.errors import ServiceError, SpojitError
from spojit_stripe.redact import printable, redact_text

if TYPE_CHECKING:
    from spojit_stripe.values import JsonObject, JsonValue

__all__ = ["data_line", "json_text", "note", "report_error", "warn"]

# Legal in JSON as they are, but a terminal obeys them or shows them misleadingly.
_UNSHOWABLE = re.compile("[\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ud800-\udfff\ufeff\ufff9-\ufffb]")


def note(text: str) -> None:
    """One line for people. A closed standard error is no reason to stop."""
    try:
        sys.stderr.write(f"{printable(redact_text(text))}\n")
        sys.stderr.flush()
    except (OSError, ValueError):
        return


def warn(text: str) -> None:
    note(f"warning: {text}")


def data_line(text: str) -> None:
    """One line of data on standard output."""
    sys.stdout.write(f"{text}\n")


def json_text(value: JsonValue, *, indent: int | None = 2) -> str:
    """JSON that reads well and that a terminal shows as it is."""
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    return _UNSHOWABLE.sub(lambda match: f"\\u{ord(match.group()):04x}", text)


def report_error(error: SpojitError, *, as_json: bool, more: JsonObject | None = None) -> int:
    """Tell an error on standard error, with `as_json` also as data; gives its exit code."""
    note(f"error: {error.message}")
    if isinstance(error, ServiceError):
        details = _details(error)
        if details:
            note(f"       {details}")
    if as_json:
        told: JsonObject = {**error.to_json(), "exit_code": error.exit_code, **(more or {})}
        data_line(redact_text(json_text(told)))
    return error.exit_code


def _details(error: ServiceError) -> str:
    problem = error.problem
    codes = "/".join(code for code in (problem.code, problem.decline_code) if code)
    parts = [
        codes,
        f"parameter {problem.param}" if problem.param else "",
        f"missing permission {problem.missing_permission}" if problem.missing_permission else "",
        f"left behind {problem.related_object}" if problem.related_object else "",
        f"request {problem.request_id}" if problem.request_id else "",
        f"{problem.attempts} attempts" if problem.attempts > 1 else "",
        problem.doc_url or "",
    ]
    return ", ".join(part for part in parts if part)


def debugging() -> bool:
    return os.environ.get("SPOJIT_DEBUG", "") not in ("", "0")
