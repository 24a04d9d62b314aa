"""Tables on a terminal or in a file: whole ids, nothing that a terminal would obey."""

from __future__ import annotations

import io
from collections.abc import Sequence

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

__all__ = ["render"]

_GAP = 2
_NARROWEST = 24


def render(
    headers: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    right: frozenset[int] = frozenset(),
    wrapped: int | None = None,
    width: int = 0,
) -> tuple[str, int]:
    """A table as text, and how many of the leading columns it shows.

    `width` 0 means without limit. Otherwise the column `wrapped`, which holds prose, takes
    several lines, and trailing columns that don't fit are left out: an id that is cut or
    wrapped can't be copied. Cells must be printable already.
    """
    widths = [max([cell_len(header), *(cell_len(row[at]) for row in rows)]) for at, header in enumerate(headers)]
    if width and wrapped is not None:
        others = sum(widths) - widths[wrapped] + _GAP * len(widths)
        widths[wrapped] = min(widths[wrapped], max(_NARROWEST, width - others))
    shown = _fitting(widths, width)
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, _GAP - 1, 0, 0))
    for at, header in enumerate(headers[:shown]):
        justify = "right" if at in right else "left"
        fixed = at != wrapped
        table.add_column(Text(header), justify=justify, no_wrap=fixed, min_width=widths[at], max_width=widths[at])
    for row in rows:
        table.add_row(*(Text(one) for one in row[:shown]))
    stream = io.StringIO()
    room = sum(widths[:shown]) + _GAP * shown
    console = Console(file=stream, width=room, force_terminal=False, no_color=True, highlight=False, markup=False)
    console.print(table)
    text = "\n".join(line.rstrip() for line in stream.getvalue().splitlines())
    return f"{text}\n", shown


def _fitting(widths: Sequence[int], width: int) -> int:
    if not width:
        return len(widths)
    used = 0
    for at, one in enumerate(widths):
        used += one + (_GAP if at else 0)
        if used > width and at:
            return at
    return len(widths)
