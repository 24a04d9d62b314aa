"""What an agent is given: a prompt, tools, a model, limits and the form of its answer."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from typing import Final, Literal

from spojit_stripe.catalog import Catalog, Tool
from spojit_stripe.errors import InputError
from spojit_stripe.redact import printable, redact_text
from spojit_stripe.values import JsonObject

__all__ = ["DEFAULT_MODEL", "AgentSpec", "Limits", "default_tools"]

DEFAULT_MODEL: Final = "claude-sonnet-5-5"
_MODEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@/-]{0,127}")
_LONGEST_PROMPT: Final = 200_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Where an agent stops, whatever it has. `seconds` count work, not the wait for a person."""

    turns: int = 12
    tool_calls: int = 30
    tokens: int = 200_000
    cost_usd: float = 1.0
    seconds: float = 900.0
    objects: int = 100_000

    def check(self) -> None:
        """Raises `InputError` for a limit under which nothing can be done."""
        for one in fields(self):
            value = getattr(self, one.name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
                raise InputError(f"limits.{one.name}: is {value!r}; it must be more than 0, or be left out")


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentSpec:
    """One agent of one node. `prompt` is rendered already.

    `tools` names the tools of the catalog it may use; None gives all that only read.
    `response_schema` is the author's JSON Schema of the answer; without one it is text.
    A write may only name ids that stand in `trusted`, texts that the author wrote himself or
    vouches for (the template's own words, values of inputs under `trusted_ids`), or in id fields
    of results. `on_limit` says what a reached limit makes of the run.
    """

    prompt: str
    tools: tuple[str, ...] | None = None
    model: str = DEFAULT_MODEL
    limits: Limits = Limits()
    response_schema: JsonObject | None = None
    trusted: tuple[str, ...] = ()
    on_limit: Literal["incomplete", "fail"] = "incomplete"
    corrections: int = 2
    max_tokens: int = 8_192

    def check(self, catalog: Catalog) -> None:
        """Raises `InputError` for what can't work, before the model is asked."""
        if not self.prompt.strip():
            raise InputError("prompt: is empty; say what the agent is to find out")
        if len(self.prompt) > _LONGEST_PROMPT:
            raise InputError(
                f"prompt: has {len(self.prompt):,} characters; give at most {_LONGEST_PROMPT:,}, and let the agent "
                "fetch the rest with its tools"
            )
        if not _MODEL.fullmatch(self.model):
            shown = printable(redact_text(self.model[:60]))
            raise InputError(f"model: {shown!r} is no name of a model; write one such as {DEFAULT_MODEL}")
        self.limits.check()
        for place, name in enumerate(self.tools or ()):
            try:
                catalog.tool(name)
            except InputError as error:
                raise InputError(f"tools[{place}]: {error}") from None
        if self.response_schema is not None:
            from spojit_stripe.agent.answer import check_schema  # a schema library, only where there is a schema

            check_schema(self.response_schema)


def default_tools(catalog: Catalog) -> tuple[Tool, ...]:
    """The tools an agent gets when its author names none: those that only read."""
    return tuple(tool for tool in catalog if tool.annotations.read_only)
