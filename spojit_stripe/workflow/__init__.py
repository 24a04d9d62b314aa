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
    AgentLimits,
    AgentNode,
    Branch,
    ConditionNode,
    ConnectorNode,
    DirectNode,
    Goto,
    HumanNode,
    LoopNode,
    Manual,
    Node,
    OnError,
    ParallelNode,
    PluginNode,
    ResponseNode,
    Schedule,
    SetNode,
    SqlNode,
    SubworkflowNode,
    Trigger,
    Webhook,
    Workflow,
    walk,
)
from spojit_stripe.workflow.nodes import read_node
from spojit_stripe.workflow.references import tables_of_nodes
from spojit_stripe.workflow.schemas import check_inputs
from spojit_stripe.workflow.sql import tables_of
from spojit_stripe.workflow.subworkflows import file_of
from spojit_stripe.workflow.vocabulary import NO_EXTRAS, NODE_TYPES, NodeContext, NodeType, Vocabulary

__all__ = [
    "NODE_TYPES",
    "NO_EXTRAS",
    "AgentLimits",
    "AgentNode",
    "Branch",
    "ConditionNode",
    "ConnectorNode",
    "DirectNode",
    "Fault",
    "Goto",
    "HumanNode",
    "LoopNode",
    "Manual",
    "Node",
    "NodeContext",
    "NodeType",
    "OnError",
    "ParallelNode",
    "PluginNode",
    "ResponseNode",
    "Schedule",
    "SetNode",
    "SqlNode",
    "SubworkflowNode",
    "Trigger",
    "Vocabulary",
    "Webhook",
    "Workflow",
    "check_inputs",
    "check_workflow",
    "file_of",
    "load_workflow",
    "mermaid",
    "read_node",
    "read_workflow",
    "tables_of",
    "tables_of_nodes",
    "text_of",
    "walk",
]
