"""What comes in and goes out over HTTP, as far as it has nothing to do with sockets."""

from collections.abc import Mapping
from dataclasses import dataclass

from spojit_stripe.sandbox import form
from spojit_stripe.sandbox.context import ListPage
from spojit_stripe.sandbox.errors import StripeError, bad_parameter
from spojit_stripe.sandbox.form import Raw
from spojit_stripe.sandbox.values import JsonValue, encode

_MOST_KEY = 255


@dataclass(frozen=True)
class Request:
    """An HTTP request, its body complete. Header names are in lower case."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes


@dataclass
class Reply:
    """An answer; `drop` closes the connection instead, `cut` sends only so many bytes of the body."""

    status: int
    headers: dict[str, str]
    body: bytes
    drop: bool = False
    cut: int | None = None


def parameters(request: Request) -> dict[str, Raw]:
    """The query and a form body, decoded together, as Stripe reads them."""
    if not request.body or request.method == "GET":
        return form.parse(request.query)
    if request.path.startswith("/v2/"):
        return {}
    kind = request.headers.get("content-type", "application/x-www-form-urlencoded").partition(";")[0].strip()
    if kind != "application/x-www-form-urlencoded":
        raise bad_parameter(
            f"Invalid request (check that your POST content type is application/x-www-form-urlencoded, not {kind})."
        )
    try:
        body = request.body.decode("ascii")
    except UnicodeDecodeError:
        body = request.body.decode("utf-8", "replace")
        if "\ufffd" in body:
            raise bad_parameter("Invalid UTF-8 in the request's parameters.") from None
    return form.parse(f"{request.query}&{body}" if request.query else body)


def idempotency_key(request: Request) -> str | None:
    """The key of a POST; keys on other methods have no effect."""
    key = request.headers.get("idempotency-key")
    if not key or request.method != "POST":
        return None
    if len(key) > _MOST_KEY:
        raise bad_parameter(f"Idempotency keys can have up to {_MOST_KEY} characters; this one has {len(key)}.")
    return key


def key_reused(how: str, key: str) -> StripeError:
    """A key that was used for something else."""
    return StripeError(
        400,
        f"Keys for idempotent requests can only be used {how}. Try using a key other than '{key}' if you meant to "
        "execute a different request.",
        kind="idempotency_error",
        stored=False,
    )


def list_body(page: ListPage, data: list[bytes]) -> bytes:
    """A list from objects that are JSON already."""
    rest: dict[str, JsonValue] = {"has_more": page.has_more, "url": page.url}
    if page.kind == "search_result":
        rest["next_page"] = page.next_page
        if page.total_count is not None:
            rest["total_count"] = page.total_count
    head = b'{"object":"' + page.kind.encode() + b'","data":['
    return head + b",".join(data) + b"]," + encode(rest)[1:]
