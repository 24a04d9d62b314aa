"""Workflow YAML: read, typed, and checked before anything runs.

`load_workflow` gives a workflow whose form is right, `check_workflow` says what can be known
to be wrong with it besides. Running one is another module's business.
"""

from __future__ import annotations

from spojit_stripe.workflow.check import check_workflow
from spojit_stripe.workflow.faults import Fault
from spojit_stripe.workflow.load import load_workflow, read_workflow, text_of
from spojit_stripe.workflow.mermaid import mermaid
from spojit_stripe.workflow.model import (
    NODE_TYPES,
    AgentLimits,
    AgentNode,
    Branch,
    ConditionNode,
    DirectNode,
    Goto,
    HumanNode,
    LoopNode,
    Manual,
    Node,
    OnError,
    ParallelNode,
    ResponseNode,
    Schedule,
    SetNode,
    SqlNode,
    SubworkflowNode,
    Trigger,
    Webhook,
    Workflow,
)
from spojit_stripe.workflow.schemas import check_inputs
from spojit_stripe.workflow.subworkflows import file_of

__all__ = [
    "NODE_TYPES",
    "AgentLimits",
    "AgentNode",
    "Branch",
    "ConditionNode",
    "DirectNode",
    "Fault",
    "Goto",
    "HumanNode",
    "LoopNode",
    "Manual",
    "Node",
    "OnError",
    "ParallelNode",
    "ResponseNode",
    "Schedule",
    "SetNode",
    "SqlNode",
    "SubworkflowNode",
    "Trigger",
    "Webhook",
    "Workflow",
    "check_inputs",
    "check_workflow",
    "file_of",
    "load_workflow",
    "mermaid",
    "read_workflow",
    "text_of",
]
