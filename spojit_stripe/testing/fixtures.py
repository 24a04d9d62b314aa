"""Pytest fixtures, to be imported into a `conftest.py`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from spojit_stripe.sandbox import Sandbox

__all__ = ["stripe_sandbox"]


@pytest.fixture
def stripe_sandbox() -> Iterator[Sandbox]:
    """A Stripe sandbox on a free port of this machine, empty, for one test."""
    from spojit_stripe.sandbox import sandbox  # at use: most tests need no server

    with sandbox() as running:
        yield running
        assert not running.crashes(), running.crashes()[0]
