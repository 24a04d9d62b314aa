"""How a sync went, and how it tells of itself while it goes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from spojit_stripe.errors import SpojitError
from spojit_stripe.sync.rows import Counts
from spojit_stripe.values import JsonObject, JsonValue

__all__ = ["Mode", "Report", "Synced", "Tell"]

Mode: TypeAlias = Literal["history", "changes", "full"]
Tell: TypeAlias = Callable[[str, JsonObject], None]
"""Hears `begin`, `read`, `warning` and `end` of each resource, as it happens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Synced:
    """How one resource went. `failed` names objects that could not be read, and why."""

    resource: str
    mode: Mode | None = None
    counts: Counts = field(default_factory=Counts)
    requests: int = 0
    as_of: int | None = None
    failed: dict[str, str] = field(default_factory=dict[str, str])
    error: SpojitError | None = None

    def to_json(self) -> JsonObject:
        failed: JsonObject = {**self.failed}
        return {
            "resource": self.resource,
            "mode": self.mode,
            "read": self.counts.read,
            "new": self.counts.new,
            "changed": self.counts.changed,
            "deleted": self.counts.deleted,
            "requests": self.requests,
            "as_of": self.as_of,
            "failed": failed,
            "error": self.error.to_json() if self.error else None,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """How a sync went. `exit_code` as on the command line: 8 where a part of it failed."""

    destination: str
    resources: tuple[Synced, ...]

    @property
    def exit_code(self) -> int:
        errors = [one.error for one in self.resources if one.error is not None]
        if errors and len(errors) == len(self.resources):
            return errors[0].exit_code
        return 8 if errors or any(one.failed for one in self.resources) else 0

    def to_json(self) -> JsonObject:
        rows: list[JsonValue] = [one.to_json() for one in self.resources]
        return {"destination": self.destination, "resources": rows, "exit_code": self.exit_code}
