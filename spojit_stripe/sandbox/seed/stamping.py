"""Stamping a recorded story: the same objects with other ids, times, names and amounts.

A recording is cut into fixed text and slots once; a copy is then little more than a
join. Days are kept whole, so that what falls on a midnight (money becoming available,
payouts) stays right: a copy moves by days, and within its day by seconds.
"""

import hashlib
import operator
import re
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from spojit_stripe.sandbox import currencies, ids
from spojit_stripe.sandbox.seed.recording import DAY, Recording
from spojit_stripe.sandbox.store import ROW, Cell

# The amounts of recorded orders: numbers that nothing else in an object is.
AMOUNT, PART = 7_654_320, 1_913_580

_TYPE, _ID, _CREATED, _BODY = (ROW.index(name) for name in ("type", "id", "created", "body"))
_PAIR_LETTERS = [bytes(pair, "ascii") for pair in (ids.derive(f"pair/{n}", 2) for n in range(4096))]

_SLOT = re.compile(
    rb"@@(?P<mark>\d{4})@@"
    rb"|@@(?P<text>[a-z_]+)@@"
    rb"|(?P<currency>usd)"
    rb"|(?<=\"00)(?P<digits>1[5-9]\d{8}|2[01]\d{8})(?=\")"
    rb"|(?<=[:,\[])(?P<number>-?\d{4,10})(?=[,}\]])"
)

_Key = tuple[str, str | int]
_Values = list[bytes]


def tails(seed: str, lengths: Sequence[int]) -> _Values:
    """Letters and digits for ids, as many of each as asked; they depend on the seed alone."""
    width = 14
    raw = hashlib.shake_128(seed.encode()).digest(2 * width * len(lengths))
    pairs: tuple[int, ...] = struct.unpack(f"<{width * len(lengths)}H", raw)
    letters = _PAIR_LETTERS
    found: _Values = []
    for position, length in enumerate(lengths):
        at = position * width
        found.append(b"".join([letters[pair & 4095] for pair in pairs[at : at + (length + 1) // 2]])[:length])
    return found


@dataclass(frozen=True)
class Moved:
    """How a copy differs from the recording, beside its ids: days, seconds in the day, amounts, texts."""

    days: int
    seconds: int
    texts: Mapping[str, bytes]
    amount: int = AMOUNT
    part: int = PART

    def time(self, recorded: int) -> int:
        """A recorded time, moved; midnights stay midnights."""
        return recorded + self.days * DAY + (self.seconds if recorded % DAY else 0)


@dataclass(frozen=True)
class _Text:
    """A text with slots: a format, and the positions of its values."""

    form: bytes
    pick: Callable[[_Values], tuple[bytes, ...]] | None

    def fill(self, values: _Values) -> bytes:
        return self.form if self.pick is None else self.form % self.pick(values)


@dataclass(frozen=True)
class _Row:
    """A recorded row: its fixed cells, and those that differ from copy to copy."""

    kind: str
    fixed: tuple[Cell, ...]
    texts: tuple[tuple[int, _Text], ...]
    numbers: tuple[tuple[int, int], ...]  # cell and value
    blobs: tuple[tuple[int, _Text], ...]
    created: int  # the value that is its time, -1 for none


class Template:
    """A recorded story that can be stamped. With a `currency`, amounts and the currency are slots too."""

    def __init__(self, recording: Recording, *, amounts: bool = False, currency: bool = False) -> None:
        self.lengths = recording.lengths[recording.shared :]
        self.shared = recording.shared
        self.latest = max(_times(recording), default=0)
        self._currency = currency
        self._amounts = _amounts(recording) if amounts else {}
        self._slots: dict[_Key, int] = {}
        self._rows = [self._row(row) for row in recording.rows]
        self._timers = [
            (self._number(due), action, self._text(identifier.encode())) for due, action, identifier in recording.timers
        ]
        self._fillers = [(key, position) for key, position in self._slots.items() if key[0] != "mark"]
        self._marked = [(int(key[1]), position) for key, position in self._slots.items() if key[0] == "mark"]

    def stamp(
        self, marks: Sequence[bytes], moved: Moved, since: int
    ) -> tuple[list[list[Cell]], list[tuple[int, str, str]]]:
        """A copy: rows without a scope's other events than those since a time, and timers."""
        values, numbers = self._fill(marks, moved)
        rows: list[list[Cell]] = []
        for row in self._rows:
            if row.kind == "event" and numbers[row.created] < since:
                continue
            cells = list(row.fixed)
            for cell, text in row.texts:
                cells[cell] = text.fill(values).decode()
            for cell, position in row.numbers:
                cells[cell] = numbers[position]
            for cell, text in row.blobs:
                cells[cell] = text.fill(values)
            rows.append(cells)
        timers = [(numbers[due], action, text.fill(values).decode()) for due, action, text in self._timers]
        return rows, timers

    def _fill(self, marks: Sequence[bytes], moved: Moved) -> tuple[_Values, list[int]]:
        values: _Values = [b""] * len(self._slots)
        numbers = [0] * len(self._slots)
        fee = currencies.fee(moved.amount, moved.texts["currency"].decode()) if self._amounts else 0
        for mark, position in self._marked:
            values[position] = marks[mark]
        for (sort, key), position in self._fillers:
            if sort == "text":
                values[position] = moved.texts[str(key)]
                continue
            if sort == "amount":
                whole, part, fees, rest = self._amounts[int(key)]
                number = whole * moved.amount + part * moved.part + fees * fee + rest
            else:
                number = moved.time(int(key))
            numbers[position] = number
            values[position] = b"%d" % number
        return values, numbers

    # Cutting

    def _row(self, row: tuple[Cell, ...]) -> _Row:
        texts: list[tuple[int, _Text]] = []
        numbers: list[tuple[int, int]] = []
        blobs: list[tuple[int, _Text]] = []
        for cell, value in enumerate(row):
            if isinstance(value, str):
                text = self._text(value.encode())
                if text.pick is not None:
                    texts.append((cell, text))
            elif isinstance(value, bytes):
                blobs.append((cell, self._text(value)))
            elif isinstance(value, int) and (_is_time(value) or value in self._amounts):
                numbers.append((cell, self._number(value)))
        created = row[_CREATED]
        moment = self._number(created) if isinstance(created, int) and _is_time(created) else -1
        fixed = tuple(None if isinstance(value, bytes) else value for value in row)
        return _Row(str(row[_TYPE]), fixed, tuple(texts), tuple(numbers), tuple(blobs), moment)

    def _number(self, value: int) -> int:
        return self._slot("time" if _is_time(value) else "amount", value)

    def _slot(self, sort: str, key: str | int) -> int:
        return self._slots.setdefault((sort, key), len(self._slots))

    def _text(self, raw: bytes) -> _Text:
        form: list[bytes] = []
        used: list[int] = []
        end = 0
        for match in _SLOT.finditer(raw):
            position = self._found(match)
            if position is None:
                continue
            form += [raw[end : match.start()].replace(b"%", b"%%"), b"%b"]
            used.append(position)
            end = match.end()
        if not used:
            return _Text(raw, None)
        form.append(raw[end:].replace(b"%", b"%%"))
        return _Text(b"".join(form), _picker(used))

    def _found(self, match: re.Match[bytes]) -> int | None:
        sort, raw = str(match.lastgroup), match[str(match.lastgroup)]
        if sort == "mark":
            return self._slot("mark", int(raw))
        if sort == "text":
            return self._slot("text", raw.decode())
        if sort == "currency":
            return self._slot("text", "currency") if self._currency else None
        number = int(raw)
        return self._number(number) if _is_time(number) or number in self._amounts else None


def _picker(used: list[int]) -> Callable[[_Values], tuple[bytes, ...]]:
    if len(used) > 1:
        return operator.itemgetter(*used)
    only = used[0]
    return lambda values: (values[only],)


def _is_time(value: int) -> bool:
    return 1_500_000_000 <= value < 2_200_000_000


def _times(recording: Recording) -> list[int]:
    created = [row[_CREATED] for row in recording.rows]
    return [each for each in created if isinstance(each, int) and each % DAY]


def _amounts(recording: Recording) -> dict[int, tuple[int, int, int, int]]:
    """What the amounts in a recorded order are made of: so many times the whole, the part and the fee, and a rest."""
    currency = next((row[ROW.index("currency")] for row in recording.rows if row[ROW.index("currency")]), "usd")
    fee = currencies.fee(AMOUNT, str(currency))
    found: dict[int, tuple[int, int, int, int]] = {}
    rests = {0} | _fees(recording) - {fee}
    for whole in (0, -1, 1):
        for part in (0, -1, 1):
            for fees in (0, -1, 1):
                for rest in rests:
                    value = whole * AMOUNT + part * PART + fees * fee - rest
                    if value and (whole or part or fees):
                        found.setdefault(value, (whole, part, fees, -rest))
    return found


def _fees(recording: Recording) -> set[int]:
    found: set[int] = set()
    for row in recording.rows:
        raw = row[_BODY]
        if row[_TYPE] == "balance_transaction" and isinstance(raw, bytes):
            found |= {int(each) for each in re.findall(rb'"fee":(\d+)', raw)}
    return found
