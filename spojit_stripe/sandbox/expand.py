"""`expand`: ids replaced by the objects they name, to four levels."""

from collections.abc import Callable, Mapping

from spojit_stripe.sandbox.context import Context
from spojit_stripe.sandbox.errors import bad_parameter
from spojit_stripe.sandbox.values import JsonObject, JsonValue, string, text

_MOST_LEVELS = 4

# Fields that name another object and may be expanded also while they are null.
_REFERENCES_NAMES = (
    "account application application_fee balance_transaction charge coupon credit_note customer "
    "customer_balance_transaction default_payment_method "
    "default_price default_source destination discounts dispute failure_balance_transaction invoice "
    "latest_charge latest_invoice latest_revision mandate on_behalf_of original_payout payment_intent "
    "payment_method pending_setup_intent price product promotion_code refund reversed_by review schedule setup_intent "
    "source source_transfer source_transfer_reversal subscription test_clock transfer transfer_reversal"
)
_REFERENCES = frozenset(_REFERENCES_NAMES.split())

Included = Callable[[Context, JsonObject], JsonValue]


def apply(context: Context, body: JsonObject, paths: list[str], included: Mapping[tuple[str, str], Included]) -> None:
    """Expand an object in place. `included` makes the fields that exist only when asked for."""
    for path in paths:
        parts = path.split(".")
        if len([part for part in parts if part != "data"]) > _MOST_LEVELS:
            raise bad_parameter(
                f"You cannot expand more than {_MOST_LEVELS} levels of a property. Property: {path}", "expand"
            )
        _walk(context, body, parts, path, included)


def _walk(
    context: Context,
    holder: JsonObject,
    parts: list[str],
    path: str,
    included: Mapping[tuple[str, str], Included],
) -> None:
    name, rest = parts[0], parts[1:]
    value = _open(context, holder, name, path, included)
    if not rest:
        return
    for each in value if isinstance(value, list) else [value]:
        if isinstance(each, dict):
            _walk(context, each, rest, path, included)


def _open(
    context: Context,
    holder: JsonObject,
    name: str,
    path: str,
    included: Mapping[tuple[str, str], Included],
) -> JsonValue:
    maker = included.get((text(holder, "object") or "", name))
    if maker is not None and name not in holder:
        holder[name] = maker(context, holder)
    elif name not in holder and name not in _REFERENCES:
        raise bad_parameter(f"This property cannot be expanded ({name}).", "expand")
    value = holder.get(name)
    if isinstance(value, list) and name in _REFERENCES:
        holder[name] = [_object(context, each) for each in value]
    elif isinstance(value, str):
        record = context.store.find(context.scope, value)
        if record is None or name not in _REFERENCES | {"id"} or string(record.body, "id") == holder.get("id"):
            raise bad_parameter(f"This property cannot be expanded ({path}).", "expand")
        holder[name] = record.body
    elif value is not None and not isinstance(value, (dict, list)):
        raise bad_parameter(f"This property cannot be expanded ({path}).", "expand")
    return holder.get(name)


def _object(context: Context, value: JsonValue) -> JsonValue:
    """The object that an id in a list names; anything else is left as it is."""
    record = context.store.find(context.scope, value) if isinstance(value, str) else None
    return value if record is None else record.body
