"""What can go wrong, in Stripe's words.

SandboxError   the sandbox can't start (port, state file, seed): one line for a person
StripeError    an answer of the API: status and error object
"""

from spojit_stripe.sandbox.values import JsonObject

DOCS = "https://docs.stripe.com/error-codes"
SUPPORT = "Please see https://stripe.com/docs or we can help at https://support.stripe.com/."


class SandboxError(Exception):
    """The sandbox can't do what it was started or told to do; `str()` is one line for a person."""


class StripeError(Exception):
    """An error answer of the API.

    `keeps` says that what was done before the error stands (a declined card leaves a failed
    charge); otherwise the request leaves no trace. `stored` says that the answer is kept under
    the idempotency key: Stripe does not keep what failed before the endpoint began.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        kind: str = "invalid_request_error",
        code: str | None = None,
        param: str | None = None,
        extra: JsonObject | None = None,
        keeps: bool = False,
        stored: bool = True,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.kind = kind
        self.code = code
        self.param = param
        self.extra = extra or {}
        self.keeps = keeps
        self.stored = stored
        self.headers = headers or {}

    def body(self, request_id: str, livemode: bool) -> JsonObject:
        """The error object as Stripe sends it."""
        error: JsonObject = {}
        if self.code is not None:
            error["code"] = self.code
            error["doc_url"] = f"{DOCS}/{self.code.replace('_', '-')}"
        error["message"] = self.message
        if self.param is not None:
            error["param"] = self.param
        mode = "live" if livemode else "test"
        error["request_log_url"] = f"https://dashboard.stripe.com/{mode}/logs/{request_id}"
        error["type"] = self.kind
        error.update(self.extra)
        return {"error": error}


def invalid(message: str, param: str | None = None, code: str | None = None) -> StripeError:
    """A request that can't be carried out in the state things are in."""
    return StripeError(400, message, param=param, code=code)


def bad_parameter(message: str, param: str | None = None, code: str | None = None) -> StripeError:
    """A parameter that fails validation: nothing began, so nothing is kept under the key."""
    return StripeError(400, message, param=param, code=code, stored=False)


def missing_parameter(param: str) -> StripeError:
    """A required parameter that was not sent."""
    return bad_parameter(f"Missing required param: {param}.", param, "parameter_missing")


def no_such(noun: str, identifier: str, param: str, *, status: int) -> StripeError:
    """An id that names nothing: 404 when it is in the path, 400 when it is a parameter."""
    return StripeError(status, f"No such {noun}: '{identifier}'", code="resource_missing", param=param)


def unrecognized_url(method: str, path: str) -> StripeError:
    """No operation has this method and path."""
    return StripeError(
        404,
        f"Unrecognized request URL ({method}: {path}). If you are trying to list objects, remove the "
        "trailing slash. If you are trying to retrieve an object, make sure you passed a valid (non-empty) "
        f"identifier in your code. {SUPPORT}",
        stored=False,
    )


def authentication(message: str) -> StripeError:
    """No key, or one that is not known."""
    headers = {"WWW-Authenticate": 'Basic realm="Stripe"'}
    return StripeError(401, message, stored=False, headers=headers)


def locked(identifier: str) -> StripeError:
    """Another request works on the same object: a 429 without a reason in the headers."""
    return StripeError(
        429,
        f"This object ({identifier}) cannot be accessed right now because another API request or Stripe process is "
        "currently accessing it. If you see this error intermittently, retry the request.",
        code="lock_timeout",
        stored=False,
    )


def rate_limited(reason: str) -> StripeError:
    """Too many requests, with the reason that Stripe gives in a header."""
    return StripeError(
        429,
        "Request rate limit exceeded. Learn more about rate limits here https://stripe.com/docs/rate-limits.",
        code="rate_limit",
        stored=False,
        headers={"Stripe-Rate-Limited-Reason": reason},
    )


def not_done(what: str, param: str | None = None) -> StripeError:
    """What Stripe does and the sandbox doesn't: said plainly, and not to be retried."""
    return StripeError(
        501,
        f"This sandbox is not Stripe and does not {what}.",
        param=param,
        kind="api_error",
        code="sandbox_not_implemented",
        stored=False,
        headers={"Stripe-Should-Retry": "false"},
    )
