"""Whether a call may be made: pure rules, the only place where that is decided."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from spojit_stripe.connection import Cap, Connection, Policy
from spojit_stripe.errors import ConfigurationError, RefusedError
from spojit_stripe.money import format_amount
from spojit_stripe.pins import keeps_pin
from spojit_stripe.values import Amount, Assessment, Effect, JsonValue, Writes

__all__ = ["Decision", "Rules", "Spent", "Verdict", "check_spending", "decide"]

_STRICTNESS = list(Writes)  # strictest first


class Verdict(StrEnum):
    """What happens to a call."""

    ALLOW = "allow"
    ASK = "ask"
    PLAN = "plan"
    DENY = "deny"


@dataclass(frozen=True, slots=True)
class Decision:
    """A verdict and the reason that a person is shown."""

    verdict: Verdict
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """The rules in force for a call: the connection's, narrowed by its node's."""

    writes: Writes
    allow_live: bool
    pins: Mapping[str, JsonValue]
    policies: tuple[Policy, ...]

    @classmethod
    def of(cls, connection: Connection, *narrower: Policy) -> Rules:
        """Narrow, never widen: each further policy can only take away, and only by what it says.

        Raises `ConfigurationError` where two policies pin a parameter to different values.
        """
        policies = (connection.policy, *narrower)
        pins: dict[str, JsonValue] = {}
        for policy in policies:
            for name, value in policy.pins.items():
                if name in pins and not keeps_pin(name, value, pins[name]):
                    raise ConfigurationError(
                        f"{name} is pinned to {value!r} by the node, but to {pins[name]!r} by connection "
                        f"{connection.name!r}; a node can't change a pin"
                    )
                pins[name] = value
        return cls(
            # A node that says nothing about writes or live mode keeps what its connection says.
            writes=min(
                (connection.policy.writes, *(policy.writes for policy in narrower if _says(policy, "writes"))),
                key=_STRICTNESS.index,
            ),
            allow_live=connection.policy.allow_live
            and all(policy.allow_live for policy in narrower if _says(policy, "allow_live")),
            pins=pins,
            policies=policies,
        )


def _says(policy: Policy, name: str) -> bool:
    return name in policy.model_fields_set


def decide(
    assessment: Assessment,
    connection: Connection,
    rules: Rules,
    *,
    by_agent: bool = False,
    amount_follows: bool = False,
    doubt: str | None = None,
) -> Decision:
    """The verdict on a call. Caps that need the ledger's sums are `check_spending`'s.

    `amount_follows`: the amount is only not looked up yet, which is no reason to ask.
    `doubt` is a reason to ask whatever else is allowed.
    """
    if assessment.effect is Effect.READ:
        return Decision(Verdict.ALLOW, "a read")
    denied = _denied(assessment, connection, rules, by_agent=by_agent)
    if denied:
        return Decision(Verdict.DENY, denied)
    why_ask = doubt or _why_ask(assessment, rules, by_agent=by_agent, amount_follows=amount_follows)
    if rules.writes is Writes.PLAN:
        planned = f"writes are planned on connection {connection.name!r}"
        return Decision(Verdict.PLAN, f"{planned}; {doubt}" if doubt else planned)
    if rules.writes is Writes.ASK:
        return Decision(Verdict.ASK, why_ask or f"connection {connection.name!r} asks before every write")
    if why_ask:
        return Decision(Verdict.ASK, why_ask)
    return Decision(Verdict.ALLOW, f"connection {connection.name!r} allows writes")


def _denied(assessment: Assessment, connection: Connection, rules: Rules, *, by_agent: bool) -> str | None:
    name = connection.name
    if not connection.enabled:
        return f"connection {name!r} is switched off for writes (enabled: false)"
    if rules.writes is Writes.DENY and connection.policy.writes is not Writes.DENY:
        return (
            f"writes are denied by the node's own policy, or by --writes of `spojit-stripe agent`; connection {name!r} "
            f"would let them through (writes: {connection.policy.writes})"
        )
    if rules.writes is Writes.DENY:
        return (
            f"writes are denied on connection {name!r}; to allow them set policy: {{writes: ask}} or {{writes: allow}}"
        )
    if connection.mode == "live" and not rules.allow_live:
        return f"connection {name!r} is live and its policy does not say allow_live: true"
    if assessment.effect is Effect.CONTROL and by_agent:
        return f"{assessment.operation} gives access or moves trust; an agent never does that"
    return _pin_broken(assessment, rules) or _over_call_cap(assessment.amount, rules)


def _pin_broken(assessment: Assessment, rules: Rules) -> str | None:
    for name, pinned in rules.pins.items():
        given = assessment.params.get(name, pinned)
        if name == "currency" and assessment.amount:
            given = assessment.amount.currency
        if not keeps_pin(name, given, pinned):
            return f"{name} is pinned to {pinned!r}, the call says {given!r}"
    return None


def _over_call_cap(amount: Amount | None, rules: Rules) -> str | None:
    if amount is None:
        return None
    for policy in rules.policies:
        for cap in _caps_of(policy, "per_call", amount.currency):
            if abs(amount.amount) > cap.amount:  # money given away counts like money taken
                return (
                    f"{format_amount(amount.amount, amount.currency)} is over the cap per call "
                    f"of {format_amount(cap.amount, cap.currency)}"
                )
    return None


def _why_ask(assessment: Assessment, rules: Rules, *, by_agent: bool, amount_follows: bool) -> str | None:
    if assessment.effect is None:
        return f"{assessment.operation} is not in the reviewed table of effects"
    if assessment.effect is not Effect.MONEY or (amount_follows and assessment.amount is None):
        return None
    if by_agent and rules.writes is Writes.ALLOW and all(policy.caps is None for policy in rules.policies):
        return "an agent moves money unattended only under caps, and none are set"
    for policy in rules.policies:
        if policy.caps is None:
            continue
        if assessment.amount is None:
            return f"what {assessment.operation} moves can't be known before, and caps are set"
        if policy.caps.currencies and assessment.amount.currency not in policy.caps.currencies:
            return f"no cap is set for {assessment.amount.currency.upper()}"
    return None


def _caps_of(policy: Policy, which: str, currency: str) -> Iterable[Cap]:
    if policy.caps is None:
        return ()
    caps: tuple[Cap, ...] = getattr(policy.caps, which)
    return (cap for cap in caps if cap.currency == currency)


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """What money calls have used so far, unknown outcomes included.

    Amounts are minor units of the currency in question; `count` is all money calls of the
    run, `count_in_currency` those in this currency.
    """

    in_run: int = 0
    in_day: int = 0
    count: int = 0
    count_in_currency: int = 0


def check_spending(amount: Amount | None, spent: Spent, rules: Rules) -> None:
    """Raise `RefusedError` where this money call would go over a cap of its run or day."""
    for policy in rules.policies:
        if policy.caps is None:
            continue
        _check_count(amount, spent, policy)
        if amount is None:
            continue
        for which, used, words in (("per_run", spent.in_run, "run"), ("per_day", spent.in_day, "day (UTC)")):
            for cap in _caps_of(policy, which, amount.currency):
                if used + abs(amount.amount) > cap.amount:
                    raise RefusedError(
                        f"{format_amount(amount.amount, amount.currency)} is over the cap per {words} of "
                        f"{format_amount(cap.amount, cap.currency)}: {format_amount(used, amount.currency)} are used"
                    )


def _check_count(amount: Amount | None, spent: Spent, policy: Policy) -> None:
    count = policy.caps.count if policy.caps else None
    if isinstance(count, int):
        if spent.count >= count:
            raise RefusedError(f"the cap of {count} money calls a run is reached")
        return
    for cap in count or ():
        if amount and cap.currency == amount.currency and spent.count_in_currency >= cap.count:
            raise RefusedError(f"the cap of {cap.count} money calls a run in {cap.currency.upper()} is reached")
