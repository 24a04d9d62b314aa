"""What a person who watches a long list is told."""

from __future__ import annotations

from spojit_stripe.cli.progress import Line, watching


def test_the_line_tells_what_came_how_fast_and_what_is_left() -> None:
    now = 100.0
    said: list[str] = []
    line = Line("list-charges", said.append, lambda: now)
    line(100, 100, 1)
    now += 10
    line.expect(90_000, 24.5, False)
    line(20_000, 22_500, 225)
    now += 10
    line.expect(5_400_000, 17.2, True)
    line(45_000, 45_000, 450)
    now += 10
    line.expect(450_000, 24.5, False)
    line(67_500, 67_500, 675)
    now += 1
    line.expect(None, 24.5, False)
    line(69_750, 69_750, 698)
    assert said == [
        "list-charges: 100 objects, 1 page",
        "list-charges: 20,000 objects, 22,500 looked at, 225 pages, 2,250 objects/s, about 90,000 and 40 s to go, "
        "24.5 requests/s allowed",
        "list-charges: 45,000 objects, 450 pages, 2,250 objects/s, about 5,400,000 and 40 min to go, "
        "17.2 requests/s allowed (slowed down by Stripe)",
        "list-charges: 67,500 objects, 675 pages, 2,250 objects/s, about 450,000 and 3 min to go, "
        "24.5 requests/s allowed",
        "list-charges: 69,750 objects, 698 pages, 2,250 objects/s, 24.5 requests/s allowed",
    ]
    line.expect(200_000_000, 24.5, False)
    line(69_750, 69_750, 698)
    assert "24.7 h to go" in said[-1]


def test_nobody_watches_a_pipe() -> None:
    with watching("list-charges") as progress:
        assert progress is None
