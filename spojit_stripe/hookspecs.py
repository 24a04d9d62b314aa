"""The host contract: one verb per hook, in the pluggy group `spojit`.

A plug-in is a module or object with functions of these names, marked with `hookimpl`, and
named by an entry point of the group `spojit`. An implementation may take fewer arguments
than its specification. All are called without `await`, and get copies: what a plug-in changes
in them is its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from spojit_stripe.connector import Connector
    from spojit_stripe.jsonvalue import JsonValue
    from spojit_stripe.values import Outcome, Preview
    from spojit_stripe.workflow import NodeType

__all__ = ["GROUP", "hookimpl", "hookspec"]

GROUP = "spojit"
hookspec = pluggy.HookspecMarker(GROUP)
hookimpl = pluggy.HookimplMarker(GROUP)


@hookspec
def register_connectors() -> list[Connector]:  # pyright: ignore[reportReturnType] # a specification has no body
    """Offer connectors; each `connector:` of a connection or node names one."""


@hookspec
def register_secret_resolvers() -> dict[str, Callable[[str], str]]:  # pyright: ignore[reportReturnType]
    """Offer schemes for secret references: `{"vault": resolve}` serves `${vault:path}`."""


@hookspec
def register_node_types() -> list[NodeType]:  # pyright: ignore[reportReturnType]
    """Offer node types; each `type:` of a workflow's node names one."""


@hookspec
def register_filters() -> dict[str, Callable[..., JsonValue]]:  # pyright: ignore[reportReturnType]
    """Offer filters for expressions: `{"sku": sku}` serves `{{ order.item | sku }}`."""


@hookspec
def before_call(preview: Preview) -> str | None:
    """Veto a call by giving a reason. Called before anything is recorded or sent.

    An implementation that raises denies the call too.
    """


@hookspec
def before_send(preview: Preview, ledger_id: int) -> None:
    """See a write whose ledger row is durable and which is sent next. Raising stops it unsent."""


@hookspec
def after_send(preview: Preview, ledger_id: int) -> None:
    """See a write whose answer has arrived and is recorded next."""


@hookspec
def after_call(preview: Preview, outcome: Outcome) -> None:
    """See the outcome of a call, recorded already. Raising changes nothing but a warning."""
