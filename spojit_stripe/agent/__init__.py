"""Agent Mode: a model chooses the next call, and `direct.run_tool` makes it.

    loop.py        turns, limits, pauses, the answer          model.py    messages in, a reply out
    acting.py      the calls of a turn, as steps              toolbox.py  what the model is offered
    knowledge.py   what was fetched, which ids may be named   lean.py     how results reach the model
    answer.py      schema and grounding of the answer         planning.py one approval for a whole plan
    transcript.py  what happened, for people                  spans.py    the same, for OpenTelemetry

Every reply and every result is a recorded step: a resumed run asks the model nothing twice.
"""

from __future__ import annotations

from spojit_stripe.agent.loop import AgentReply, run_agent
from spojit_stripe.agent.model import Claude, Model, ModelReply, ModelRequest
from spojit_stripe.agent.spec import DEFAULT_MODEL, AgentSpec, Limits
from spojit_stripe.agent.transcript import render_transcript

__all__ = [
    "DEFAULT_MODEL",
    "AgentReply",
    "AgentSpec",
    "Claude",
    "Limits",
    "Model",
    "ModelReply",
    "ModelRequest",
    "render_transcript",
    "run_agent",
]
