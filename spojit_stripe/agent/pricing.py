"""What a reply costs, from a maintained list of prices that comes with its package."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from spojit_stripe.values import JsonObject, JsonValue

__all__ = ["Tokens", "cost_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """Tokens as the provider counts them: `input` without those of the cache."""

    input: int = 0
    output: int = 0
    cache_read: int = 0
    cache_write: int = 0

    @property
    def total(self) -> int:
        return self.input + self.output + self.cache_read + self.cache_write

    def __add__(self, other: Tokens) -> Tokens:
        return Tokens(
            input=self.input + other.input,
            output=self.output + other.output,
            cache_read=self.cache_read + other.cache_read,
            cache_write=self.cache_write + other.cache_write,
        )

    def to_json(self) -> JsonObject:
        return {
            "input": self.input,
            "output": self.output,
            "cache_read": self.cache_read,
            "cache_write": self.cache_write,
        }

    @classmethod
    def of_json(cls, record: JsonValue) -> Tokens:
        found = record if isinstance(record, dict) else {}
        return cls(**{name: value for name, value in found.items() if isinstance(value, int)})


def cost_of(tokens: Tokens, model: str) -> Decimal | None:
    """US dollars, or None where nobody knows the price of `model`."""
    try:
        from genai_prices import Usage, calc_price  # at use: it reads its list of prices
    except ImportError:
        return None

    usage = Usage(
        # Its input counts everything that went in, the cache's part included.
        input_tokens=tokens.input + tokens.cache_read + tokens.cache_write,
        output_tokens=tokens.output,
        cache_read_tokens=tokens.cache_read,
        cache_write_tokens=tokens.cache_write,
    )
    try:
        return calc_price(usage, model_ref=model, provider_id="anthropic").total_price
    except LookupError:
        return None
