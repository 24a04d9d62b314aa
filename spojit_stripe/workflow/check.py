"""Everything that can be known of a workflow before it runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from spojit_stripe.workflow.calls import check_calls
from spojit_stripe.workflow.faults import Fault, Report
from spojit_stripe.workflow.flow import check_flow
from spojit_stripe.workflow.model import Workflow
from spojit_stripe.workflow.references import check_references
from spojit_stripe.workflow.secrets import secrets_in
from spojit_stripe.workflow.subworkflows import check_schedule, check_subworkflows

if TYPE_CHECKING:
    from spojit_stripe.connection import Connections
    from spojit_stripe.connector import Connector

__all__ = ["check_workflow"]


def check_workflow(
    workflow: Workflow, connectors: Mapping[str, Connector], connections: Connections | None = None
) -> tuple[Fault, ...]:
    """All faults and warnings beyond the form, in the order of the file.

    `connectors` by name, as `Host.connectors` has them. Without `connections` nothing is said
    of connections. Reads the files of subworkflows, sends nothing.
    """
    report = Report(workflow.document, workflow.vocabulary)
    check_calls(report, workflow, connectors, connections)
    check_references(report, workflow, connectors)
    check_flow(report, workflow)
    check_schedule(report, workflow)
    check_subworkflows(report, workflow)
    secrets = [*secrets_in(report, workflow)]
    return tuple(sorted((*report.faults, *secrets), key=lambda fault: (fault.line, fault.column)))
