"""The control API, `/_sandbox/…`: faults, holds, clock, limits, permissions and the request log.

It needs no key and answers to callers on this machine only. Bodies are JSON.
"""

from collections.abc import Callable
from urllib.parse import parse_qsl

import msgspec

from spojit_stripe.sandbox import access, faults, payouts
from spojit_stripe.sandbox.app import App, Reply, Request
from spojit_stripe.sandbox.courier import Conduct
from spojit_stripe.sandbox.errors import SandboxError, StripeError
from spojit_stripe.sandbox.faults import Fault
from spojit_stripe.sandbox.payments import close_dispute, escalate_dispute, fail_refund, open_dispute
from spojit_stripe.sandbox.resources import setup_intents
from spojit_stripe.sandbox.resources.coupons import give
from spojit_stripe.sandbox.resources.payment_intents import authenticate
from spojit_stripe.sandbox.seed import Seed
from spojit_stripe.sandbox.values import JsonObject, JsonValue, encode, flag, integer, string, strings, text

PREFIX = "/_sandbox"
LIMITS = ("account", "endpoint", "search", "concurrency", "endpoint_concurrency")

_Action = Callable[[App, list[str], JsonObject], JsonValue]


class ControlError(Exception):
    """A control request that makes no sense; answered with 400 and this text."""


def answer(app: App, request: Request, *, local: bool) -> Reply:
    """Answer a control request."""
    if not local:
        return _reply(403, {"error": "the control API answers callers on this machine only"})
    parts = request.path.removeprefix(PREFIX).strip("/").split("/")
    action = _find(request.method, parts)
    if action is None:
        return _reply(404, {"error": f"no control request {request.method} {request.path}"})
    try:
        return _reply(200, action(app, parts[1:], _params(request)))
    except (ControlError, SandboxError, msgspec.DecodeError, ValueError, TypeError, KeyError) as error:
        return _reply(400, {"error": str(error) or type(error).__name__})
    except StripeError as error:
        return _reply(error.status, {"error": error.message})


def perform(app: App, method: str, name: str, params: JsonObject) -> JsonObject:
    """A control request from Python: its answer, or the exception that it raises."""
    action = _find(method, [name])
    if action is None:
        raise ControlError(f"no control request {method} {name}")
    found = action(app, [], params)
    return found if isinstance(found, dict) else {}


def _params(request: Request) -> JsonObject:
    if request.method == "GET" or not request.body:
        query: JsonObject = {name: value for name, value in parse_qsl(request.query)}
        return query
    given: JsonValue = msgspec.json.decode(request.body)
    if not isinstance(given, dict):
        raise ControlError("the body is not a JSON object")
    return given


def _reply(status: int, body: JsonValue) -> Reply:
    return Reply(status, {"Content-Type": "application/json"}, encode(body))


def _find(method: str, parts: list[str]) -> _Action | None:
    """Routes are by the first part of the path, and whether there are more."""
    return _ACTIONS.get((method, parts[0], len(parts) > 1))


def about(app: App, parts: list[str], params: JsonObject) -> JsonValue:
    """What this is, its keys and accounts."""
    del parts, params
    connected: list[JsonValue] = [*access.CONNECTED]
    return {
        "name": "spojit_stripe sandbox: not Stripe",
        "api_version": app.index.api_version,
        "secret_key": access.SECRET_KEY,
        "restricted_key": access.RESTRICTED_KEY,
        "live_key": access.LIVE_KEY,
        "live_restricted_key": access.LIVE_RESTRICTED_KEY,
        "account": access.ACCOUNT,
        "connected_accounts": connected,
        "now": app.clock.exact(),
    }


def _requests(app: App, parts: list[str], params: JsonObject) -> JsonValue:
    del parts
    return [entry.as_json() for entry in app.log.entries(text(params, "method"), text(params, "path"))]


def _forget_requests(app: App, parts: list[str], params: JsonObject) -> JsonValue:
    del parts, params
    app.log.clear()
    return {}


def _add_fault(app: App, parts: list[str], params: JsonObject) -> JsonValue:
    del parts
    return {"id": app.faults.add(msgspec.convert(params, Fault))}


def _list_faults(app: App, parts: list[str], params: JsonObject) -> JsonValue:
    del parts, params
    return [faults.as_json(fault) for fault in app.faults.waiting()]


def _remove_faults(app: App, parts: list[str], params: JsonObject) -> JsonValue:
    del params
    app.faults.remove(parts[0] if parts else None)
    return {}


def _holds(app: App, parts: list[str], params: JsonObject) -> JsonValue:
    del parts, params
    return [hold.as_json() for hold in app.faults.held()]


def _release(app: App, parts: list[str], params: JsonObject) -> JsonValue:
    identifier = parts[0] if parts else text(params, "id")
    return {"released": app.faults.release(identifier, drop=flag(params, "drop"))}


def _clock(app: App, parts: list[str], params: JsonObject) -> JsonValue:
    del parts, params
    return {"now": app.clock.exact(), "frozen": app.clock.frozen}


def _move_clock(app: App, parts: list[str], params: JsonObject) -> JsonValue:
    del parts
    seconds, now = params.get("advance"), params.get("now")
    if isinstance(now, (int, float)):
        app.advance(now - app.clock.exact())
    elif isinstance(seconds, (int, float)):
        app.advance(seconds)
    else:
        raise ControlError("give `advance` in seconds, or `now` in seconds since 1970")
    return {"now": app.clock.exact()}


def _scope(params: JsonObject) -> int:
    account = text(params, "account") or access.ACCOUNT
    if account not in access.ACCOUNTS:
        raise ControlError(f"no such account: {account!r}")
    return access.scope(account, params.get("livemode") in {True, "true"})


def _counts(app: App, parts: list[str], params: JsonObject) -> JsonValue:
    del parts
    counts: JsonObject = {**app.store.counts(_scope(params))}
    return counts


def _objects(app: App, parts: list[str], params: JsonObject) -> JsonValue:
    return [record.body for record in app.store.records(_scope(params), parts[0])]


def _limits(app: App, parts: list[str], params: JsonObject) -> JsonValue:
    """Set limits in requests per second; null takes one away."""
    del parts
    for name in params:
        if name not in LIMITS:
            raise ControlError(f"no such limit: {name!r}")
        value = params[name]
        if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float)) or value < 0):
            raise ControlError(f"the limit {name!r} is not a number")
        setattr(app.limits, name, value)
    return {name: getattr(app.limits, name) for name in LIMITS}


def _settings(app: App, parts: list[str], params: JsonObject) -> JsonValue:
    """Set the lag of search (seconds) and the latency of every answer (milliseconds)."""
    del parts
    lag, latency = params.get("search_lag"), params.get("latency_ms")
    if isinstance(lag, (int, float)):
        app.settings.search_lag = float(lag)
    if isinstance(latency, (int, float)):
        app.settings.latency = latency / 1000
    return {"search_lag": app.settings.search_lag, "latency_ms": app.settings.latency * 1000}


def _permissions(app: App, parts: list[str], params: JsonObject) -> JsonValue:
    """Give a restricted key its permissions, such as `rak_customer_read`; new keys become known by it."""
    del parts
    key = text(params, "key") or access.RESTRICTED_KEY
    if not key.startswith(("rk_test_", "rk_live_")):
        raise ControlError("only restricted keys (`rk_test_…`, `rk_live_…`) have permissions")
    app.keys.permissions[key] = frozenset(strings(params, "permissions"))
    granted: list[JsonValue] = [*sorted(strings(params, "permissions"))]
    return {"key": key, "permissions": granted}


def _reset(app: App, parts: list[str], params: JsonObject) -> JsonValue:
    """Forget everything, and plant a seed if one is given."""
    del parts
    reset(app, None if params.get("seed") is None else Seed.checked(params["seed"]))
    return {}


def reset(app: App, seed: Seed | None) -> None:
    """Back to an empty sandbox, or a seeded one: objects, keys, faults, limits and the log."""
    app.faults.release(drop=True)
    app.faults.remove()
    app.log.clear()
    app.courier.reset()
    app.keys.permissions = access.Access().permissions
    for name in LIMITS:
        setattr(app.limits, name, None)
    with app.store.transaction():
        app.store.clear()
        for scope in range(2 * len(access.ACCOUNTS)):
            app.store.set_meta(f"payouts/{scope}", "manual")
    if seed is not None:
        seed.plant(app)


def _authenticate(app: App, parts: list[str], params: JsonObject) -> JsonValue:
    """The customer of a payment intent that requires action authenticates, or fails to."""
    app.pass_time()
    with app.change():
        context = app.system_context(live=flag(params, "livemode"))
        identifier, succeed = string(params, "id"), params.get("succeed") is not False
        if identifier.startswith("seti_"):
            return setup_intents.authenticate(context, identifier, succeed=succeed)
        return authenticate(context, identifier, succeed=succeed)


def _dispute(app: App, parts: list[str], params: JsonObject) -> JsonValue:
    """A cardholder disputes a charge; or, with `dispute`, the bank decides one."""
    app.pass_time()
    with app.change():
        context = app.system_context(live=flag(params, "livemode"))
        decided = text(params, "dispute")
        if decided is not None:
            record = context.get("dispute", decided, "dispute")
            if flag(params, "escalate"):
                escalate_dispute(context, record)
            else:
                close_dispute(context, record, won=flag(params, "won"))
            return record.body
        charge = context.get("charge", string(params, "charge"))
        reason = text(params, "reason") or "fraudulent"
        return open_dispute(context, charge, reason, inquiry=flag(params, "inquiry")).body


def _payouts(app: App, parts: list[str], params: JsonObject) -> JsonValue:
    """Pay out `interval` "daily" or "manual" from now on; or have the bank refuse the payout `fail`."""
    del parts
    app.pass_time()
    with app.change():
        context = app.system_context(text(params, "account") or access.ACCOUNT, live=flag(params, "livemode"))
        refused, interval = text(params, "fail"), text(params, "interval")
        if refused is not None:
            code = text(params, "code") or "could_not_process"
            if code not in payouts.FAILURES:
                raise ControlError(f"`code` is one of {', '.join(payouts.FAILURES)}")
            record = context.get("payout", refused, "payout")
            payouts.fail(context, record, code)
            return record.body
        if interval not in {"daily", "manual"}:
            raise ControlError("give `interval` (daily or manual), or the id of a payout to `fail`")
        payouts.schedule(context, interval)
        return {"interval": interval}


def _fail_refund(app: App, parts: list[str], params: JsonObject) -> JsonValue:
    """The bank sends a refund back."""
    del parts
    app.pass_time()
    with app.change():
        context = app.system_context(live=flag(params, "livemode"))
        record = context.get("refund", string(params, "fail"), "refund")
        fail_refund(context, record)
        return record.body


def _discount(app: App, parts: list[str], params: JsonObject) -> JsonValue:
    """A customer gets a discount, as in the Dashboard."""
    del parts
    app.pass_time()
    with app.change():
        context = app.system_context(live=flag(params, "livemode"))
        return give(context, string(params, "customer"), string(params, "coupon"))


def _deliveries(app: App, parts: list[str], params: JsonObject) -> JsonValue:
    """The log of webhook deliveries: one entry for each attempt."""
    del parts
    return [each.as_json() for each in app.courier.entries(text(params, "endpoint"), text(params, "event"))]


def _conduct(app: App, parts: list[str], params: JsonObject) -> JsonValue:
    """Set how deliveries misbehave; what is not named is as it should be."""
    del parts
    app.courier.behave(msgspec.convert(params, Conduct))
    return msgspec.to_builtins(app.courier.conduct)


def _direct_deliveries(app: App, parts: list[str], params: JsonObject) -> JsonValue:
    """Release what is held, or send an event again."""
    courier = app.courier
    if parts == ["release"]:
        drop = params.get("drop")
        count = courier.release(
            order=text(params, "order") or "made",
            seed=integer(params, "seed"),
            drop=[each for each in drop if isinstance(each, int)] if isinstance(drop, list) else [],
            repeat=max(integer(params, "repeat"), 1),
        )
    elif parts == ["resend"]:
        count = courier.resend(_scope(params), string(params, "event"), text(params, "endpoint"))
    else:
        raise ControlError("give `release` or `resend`")
    return {"deliveries": count}


def _forget_deliveries(app: App, parts: list[str], params: JsonObject) -> JsonValue:
    del parts, params
    app.courier.clear_log()
    return {}


_ACTIONS: dict[tuple[str, str, bool], _Action] = {
    ("GET", "", False): about,
    ("GET", "requests", False): _requests,
    ("DELETE", "requests", False): _forget_requests,
    ("POST", "faults", False): _add_fault,
    ("GET", "faults", False): _list_faults,
    ("DELETE", "faults", False): _remove_faults,
    ("DELETE", "faults", True): _remove_faults,
    ("GET", "holds", False): _holds,
    ("POST", "release", False): _release,
    ("POST", "release", True): _release,
    ("GET", "clock", False): _clock,
    ("POST", "clock", False): _move_clock,
    ("GET", "counts", False): _counts,
    ("GET", "objects", True): _objects,
    ("POST", "limits", False): _limits,
    ("POST", "settings", False): _settings,
    ("POST", "permissions", False): _permissions,
    ("POST", "reset", False): _reset,
    ("POST", "authenticate", False): _authenticate,
    ("POST", "disputes", False): _dispute,
    ("POST", "payouts", False): _payouts,
    ("POST", "refunds", False): _fail_refund,
    ("POST", "discounts", False): _discount,
    ("GET", "deliveries", False): _deliveries,
    ("POST", "deliveries", False): _conduct,
    ("POST", "deliveries", True): _direct_deliveries,
    ("DELETE", "deliveries", False): _forget_deliveries,
}
