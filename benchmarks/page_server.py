"""A server of ready-made pages, so that a benchmark measures the client and nothing else.

It answers `GET /v1/customers/{id}` with one customer and any list with the same page of 100
charges of about 3 KB each, as fast as one core can write. Run as a script it prints its port.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

OBJECTS_A_PAGE = 100


def _charge(number: int) -> dict[str, object]:
    return {
        "id": f"ch_bench{number:019d}",
        "object": "charge",
        "amount": 1000 + number,
        "amount_captured": 1000 + number,
        "amount_refunded": 0,
        "balance_transaction": f"txn_bench{number:018d}",
        "billing_details": {
            "address": {"city": "Lyon", "country": "FR", "line1": "1 rue X", "line2": None, "postal_code": "69001"},
            "email": f"person{number}@example.com",
            "name": "A Person",
            "phone": None,
        },
        "captured": True,
        "created": 1_790_000_000 - number,
        "currency": "eur",
        "customer": f"cus_bench{number:018d}",
        "description": "An order of several things, paid by card " * 12,
        "disputed": False,
        "livemode": False,
        "metadata": {f"key_{n}": f"value {n} of charge {number}" for n in range(12)},
        "outcome": {"network_status": "approved_by_network", "risk_level": "normal", "type": "authorized"},
        "paid": True,
        "payment_intent": f"pi_bench{number:019d}",
        "payment_method_details": {
            "card": {
                "brand": "visa",
                "checks": {"address_line1_check": None, "address_postal_code_check": None, "cvc_check": "pass"},
                "country": "FR",
                "exp_month": 8,
                "exp_year": 2031,
                "fingerprint": "benchbenchbench1",
                "funding": "credit",
                "last4": "4242",
                "network": "visa",
                "three_d_secure": None,
                "wallet": None,
            },
            "type": "card",
        },
        "receipt_url": "https://pay.example.com/receipts/" + "x" * 120,
        "refunded": False,
        "status": "succeeded",
        "transfer_group": None,
    }


def _answer(body: object) -> bytes:
    payload = json.dumps(body).encode()
    head = (
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nRequest-Id: req_bench\r\n"
        f"Stripe-Version: 2026-10-28.endive\r\nContent-Length: {len(payload)}\r\n\r\n"
    )
    return head.encode() + payload


# All the fields that a customer has: how many there are is most of what a client's objects cost.
CUSTOMER = _answer(
    {
        "id": "cus_bench",
        "object": "customer",
        "address": {
            "city": "Lyon",
            "country": "FR",
            "line1": "1 rue X",
            "line2": None,
            "postal_code": "69001",
            "state": None,
        },
        "balance": 0,
        "business_name": None,
        "created": 1_790_000_000,
        "currency": "eur",
        "customer_account": None,
        "default_source": "card_bench",
        "delinquent": False,
        "description": "A customer of the shop",
        "discount": None,
        "email": "a@example.com",
        "individual_name": None,
        "invoice_prefix": "BENCH001",
        "invoice_settings": {
            "custom_fields": [{"name": "PO", "value": "12"}],
            "default_payment_method": "pm_bench",
            "footer": None,
            "rendering_options": None,
        },
        "livemode": False,
        "metadata": {"order": "6735", "shop": "north", "plan": "pro"},
        "name": "A Person",
        "next_invoice_sequence": 4,
        "phone": None,
        "preferred_locales": ["fr", "de"],
        "shipping": {
            "address": {
                "city": "Lyon",
                "country": "FR",
                "line1": "1 rue X",
                "line2": None,
                "postal_code": "69001",
                "state": None,
            },
            "name": "A Person",
            "phone": None,
        },
        "tax_exempt": "none",
        "test_clock": None,
    }
)
_CHARGES = [_charge(number) for number in range(OBJECTS_A_PAGE)]
PAGE = _answer({"object": "list", "url": "/v1/charges", "has_more": True, "data": _CHARGES})
LAST = _answer({"object": "list", "url": "/v1/charges", "has_more": False, "data": _CHARGES})


class _Pages(asyncio.Protocol):
    """Answers whatever begins with GET; a request is taken to be one packet, as on loopback."""

    def __init__(self, pages: int) -> None:
        self._pages = pages
        self._served = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        for line in data.split(b"\r\n"):
            if line.startswith(b"GET /v1/customers/"):
                self._transport.write(CUSTOMER)
            elif line.startswith(b"GET "):
                self._served = self._served + 1 if b"starting_after" in line else 1
                # Ids repeat from page to page, and a client that notices stops: so the cursor's
                # object is never the last of the page that follows.
                last = self._served >= self._pages
                self._transport.write(
                    LAST if last else PAGE.replace(b"ch_bench0", b"ch_bnc%02d0" % (self._served % 97))
                )


async def _serve(pages: int) -> None:
    server = await asyncio.get_running_loop().create_server(lambda: _Pages(pages), "127.0.0.1", 0)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve_forever()


@contextmanager
def page_server(pages: int) -> Iterator[str]:
    """The URL of a server in a process of its own; a list has `pages` pages."""
    process = subprocess.Popen([sys.executable, __file__, str(pages)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1])))
