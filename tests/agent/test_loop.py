"""An agent from its prompt to its answer, over HTTP on both sides."""

from __future__ import annotations

import itertools
import json

import pytest

from spojit_stripe.agent import AgentSpec, Limits
from spojit_stripe.agent.loop import AgentReply
from spojit_stripe.errors import (
    AccessError,
    ConfigurationError,
    InputError,
    InvalidRequestError,
    RefusedError,
    ServiceError,
    UnavailableError,
)
from spojit_stripe.testing.scripted_model import ModelTurn, cut, fails, prompt_text, refuses, say, think, use

SCHEMA = {
    "type": "object",
    "properties": {"charge": {"type": "string"}, "amount": {"type": "integer"}},
    "required": ["charge", "amount"],
    "additionalProperties": False,
}


def test_an_agent_reads_and_answers(shop):
    customer = shop.customer()
    charge = shop.charge(customer)
    shop.settle()
    reply = shop.agent(
        f"What was {customer} charged?",
        use("list-charges", customer=customer, read_all=True).then(use("get-customer", customer=customer)),
        say(f"Customer {customer} was charged 20.00 USD once ({charge}).").after(charge, "20.00 USD"),
    )
    assert reply.kind == "done"
    assert charge in reply.value
    assert reply.meta["ungrounded"] == []
    assert reply.meta["incomplete"] is False
    assert reply.meta["stopped_because"] == "answered"
    assert shop.writes() == []
    assert AgentReply.of_json(json.loads(json.dumps(reply.to_json()))) == reply


def test_reads_of_a_turn_go_side_by_side_as_one_step(shop):
    customer = shop.customer()
    journal = shop.journal()
    shop.agent(
        f"Look at {customer}",
        use("list-charges", customer=customer).then(use("list-invoices", customer=customer)),
        say("Nothing."),
        journal=journal,
    )
    assert journal.names == ["now", "turn 1 model", "turn 1 reads 1", "turn 2 model"]
    states = [facts["state"] for kind, facts in shop.told if kind == "tool"]
    assert states[:2] == ["begins", "begins"]


def test_a_query_sees_what_the_same_turn_fetched(shop):
    customer = shop.customer()
    for amount in (1_000, 2_500):
        shop.charge(customer, amount)
    reply = shop.agent(
        f"How much did {customer} pay?",
        use("list-charges", customer=customer).then(
            use("query-data", sql="select currency, sum(amount) as amount from charges group by 1")
        ),
        say({"charge": "none", "amount": 3_500}).after("usd|3500"),
        response_schema=SCHEMA,
    )
    assert reply.value == {"charge": "none", "amount": 3_500}
    assert reply.meta["ungrounded"] == []


def test_the_prompt_cache_prefix_only_grows(shop):
    customer = shop.customer()
    charge = shop.charge(customer)
    shop.agent(
        f"Look at {customer}",
        think("where to begin").then(use("get-customer", customer=customer)),
        use("list-charges", customer=customer).then(use("no-such-tool")),
        use("query-data", sql="select nonsense from nowhere"),
        say("no JSON at all"),
        say({"charge": charge, "amount": 2_000}),
        response_schema=SCHEMA,
    )
    seen = [prompt_text(one.body) for one in shop.model.requests]
    assert len(seen) == 5
    for earlier, later in itertools.pairwise(seen):
        assert later.startswith(earlier)
        assert len(later) > len(earlier)
    assert all(one.body["cache_control"] == {"type": "ephemeral"} for one in shop.model.requests)
    assert all(one.body["system"][-1]["cache_control"] == {"type": "ephemeral"} for one in shop.model.requests)


def test_thinking_goes_back_unchanged(shop):
    """The scripted model refuses a request whose thinking is not what it said."""
    shop.agent("Look", think("a long thought…").then(use("list-products")), say("Done."))
    assistant = shop.model.requests[1].messages[1]["content"]
    assert assistant[0] == {"type": "thinking", "thinking": "a long thought…", "signature": "signed:15"}


def test_text_is_told_as_it_comes(shop):
    shop.agent("Hello", say("One sentence that is longer than a single part of the stream."))
    parts = [facts["text"] for kind, facts in shop.told if kind == "text"]
    assert len(parts) > 2
    assert "".join(parts) == "One sentence that is longer than a single part of the stream."


# Streams and errors of the model


@pytest.mark.parametrize("how", ["clean", "broken", "empty"])
def test_a_stream_that_is_cut_is_asked_for_again_and_its_half_call_never_runs(shop, how):
    customer = shop.customer()
    charge = shop.charge(customer)
    shop.settle()
    call = use("raw-api-request", method="POST", path="/v1/refunds", params={"charge": charge, "amount": 500})
    journal = shop.journal()
    reply = shop.agent(
        f"Refund 5 USD of {charge}",
        cut(call, how=how),
        say("I would not."),
        tools=("raw-api-request",),
        policy=shop.allow,
        journal=journal,
    )
    assert reply.value == "I would not."
    assert shop.writes() == []
    assert journal.names == ["now", "turn 1 model"]
    assert ("text", {"turn": 1, "text": ""}) in shop.told  # what was shown of it is void


def test_a_stream_that_breaks_every_time_fails_before_anything_is_run(shop):
    reply = shop.agent("Hello", *[cut(say("half of"), how="clean")] * 3)
    assert isinstance(reply.error, UnavailableError)
    assert "broke off 3 times" in reply.error.message
    assert reply.meta["place"] == 1


def test_an_overloaded_model_inside_of_the_stream_is_asked_again(shop):
    assert shop.agent("Hello", fails(200, "overloaded_error"), say("Hi.")).value == "Hi."


@pytest.mark.parametrize(
    ("turn", "kind", "words"),
    [
        (fails(401, "authentication_error", "invalid x-api-key sk-ant-abcdefgh"), AccessError, "ANTHROPIC_API_KEY"),
        (fails(403, "permission_error", "no"), AccessError, "ANTHROPIC_API_KEY"),
        (fails(404, "not_found_error", "model: nope"), ConfigurationError, "claude-sonnet-5-5"),
        (fails(400, "invalid_request_error", "prompt is too long"), InvalidRequestError, "prompt is too long"),
        (fails(429, "rate_limit_error", "slow down"), UnavailableError, "slow down"),
        (fails(529, "overloaded_error", "busy"), UnavailableError, "busy"),
        (fails(500, "api_error", "oops"), UnavailableError, "oops"),
        (fails(200, "invalid_request_error", "bad"), InvalidRequestError, "bad"),
        (refuses(), ServiceError, "declined"),
    ],
)
def test_an_error_of_the_model_is_one_clear_line(shop, turn, kind, words):
    reply = shop.agent("Hello", turn)
    assert reply.kind == "failed"
    assert type(reply.error) is kind
    assert words in reply.error.message
    assert "\n" not in reply.error.message
    assert "sk-ant-abcdefgh" not in json.dumps(reply.to_json())


def test_a_reply_without_room_is_asked_for_with_more(shop):
    half = use("list-charges", customer="cus_1").then(say("x", stop_reason="max_tokens"))
    reply = shop.agent("Hello", half, say("Hi."))
    assert reply.value == "Hi."
    first, second = (one.body for one in shop.model.requests)
    assert second["max_tokens"] == 2 * first["max_tokens"]
    assert first["messages"] == second["messages"]
    assert reply.meta["tool_calls"] == 0


def test_a_reply_that_never_fits_ends_incomplete(shop):
    reply = shop.agent("Hello", *[say("and so on", stop_reason="max_tokens")] * 3)
    assert reply.meta["incomplete"] is True
    assert "did not fit" in reply.meta["stopped_because"]
    assert reply.value == "and so on"


def test_a_pause_goes_on(shop):
    assert shop.agent("Hello", say("Wait.", stop_reason="pause_turn"), say("Hi.")).value == "Hi."


def test_tools_run_only_where_the_model_stopped_for_them(shop):
    customer = shop.customer()
    shop.settle()
    asks = use("get-customer", customer=customer).then(say("Done.", stop_reason="end_turn"))
    assert shop.agent("Hello", asks).value == "Done."
    assert shop.box.requests()[shop.settled :] == []


def test_a_missing_key_names_the_variable_and_says_that_direct_mode_works(shop, monkeypatch):
    reply = shop.agent("Hello", key=False)
    assert isinstance(reply.error, ConfigurationError)
    assert "ANTHROPIC_API_KEY" in reply.error.message
    assert "Direct Mode" in reply.error.message


def test_an_unusable_secret_is_found_before_the_model_is_asked(shop):
    shop.bench.secret = "pk_test_published"
    reply = shop.agent("Hello")
    assert isinstance(reply.error, ConfigurationError)
    assert shop.model.played == 0


def test_a_model_that_cannot_be_reached_says_what_to_check(shop, monkeypatch):
    monkeypatch.setenv("ANTHROPIC_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-nobody")
    reply = shop.agent("Hello", key=False)
    assert isinstance(reply.error, UnavailableError)
    assert "ANTHROPIC_BASE_URL" in reply.error.message


# Limits


def test_the_last_turn_is_for_the_answer(shop):
    customer = shop.customer()
    reply = shop.agent(
        f"Look at {customer}",
        use("get-customer", customer=customer),
        say("So far nothing.").after("Answer now with what you know"),
        limits={"turns": 2},
    )
    assert reply.value == "So far nothing."
    assert reply.meta["incomplete"] is True
    assert "limits.turns (2)" in reply.meta["stopped_because"]
    assert shop.model.requests[-1].body["tool_choice"] == {"type": "none"}


def test_an_answer_that_a_limit_cut_off_stays_so_where_the_limit_is_raised_later(shop):
    """Its turns are recorded, and the same run gives the same answer: it must not pass for a whole one."""
    customer = shop.customer()
    journal = shop.journal()
    first = shop.agent(
        f"Look at {customer}",
        use("get-customer", customer=customer),
        say("So far nothing."),
        limits={"turns": 2},
        journal=journal,
    )
    again = shop.agent(f"Look at {customer}", limits={"turns": 20}, journal=journal)
    assert (first.meta["incomplete"], again.meta["incomplete"]) == (True, True)
    assert again.meta["stopped_because"] == first.meta["stopped_because"]


def test_calls_over_the_limit_are_not_run_and_an_answer_is_asked_for(shop):
    customer = shop.customer()
    call = use("get-customer", customer=customer)
    shop.settle()
    reply = shop.agent(
        "Look", call.then(call).then(call), say("Enough.").after("not run: the limit of 2"), limits={"tool_calls": 2}
    )
    assert reply.meta["tool_calls"] == 2
    assert len(shop.box.requests()) - shop.settled == 2
    assert reply.meta["incomplete"] is True


def test_objects_over_the_limit_are_not_fetched(shop):
    customer = shop.customer()
    for _ in range(5):
        shop.charge(customer)
    reply = shop.agent(
        "Look",
        use("list-charges", customer=customer, read_all=True, limit=1),
        say("Three.").after("NOT complete"),
        limits={"objects": 3},
    )
    assert reply.meta["objects"] == 3
    assert "limits.objects" in reply.meta["stopped_because"]


@pytest.mark.parametrize("limits", [{"tokens": 10}, {"cost_usd": 0.000001}])
def test_tokens_and_cost_end_the_run_with_what_is_known(shop, limits):
    call = say("I look at the products first.").then(use("list-products"))
    reply = shop.agent("Look", call, limits=limits)
    assert reply.kind == "done"
    assert reply.value == "I look at the products first."
    assert reply.meta["incomplete"] is True
    assert f"limits.{next(iter(limits))}" in reply.meta["stopped_because"]


def test_a_reached_limit_fails_where_the_author_chose_so(shop):
    reply = shop.agent("Look", use("list-products"), limits={"tokens": 10}, on_limit="fail")
    assert isinstance(reply.error, RefusedError)
    assert "limits.tokens" in reply.error.message


def test_a_model_that_hangs_ends_within_its_time(shop):
    class Hanging:
        async def reply(self, request, *, heard=None):
            import asyncio

            await asyncio.Event().wait()

        async def aclose(self):
            """Nothing is open."""

    reply = shop.agent("Look", model=Hanging(), limits={"seconds": 0.05})
    assert isinstance(reply.error, UnavailableError)
    assert "limits.seconds" in reply.error.message


# Answers


def test_an_answer_is_corrected_until_it_fits(shop):
    reply = shop.agent(
        "What was charged?",
        say("It was ten dollars."),
        say({"charge": "none", "amount": "10"}).after("no JSON"),
        say('```json\n{"charge": "none", "amount": 0}\n```').after("answer.amount"),
        response_schema=SCHEMA,
    )
    assert reply.value == {"charge": "none", "amount": 0}
    assert reply.meta["corrections"] == 2


def test_corrections_are_bounded(shop):
    reply = shop.agent("What?", *[say("no")] * 3, response_schema=SCHEMA)
    assert isinstance(reply.error, ServiceError)
    assert "after 2 corrections" in reply.error.message


def test_an_empty_reply_is_asked_for_again(shop):
    assert shop.agent("Hello", use("list-products"), ModelTurn(), say("Hi.")).value == "Hi."


def test_what_no_result_has_told_is_ungrounded(shop):
    customer = shop.customer()
    shop.charge(customer)
    reply = shop.agent(
        f"What was {customer} charged?",
        use("list-charges", customer=customer),
        say({"charge": "ch_3MadeUpByTheModel0000000", "amount": 2_001, "note": f"{customer} paid $20.00 and 7.50 EUR"}),
        response_schema={"type": "object"},
    )
    assert reply.meta["ungrounded"] == ["charge: ch_3MadeUpByTheModel0000000", "amount: 2001", "note: 7.50 EUR"]


# Bad input


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"prompt": "  "}, "prompt: is empty"),
        ({"prompt": "x" * 200_001}, "prompt: has 200,001 characters"),
        ({"model": "no such model"}, "model: 'no such model' is no name of a model"),
        ({"tools": ("list-charge",)}, "did you mean 'list-charges'?"),
        ({"limits": Limits(turns=0)}, "limits.turns: is 0"),
        ({"limits": Limits(cost_usd=-1.0)}, "limits.cost_usd: is -1.0"),
        ({"limits": Limits(seconds=float("nan"))}, "limits.seconds: is nan"),
        ({"response_schema": {"type": "objekt"}}, "response_schema: is no JSON Schema"),
        ({"response_schema": {}}, "response_schema: does not say type: object"),
        ({"response_schema": {"type": "object", "$ref": "https://example.com/x"}}, "only #/$defs/… is followed"),
    ],
)
def test_bad_input_is_told_in_a_line(spec, words):
    from spojit_stripe.catalog import Catalog

    with pytest.raises(InputError) as caught:
        AgentSpec(**{"prompt": "Look", **spec}).check(Catalog.load())
    assert words in caught.value.message
    assert "\n" not in caught.value.message


def test_a_session_that_is_no_agents_is_refused(bench, tmp_path):
    import asyncio

    from spojit_stripe.agent import run_agent
    from spojit_stripe.data import ArtifactStore
    from spojit_stripe.steps import InProcessSteps
    from spojit_stripe.values import Position

    with pytest.raises(ValueError, match="by_agent"):
        asyncio.run(
            run_agent(
                AgentSpec(prompt="Look"),
                at=Position(run_id="r"),
                session=bench.session(),
                steps=InProcessSteps("r"),
                store=ArtifactStore(tmp_path),
            )
        )


def test_cards_and_keys_in_a_prompt_reach_neither_model_nor_transcript(shop):
    reply = shop.agent(
        "My card is 4242 4242 4242 4242 and the key sk_live_abcdefghijklmnop1234", say("I can't use that.")
    )
    sent = json.dumps(shop.model.requests[0].body)
    for text in (sent, json.dumps(reply.to_json())):
        assert "4242 4242 4242" not in text
        assert "sk_live_abcdefghijklmnop1234" not in text
