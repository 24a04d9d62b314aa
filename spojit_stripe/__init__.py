"""Stripe as a node in workflows."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from spojit_stripe.agent import AgentSpec, run_agent
    from spojit_stripe.catalog import Catalog, Tool
    from spojit_stripe.connection import Connection, Connections, Policy
    from spojit_stripe.connector import Connector, Wire
    from spojit_stripe.direct import preview_tool, run_tool
    from spojit_stripe.errors import (
        AccessError,
        ConfigurationError,
        ConflictError,
        DeclinedError,
        InputError,
        InvalidRequestError,
        OutcomeUnknownError,
        Problem,
        RefusedError,
        ServiceError,
        SpojitError,
        UnavailableError,
    )
    from spojit_stripe.hookspecs import hookimpl
    from spojit_stripe.host import Host
    from spojit_stripe.node import ConnectorNode, Output, Where
    from spojit_stripe.session import Session
    from spojit_stripe.steps import InProcessSteps, Steps
    from spojit_stripe.values import (
        Amount,
        Done,
        Effect,
        Failed,
        Meta,
        Outcome,
        Paging,
        Paused,
        Planned,
        Position,
        Preview,
        ToolCall,
        Writes,
    )
    from spojit_stripe.workflow import NodeContext, NodeType

_HOMES = {
    "AccessError": "errors",
    "AgentSpec": "agent",
    "Amount": "values",
    "Catalog": "catalog",
    "ConfigurationError": "errors",
    "ConflictError": "errors",
    "Connection": "connection",
    "Connections": "connection",
    "Connector": "connector",
    "ConnectorNode": "node",
    "DeclinedError": "errors",
    "Done": "values",
    "Effect": "values",
    "Failed": "values",
    "Host": "host",
    "InProcessSteps": "steps",
    "InputError": "errors",
    "InvalidRequestError": "errors",
    "Meta": "values",
    "NodeContext": "workflow",
    "NodeType": "workflow",
    "Outcome": "values",
    "OutcomeUnknownError": "errors",
    "Output": "node",
    "Paging": "values",
    "Paused": "values",
    "Planned": "values",
    "Policy": "connection",
    "Position": "values",
    "Preview": "values",
    "Problem": "errors",
    "RefusedError": "errors",
    "ServiceError": "errors",
    "Session": "session",
    "SpojitError": "errors",
    "Steps": "steps",
    "Tool": "catalog",
    "ToolCall": "values",
    "UnavailableError": "errors",
    "Where": "node",
    "Wire": "connector",
    "Writes": "values",
    "hookimpl": "hookspecs",
    "preview_tool": "direct",
    "run_agent": "agent",
    "run_tool": "direct",
}

__all__ = [
    "AccessError",
    "AgentSpec",
    "Amount",
    "Catalog",
    "ConfigurationError",
    "ConflictError",
    "Connection",
    "Connections",
    "Connector",
    "ConnectorNode",
    "DeclinedError",
    "Done",
    "Effect",
    "Failed",
    "Host",
    "InProcessSteps",
    "InputError",
    "InvalidRequestError",
    "Meta",
    "NodeContext",
    "NodeType",
    "Outcome",
    "OutcomeUnknownError",
    "Output",
    "Paging",
    "Paused",
    "Planned",
    "Policy",
    "Position",
    "Preview",
    "Problem",
    "RefusedError",
    "ServiceError",
    "Session",
    "SpojitError",
    "Steps",
    "Tool",
    "ToolCall",
    "UnavailableError",
    "Where",
    "Wire",
    "Writes",
    "hookimpl",
    "preview_tool",
    "run_agent",
    "run_tool",
]


def __getattr__(name: str) -> object:
    # Loaded at first use: the command line's help must not wait for a schema library.
    if name in _HOMES:
        return getattr(import_module(f"spojit_stripe.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'spojit_stripe' has no attribute {name!r}")
