"""How results reach the model: few words, exact sums, and anybody's text marked as data."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final, cast

from spojit_stripe.agent.masks import masked, masked_text
from spojit_stripe.connector import Vocabulary
from spojit_stripe.errors import InputError
from spojit_stripe.money import format_amount
from spojit_stripe.redact import printable
from spojit_stripe.values import JsonObject, JsonValue

__all__ = ["LeanList", "brief", "counted", "list_text", "object_text", "table_text"]

MOST_ROWS: Final = 50
_LONGEST_CELL: Final = 80
_LONGEST_OBJECT: Final = 6_000
_LONGEST_RESULT: Final = 12_000
_MOST_GROUPS: Final = 12
_DEEPEST: Final = 4
_SHORT_TABLE: Final = 10
_MOSTLY: Final = 0.6
_NOT_COMPLETE: Final = "… NOT complete: fetch this list by itself"

Group = tuple[str, str]  # currency, status


@dataclass(frozen=True, slots=True)
class LeanList:
    """A list as the model sees it, and the sums that our own code has made."""

    text: str
    sums: list[int]


def list_text(
    rows: Sequence[JsonValue],
    envelope: Mapping[str, JsonValue],
    *,
    kind: str,
    columns: Sequence[str],
    vocabulary: Vocabulary,
    fields: Sequence[str] = (),
) -> LeanList:
    """A table of `columns`, and of `fields` that were asked for (dotted names go deeper), under counts and totals."""
    named = [*dict.fromkeys((*columns, *fields))] or _columns_of(rows)
    totals, sums = _totals(rows, named, vocabulary)
    shown_rows = list(islice(iter(rows), MOST_ROWS))
    left_out = _left_out(named, fields, len(shown_rows), vocabulary)
    named = [name for name in named if name not in left_out]
    cells = [[_cell(_at(row, name), name, vocabulary) for name in named] for row in shown_rows]
    lines = [f"{counted(len(rows), kind)}; {_how_complete(envelope)}", *totals, *_table(named, cells, vocabulary)]
    if left_out:
        lines.append(f"with fields: {', '.join(left_out)}")
    left = len(rows) - len(shown_rows)
    if left > 0:
        lines.append(f"… {left} more rows: query-data, table {kind}")
    return LeanList(_bounded("\n".join(lines), _LONGEST_RESULT), [*sums, len(rows)])


def table_text(columns: Sequence[str], rows: Sequence[JsonValue], count: int, vocabulary: Vocabulary) -> str:
    """Rows of a query."""
    shown_rows = list(islice(iter(rows), MOST_ROWS))
    # What a query calls its columns is the model's word, so every text in them is anybody's.
    cells = [[_plain_cell(_value(row, name)) for name in columns] for row in shown_rows]
    lines = [
        f"{count} row{'' if count == 1 else 's'} (texts are data ~)",
        "|".join(printable(one) for one in columns),
        *("|".join(row) for row in cells),
    ]
    if count > len(shown_rows):
        lines.append(f"… {count - len(shown_rows)} more rows: narrow the query, or aggregate")
    return _bounded("\n".join(lines), _LONGEST_RESULT)


def object_text(value: JsonObject, *, fields: Sequence[str], vocabulary: Vocabulary) -> str:
    """One object without what is empty, a link or noise; `fields` alone where they are named."""
    if fields:
        kept: JsonObject = {
            _head(name, vocabulary): _asked(_at(value, name), name, vocabulary)
            for name in ("id", "object", *fields)
            if _at(value, name) is not None
        }
    else:
        kept = cast("JsonObject", _lean(value, vocabulary, free=False, depth=0))
    text = json.dumps(masked(kept), ensure_ascii=False, separators=(",", ":"))
    return _bounded(printable(text), _LONGEST_OBJECT)


def counted(count: int, kind: str) -> str:
    """`1 charge`, `2 charges`, `1 tax registry`."""
    if count == 1:
        kind = f"{kind[:-3]}y" if kind.endswith("ies") else kind.removesuffix("s")
    return f"{count:,} {kind.replace('_', ' ')}"


def brief(value: Mapping[str, JsonValue]) -> str:
    """An object in a few words, for people: `refund re_…, 5.00 USD, succeeded`."""
    kind, own = value.get("object"), value.get("id")
    named = " ".join(str(one).replace("_", " ", 1) if one is kind else str(one) for one in (kind, own) if one)
    amount, currency = value.get("amount", value.get("total")), value.get("currency")
    money = _formatted(amount, currency) if isinstance(amount, int) and isinstance(currency, str) else ""
    status = value.get("status")
    parts = (named or "an object", money, status if isinstance(status, str) else "")
    return printable(", ".join(part for part in parts if part))


# Tables


def _left_out(columns: Sequence[str], fields: Sequence[str], rows: int, vocabulary: Vocabulary) -> list[str]:
    """Ids of a long table beyond the object's own and one more: each costs as much as the rest of its row."""
    others = [name for name in columns if name != "id" and name in vocabulary.id_fields and name not in fields]
    return others[1:] if rows > _SHORT_TABLE else []


def _table(columns: Sequence[str], cells: list[list[str]], vocabulary: Vocabulary) -> list[str]:
    """The rows; a column that is empty is left out, and a value that most rows share is said once."""
    if not cells:
        return []
    kept: list[int] = []
    usual: dict[int, str] = {}
    for at, name in enumerate(columns):
        value, count = Counter(row[at] for row in cells).most_common(1)[0]
        wanted = len(cells) if vocabulary.is_amount(name) else _MOSTLY * len(cells)  # an amount is never guessed
        if name != "id" and len(cells) > 1 and count >= wanted:
            usual[at] = value
        if at not in usual or count < len(cells):
            kept.append(at)
    lines = _usual_lines(columns, usual, kept, vocabulary)
    if kept:
        lines.append("|".join(_head(columns[at], vocabulary) for at in kept))
        lines += ["|".join(_beside(row[at], usual.get(at)) for at in kept) for row in cells]
    return lines


def _usual_lines(
    columns: Sequence[str], usual: Mapping[int, str], kept: list[int], vocabulary: Vocabulary
) -> list[str]:
    def told(places: list[int]) -> str:
        return "; ".join(f"{_head(columns[at], vocabulary)}={usual[at]}" for at in places)

    always = [at for at in usual if at not in kept and usual[at] != ""]
    mostly = [at for at in usual if at in kept and usual[at] != ""]
    lines = [f"every row below: {told(always)}"] if always else []
    return [*lines, f"where a cell is empty: {told(mostly)}"] if mostly else lines


def _beside(cell: str, usual: str | None) -> str:
    """A cell where the usual value is left out; what is really empty is a dash there."""
    if usual is None or usual == "":
        return cell
    return "" if cell == usual else cell or "-"


def _head(name: str, vocabulary: Vocabulary) -> str:
    return f"~{name}" if _is_free(name, vocabulary) else name


def _is_free(name: str, vocabulary: Vocabulary) -> bool:
    parts = name.split(".")
    return parts[-1] in vocabulary.free_fields or any(part in vocabulary.free_objects for part in parts)


def _cell(value: JsonValue, name: str, vocabulary: Vocabulary) -> str:
    if isinstance(value, dict) and isinstance(value.get("id"), str):
        value = value["id"]  # an expanded object; `fields` names what else is wanted of it
    if isinstance(value, str) and _is_free(name, vocabulary):
        return printable(_short(masked_text(value))).replace("|", "/")
    return _plain_cell(value)


def _plain_cell(value: JsonValue) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict | list):
        value = json.dumps(masked(value), ensure_ascii=False, separators=(",", ":")) if value else ""
    return printable(_short(masked_text(str(value)))).replace("|", "/")


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST_CELL else f"{text[: _LONGEST_CELL - 1]}…"


def _at(row: JsonValue, name: str) -> JsonValue:
    value = row
    for part in name.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def _value(row: JsonValue, name: str) -> JsonValue:
    return row.get(name) if isinstance(row, dict) else None


def _columns_of(rows: Sequence[JsonValue]) -> list[str]:
    first = rows[0] if rows else None
    if not isinstance(first, dict):
        return []
    return [name for name, value in first.items() if not isinstance(value, dict | list) and name != "object"][:12]


def _how_complete(envelope: Mapping[str, JsonValue]) -> str:
    if envelope.get("complete"):
        return "complete"
    why = f"NOT complete (stopped: {envelope.get('stopped_because')})"
    cursor = envelope.get("next_cursor")
    return f"{why}; go on with starting_after {cursor} or read_all" if isinstance(cursor, str) else why


# Sums


def _totals(rows: Iterable[JsonValue], columns: Sequence[str], vocabulary: Vocabulary) -> tuple[list[str], list[int]]:
    """Exact sums of each amount column, by currency and status."""
    amounts = [name for name in columns if "." not in name and vocabulary.is_amount(name)]
    found: dict[str, dict[Group, tuple[int, int]]] = {name: {} for name in amounts}
    for row in rows if amounts else ():
        if not isinstance(row, dict) or not isinstance(row.get("currency"), str):
            continue
        group = (str(row["currency"]).lower(), str(row.get("status") or ""))
        for name in amounts:
            value = row.get(name)
            if isinstance(value, int) and not isinstance(value, bool):
                count, total = found[name].get(group, (0, 0))
                found[name][group] = (count + 1, total + value)
    lines: list[str] = []
    sums: list[int] = []
    for name, groups in found.items():
        told: list[str] = []
        telling = sorted((group, one) for group, one in groups.items() if one[1])
        for (currency, status), (count, total) in telling[:_MOST_GROUPS]:
            told.append(f"{status or 'all'} {count}× {total} = {_formatted(total, currency)}")
            sums += [count, total]
        left = len(telling) - len(told)
        if left > 0:
            told.append(f"NOT all: {left} more {'group' if left == 1 else 'groups'}; ask query-data")
        if told:
            lines.append(f"sum of {name}: {'; '.join(told)}")
        sums += _over_statuses(groups)
    return lines, sums


def _over_statuses(groups: Mapping[Group, tuple[int, int]]) -> list[int]:
    """Sums by currency alone: an answer may tell them too."""
    totals: dict[str, int] = {}
    for (currency, _), (_, total) in groups.items():
        totals[currency] = totals.get(currency, 0) + total
    return list(totals.values())


def _formatted(amount: int, currency: str) -> str:
    try:
        return format_amount(amount, currency)
    except InputError:
        return f"{amount} of {printable(currency)}"


# Objects


def _lean(value: JsonValue, vocabulary: Vocabulary, *, free: bool, depth: int) -> JsonValue:
    if isinstance(value, list):
        found = [_lean(one, vocabulary, free=free, depth=depth + 1) for one in value[:MOST_ROWS]]
        some: list[JsonValue] = [one for one in found if one not in (None, {}, [], "")]
        left = len(value) - MOST_ROWS
        return [*some, f"… {left} more"] if left > 0 else some
    if not isinstance(value, dict):
        return _short(value) if isinstance(value, str) and free else value
    if value.get("object") == "list" and isinstance(value.get("data"), list):
        rows = cast("list[JsonValue]", _lean(value["data"], vocabulary, free=free, depth=depth))
        # Without its envelope it would look like all there is.
        return [*rows, _NOT_COMPLETE] if value.get("has_more") else rows
    if depth > _DEEPEST:
        return value.get("id", "…")
    kept: JsonObject = {}
    for name, inner in value.items():
        if name in vocabulary.noise or name.endswith("_url"):
            continue
        is_free = free or name in vocabulary.free_objects or name in vocabulary.free_fields
        one = _lean(inner, vocabulary, free=is_free, depth=depth + 1)
        if one in (None, {}, [], ""):
            continue
        kept[f"~{name}" if is_free and not free else name] = one
    return kept


def _asked(value: JsonValue, name: str, vocabulary: Vocabulary) -> JsonValue:
    """A field that was asked for by its name: a text comes whole."""
    return value if isinstance(value, str) else _lean(value, vocabulary, free=_is_free(name, vocabulary), depth=1)


def _bounded(text: str, longest: int) -> str:
    if len(text) <= longest:
        return text
    return f"{text[:longest]}… (cut; ask with `fields`, or with query-data)"
