"""Stripe's search language: clauses joined by AND or by OR, never both.

A clause is a field, an operator and a value: `amount>1000`, `-currency:'usd'`,
`metadata['order']:'1'`, `name~"jane"`. What the filter columns can answer becomes SQL;
every clause is also checked on the object itself.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from spojit_stripe.sandbox.errors import StripeError, bad_parameter
from spojit_stripe.sandbox.store import Filter
from spojit_stripe.sandbox.values import JsonObject, JsonValue

# Fields by resource, with their types: string fields match exactly or by `~`, token fields
# only exactly, numbers also by comparison.
FIELDS: dict[str, dict[str, str]] = {
    "charge": {
        "amount": "number",
        "billing_details.address.postal_code": "token",
        "created": "number",
        "currency": "token",
        "customer": "token",
        "disputed": "token",
        "metadata": "token",
        "refunded": "token",
        "status": "token",
        **{
            f"payment_method_details.card.{name}": kind
            for name, kind in {
                "brand": "token",
                "exp_month": "token",
                "exp_year": "token",
                "fingerprint": "token",
                "last4": "token",
            }.items()
        },
    },
    "customer": {
        "created": "number",
        "email": "string",
        "metadata": "token",
        "name": "string",
        "phone": "string",
    },
    "invoice": {
        "created": "number",
        "currency": "token",
        "customer": "token",
        "last_finalization_error_code": "token",
        "last_finalization_error_type": "token",
        "metadata": "token",
        "number": "string",
        "receipt_number": "string",
        "status": "string",
        "subscription": "string",
        "total": "number",
    },
    "payment_intent": {
        "amount": "number",
        "created": "number",
        "currency": "token",
        "customer": "token",
        "metadata": "token",
        "status": "token",
    },
    "price": {
        "active": "token",
        "currency": "token",
        "lookup_key": "string",
        "metadata": "token",
        "product": "string",
        "type": "token",
    },
    "product": {
        "active": "token",
        "description": "string",
        "metadata": "token",
        "name": "string",
        "shippable": "token",
        "url": "string",
    },
    "subscription": {
        "canceled_at": "number",
        "created": "number",
        "metadata": "token",
        "status": "string",
    },
}

# Token fields that the store has a column for; their case is kept as it is written in objects.
_COLUMNS = {"customer"}

_CLAUSE = re.compile(
    r"""\s*(?P<not>-)?
    (?P<field>[a-zA-Z_][\w.]*)
    (?:\[\s*(?P<quote>["'])(?P<key>(?:\\.|(?!(?P=quote)).)*)(?P=quote)\s*\])?
    \s*(?P<op>>=|<=|[:=~><])\s*
    (?:"(?P<double>(?:\\.|[^"\\])*)"|'(?P<single>(?:\\.|[^'\\])*)'|(?P<bare>[^\s"']+))
    \s*""",
    re.VERBOSE,
)
_JOIN = re.compile(r"(AND|OR)\b\s*", re.IGNORECASE)
_MOST_CLAUSES = 10
_MOST_CHARACTERS = 3


@dataclass(frozen=True)
class Clause:
    """One condition on one field."""

    field: str
    key: str | None
    operator: str
    value: str | None  # None is null
    kind: str
    negated: bool

    def matches(self, body: JsonObject) -> bool:
        """Whether an object fulfils the condition."""
        return self._holds(self._read(body)) != self.negated

    def _holds(self, found: JsonValue) -> bool:
        if self.value is None:
            return found is None or found == ""
        if found is None:
            return False
        if self.operator in {":", "=", "~"}:
            shown = _shown(found)
            return self.value in shown if self.operator == "~" else self.value == shown
        return _compare(self.operator, found, self.value)

    def _read(self, body: JsonObject) -> JsonValue:
        if self.field == "metadata":
            metadata = body.get("metadata")
            if self.key is None:  # metadata:'value' looks at all values
                return list(metadata.values()) if isinstance(metadata, dict) else None
            return metadata.get(self.key) if isinstance(metadata, dict) else None
        if self.field == "subscription" and body.get("object") == "invoice":
            return _dig(body, "parent.subscription_details.subscription")
        return _dig(body, self.field)


@dataclass(frozen=True)
class Query:
    """A whole query."""

    clauses: tuple[Clause, ...]
    either: bool

    @classmethod
    def parse(cls, query: str, fields: Mapping[str, str]) -> "Query":
        """Read a query; raises Stripe's error for one that is not in the language."""
        clauses: list[Clause] = []
        joins: set[str] = set()
        position = 0
        while True:
            match = _CLAUSE.match(query, position)
            if match is None:
                raise _malformed(query)
            clauses.append(_clause(match, fields))
            position = match.end()
            if position >= len(query):
                break
            join = _JOIN.match(query, position)
            if join is None:
                raise _malformed(query)
            joins.add(join[1].upper())
            position = join.end()
        if len(joins) > 1:
            raise bad_parameter("Your search query can't mix AND with OR; use only one of them.", "query")
        if len(clauses) > _MOST_CLAUSES:
            raise bad_parameter(f"Your search query can have at most {_MOST_CLAUSES} clauses.", "query")
        return cls(tuple(clauses), joins == {"OR"})

    def matches(self, body: JsonObject) -> bool:
        """Whether an object is a result."""
        results = (clause.matches(body) for clause in self.clauses)
        return any(results) if self.either else all(results)

    def filters(self) -> list[Filter]:
        """What the store can sort out before objects are read: never more than the query asks."""
        if self.either:
            return []
        return [
            Filter(f"{clause.field} = ? COLLATE NOCASE", (clause.value,))
            for clause in self.clauses
            if clause.field in _COLUMNS and clause.operator in {":", "="} and not clause.negated and clause.value
        ] + [
            Filter(f"created {'=' if clause.operator in {':', '='} else clause.operator} ?", (int(clause.value),))
            for clause in self.clauses
            if clause.field == "created" and not clause.negated and clause.value and clause.value.isdigit()
        ]


def _clause(match: re.Match[str], fields: Mapping[str, str]) -> Clause:
    name, operator = match["field"], match["op"]
    kind = fields.get(name)
    if kind is None or (match["key"] is not None and name != "metadata"):
        known = ", ".join(sorted(fields))
        raise bad_parameter(f"Field `{name}` is an unsupported search field. It should be one of: {known}.", "query")
    value = _value(match)
    if kind == "number" and value is not None and not re.fullmatch(r"-?\d+", value):
        raise bad_parameter(f"Field `{name}` takes a number, not {value!r}.", "query")
    if operator in {">", "<", ">=", "<="} and kind != "number":
        raise bad_parameter(f"Field `{name}` does not support the operator `{operator}`.", "query")
    if operator == "~":
        if kind != "string":
            raise bad_parameter(f"Field `{name}` does not support the operator `~`.", "query")
        if value is None or len(value) < _MOST_CHARACTERS:
            raise bad_parameter(f"Substring searches need at least {_MOST_CHARACTERS} characters: {value!r}.", "query")
    return Clause(name, _unescape(match["key"]), operator, value, kind, match["not"] is not None)


def _value(match: re.Match[str]) -> str | None:
    bare = match["bare"]
    if bare is not None:
        return None if bare.lower() == "null" else bare.lower()
    quoted = match["double"] if match["double"] is not None else match["single"]
    return (_unescape(quoted) or "").lower()


def _unescape(quoted: str | None) -> str | None:
    return None if quoted is None else re.sub(r"\\(.)", r"\1", quoted)


def _malformed(query: str) -> StripeError:
    return bad_parameter(
        f'We were unable to parse your search query: {query!r}. Try using the format `metadata["key"]:"value"` '
        'to query for metadata or key:"value" to query for other fields.',
        "query",
    )


def _dig(body: JsonObject, path: str) -> JsonValue:
    found: JsonValue = body
    for part in path.split("."):
        if not isinstance(found, dict):
            return None
        found = found.get(part)
    return found


def _shown(found: JsonValue) -> str | list[str]:
    """A value as queries write it, in lower case: searches know no case."""
    if isinstance(found, bool):
        return "true" if found else "false"
    if isinstance(found, list):
        return [str(entry).lower() for entry in found]
    return str(found).lower()


def _compare(operator: str, found: JsonValue, value: str) -> bool:
    if not isinstance(found, (int, float)):
        return False
    wanted = int(value)
    match operator:
        case ">":
            return found > wanted
        case ">=":
            return found >= wanted
        case "<":
            return found < wanted
        case _:
            return found <= wanted
