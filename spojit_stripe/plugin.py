"""The built-in plug-in: the Stripe connector, two node types, and two places where secrets are kept."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from spojit_stripe.errors import ConfigurationError
from spojit_stripe.hookspecs import hookimpl

if TYPE_CHECKING:
    from spojit_stripe.connector import Connector
    from spojit_stripe.workflow import NodeType

__all__ = ["register_connectors", "register_node_types", "register_secret_resolvers"]


@hookimpl
def register_connectors() -> list[Connector]:
    """Stripe."""
    from spojit_stripe.wire.connector import StripeConnector  # at use: help and completion must start fast

    return [StripeConnector()]


@hookimpl
def register_node_types() -> list[NodeType]:
    """`stripe-sync` and `stripe-reconcile`."""
    from spojit_stripe.sync.nodes import NODE_TYPES  # at use, likewise

    return [*NODE_TYPES]


@hookimpl
def register_secret_resolvers() -> dict[str, Callable[[str], str]]:
    """`${env:NAME}` and `${file:PATH}`."""
    return {"env": _from_environment, "file": _from_file}


def _from_environment(name: str) -> str:
    value = os.environ.get(name)
    if value is None:
        raise ConfigurationError(f"the environment variable {name} is not set")
    return value


def _from_file(name: str) -> str:
    path = Path(name).expanduser()
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text file"
        raise ConfigurationError(f"can't read the file {path}: {reason}") from None
