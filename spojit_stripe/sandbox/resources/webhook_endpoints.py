"""Webhook endpoints: where events are delivered, and the secret that signs them."""

from urllib.parse import urlsplit

from spojit_stripe.sandbox.context import Answer, Context, assign, merge_metadata
from spojit_stripe.sandbox.errors import StripeError, bad_parameter, invalid
from spojit_stripe.sandbox.listing import list_objects
from spojit_stripe.sandbox.routes import answers
from spojit_stripe.sandbox.store import Record
from spojit_stripe.sandbox.values import JsonObject, JsonValue, flag, strings, text

_MOST = 16


@answers("POST", "/v1/webhook_endpoints")
def create(context: Context) -> Answer:
    """A new endpoint; the only answer that shows its secret."""
    params = context.params
    url = _checked(context, context.need("url"))
    version = text(params, "api_version")
    if version is not None and version != context.api_version:
        raise bad_parameter(
            f"Invalid API version: {version}. This sandbox makes events of API version {context.api_version} only.",
            "api_version",
        )
    mode = "live" if context.livemode else "test"
    if len(context.records("webhook_endpoint")) >= _MOST:
        raise invalid(f"You have reached the maximum of {_MOST} {mode} webhook endpoints.")
    secret = f"whsec_{context.secret(32)}"
    body: JsonObject = {
        "id": context.new_id("we"),
        "object": "webhook_endpoint",
        "api_version": version,
        "application": None,
        "created": context.now,
        "description": text(params, "description"),
        "enabled_events": _events(context),
        "livemode": context.livemode,
        "metadata": {},
        "status": "enabled",
        "url": url,
    }
    merge_metadata(body, params)
    context.insert(body, private={"secret": secret, "connect": flag(params, "connect")})
    context.outbox.forget_endpoints()
    return {**body, "secret": secret}


@answers("GET", "/v1/webhook_endpoints/{webhook_endpoint}")
def retrieve(context: Context) -> Answer:
    """An endpoint, without its secret."""
    return _get(context).body


@answers("POST", "/v1/webhook_endpoints/{webhook_endpoint}")
def update(context: Context) -> Answer:
    """Change an endpoint, or stop and resume deliveries to it."""
    record = _get(context)
    params = context.params
    assign(record.body, params, "description")
    merge_metadata(record.body, params)
    if text(params, "url"):
        record.body["url"] = _checked(context, context.need("url"))
    if "enabled_events" in params:
        record.body["enabled_events"] = _events(context)
    if "disabled" in params:
        record.body["status"] = "disabled" if flag(params, "disabled") else "enabled"
    context.save(record)
    context.outbox.forget_endpoints()
    return record.body


@answers("DELETE", "/v1/webhook_endpoints/{webhook_endpoint}")
def delete(context: Context) -> Answer:
    """Delete an endpoint; what was still to be delivered to it is not."""
    stub = context.remove(_get(context), None)
    context.outbox.forget_endpoints()
    return stub


@answers("GET", "/v1/webhook_endpoints")
def list_endpoints(context: Context) -> Answer:
    """Endpoints, newest first."""
    return list_objects(context, "webhook_endpoint")


def _get(context: Context) -> Record:
    return context.live("webhook_endpoint", context.ids["webhook_endpoint"])


def _events(context: Context) -> list[JsonValue]:
    wanted = strings(context.params, "enabled_events")
    if not wanted:
        raise bad_parameter("You must enable at least one event.", "enabled_events", "parameter_missing")
    if "*" in wanted and len(wanted) > 1:
        raise bad_parameter("`*` stands for all events and can't be combined with others.", "enabled_events")
    return [*wanted]


def _checked(context: Context, url: str) -> str:
    """The URL, if events can be posted to it. Unlike Stripe's, it may be on this machine: there alone is delivered."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        usable = False
    if not usable or any(character <= " " for character in url):
        raise _bad_url("Invalid URL: An explicit scheme (such as https) must be provided.")
    if context.livemode and not url.startswith("https:"):
        raise _bad_url("Invalid URL: In live mode, the URL must begin with https.")
    return url


def _bad_url(message: str) -> StripeError:
    return bad_parameter(message, "url", "url_invalid")
