"""Find an endpoint by words: a small index of the names that Stripe gives its operations."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence

__all__ = ["Finder"]

_WORD = re.compile(r"[a-z0-9]+")

# What people say, and what Stripe calls it.
_MEANS = {
    "add": ("create",),
    "api": (),
    "archive": ("update",),
    "bank": ("bank", "external"),
    "bill": ("invoice",),
    "change": ("update",),
    "chargeback": ("dispute",),
    "delete": ("delete", "cancel"),
    "detach": ("detach",),
    "discount": ("discount", "coupon"),
    "edit": ("update",),
    "fetch": ("retrieve",),
    "get": ("retrieve", "list"),
    "intent": ("intent",),
    "issue": ("create",),
    "make": ("create",),
    "modify": ("update",),
    "new": ("create",),
    "read": ("retrieve", "list"),
    "remove": ("delete",),
    "reverse": ("reversal", "refund"),
    "show": ("retrieve", "list"),
    "stop": ("cancel",),
    "unsubscribe": ("cancel", "subscription"),
    "view": ("retrieve", "list"),
    "voucher": ("coupon",),
    "webhook": ("webhook", "endpoint"),
}
# Nouns that stand for making one, when they lead: "refund a charge".
_VERB_NOUNS = frozenset(("charge", "coupon", "invoice", "quote", "refund", "transfer"))
_NOISE = frozenset(("a", "all", "an", "and", "by", "for", "from", "in", "into", "its", "of", "on", "one", "the"))
# Corners of the API that are rarely meant unless they are named.
_CORNERS = ("test_helpers", "treasury", "issuing", "terminal", "climate", "v2")


def _stem(word: str) -> str:
    if word.endswith("ies") and len(word) > 4:
        return f"{word[:-3]}y"
    if word.endswith(("sses", "xes")):
        return word[:-2]
    return word[:-1] if word.endswith("s") and not word.endswith("ss") and len(word) > 3 else word


def _words(text: str) -> list[str]:
    return [_stem(word) for word in _WORD.findall(text.lower())]


class Finder:
    """Scores operations, given as method, template, SDK name and whether they are deprecated."""

    def __init__(self, operations: Sequence[tuple[str, str, str, bool]]) -> None:
        self._tokens: list[Counter[str]] = []
        self._templates = [template for _, template, _, _ in operations]
        self._weights: list[float] = []
        for method, template, sdk, deprecated in operations:
            verb = sdk.rsplit(".", 1)[-1]
            fixed = [part for part in template.split("/") if not part.startswith("{")]
            tokens = Counter(_words(" ".join((*fixed, sdk, verb.replace("_", " ")))))
            if verb not in ("create", "update", "delete", "list", "retrieve"):
                tokens.update(_words(verb))
            tokens[method.lower()] += 1
            self._tokens.append(tokens)
            # Among equals, the shorter path is the more common wish.
            depth = template.count("/") - 2
            corner = any(part in _CORNERS for part in fixed)
            self._weights.append((0.5 if deprecated else 1.0) * (0.6 if corner else 1.0) * 0.97**depth)
        self._rarity = self._rarities()

    def _rarities(self) -> dict[str, float]:
        seen = Counter(token for tokens in self._tokens for token in tokens)
        number = len(self._tokens)
        return {token: math.log(1 + number / times) for token, times in seen.items()}

    def best(self, words: str, limit: int) -> list[int]:
        """Places of the best operations, best first; none where no word fits."""
        asked = {word: 1.0 for word in _words(words) if word not in _NOISE}
        first = next(iter(asked), "")
        if first in _VERB_NOUNS and len(asked) > 1:
            asked |= {first: 1.6, "create": asked.get("create", 0.6)}
        corners = {corner for corner in _CORNERS if corner.split("_")[0] in asked or corner in words.lower()}
        scored: list[tuple[float, int]] = []
        for place, tokens in enumerate(self._tokens):
            score = sum(weight * self._score(word, tokens) for word, weight in asked.items())
            if score:
                lift = 1 / 0.6 if corners and any(f"/{one}/" in self._templates[place] for one in corners) else 1.0
                strange = sum(1 for token in tokens if token not in asked)
                scored.append((score * self._weights[place] * lift / (1 + 0.06 * strange), place))
        scored.sort(key=lambda pair: (-pair[0], pair[1]))
        return [place for _, place in scored[:limit]]

    def _score(self, word: str, tokens: Counter[str]) -> float:
        meanings: Iterable[str] = _MEANS.get(word, (word,))
        return max((self._of_token(one, tokens) for one in (word, *meanings)), default=0.0)

    def _of_token(self, word: str, tokens: Counter[str]) -> float:
        if word in tokens:
            return self._rarity[word]
        near = [token for token in tokens if len(word) > 3 and (token.startswith(word) or word.startswith(token))]
        return max((self._rarity[token] * 0.6 for token in near if len(token) > 3), default=0.0)
