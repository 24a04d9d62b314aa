"""OpenTelemetry spans of an agent and its tools, where a tracer provider is configured; the SDK makes the model's."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Mapping
from typing import Final

try:
    from opentelemetry import trace
except ImportError:  # an optional package: no spans then
    trace = None

__all__ = ["span"]

_NAME: Final = "spojit_stripe"


@contextlib.contextmanager
def span(operation: str, name: str, attributes: Mapping[str, str | int]) -> Generator[None]:
    """One span by the conventions for generative AI: `invoke_agent story`, `execute_tool list-charges`."""
    if trace is None:
        yield
        return
    tracer = trace.get_tracer(_NAME)
    told = {"gen_ai.operation.name": operation, **attributes}
    with tracer.start_as_current_span(f"{operation} {name}", attributes=told):
        yield
