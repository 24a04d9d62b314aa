"""Lists read to where the caller wants, and told truthfully how far that was."""

from __future__ import annotations

from spojit_stripe.wire.listing.cursor import PAGE_CAP
from spojit_stripe.wire.listing.page import Body, Page, body_of
from spojit_stripe.wire.listing.read import read_list

__all__ = ["PAGE_CAP", "Body", "Page", "body_of", "read_list"]
