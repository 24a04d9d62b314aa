"""A server with a whole history of charges, so that a benchmark measures its client.

It answers `GET /v1/charges` as Stripe does: newest first, indented, pages of up to 100 charges
of about 3 KB, `starting_after` and ranges of `created`, a latency, and 429 above so many
requests in any one second. No charge is stored: each is written from a template when asked for,
so a million cost nothing. Run as a script with JSON settings, it prints its port.

`GET /stats` tells what was asked since the last `POST /settings`.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import formatdate
from urllib.parse import parse_qs, urlsplit
from urllib.request import Request, urlopen

APART = 60  # seconds between two charges


def charge() -> dict[str, object]:
    """A charge with the fields that a card payment has; how many they are is most of what they cost a client."""
    address = {
        "city": "Lyon",
        "country": "FR",
        "line1": "1 rue X",
        "line2": None,
        "postal_code": "69001",
        "state": None,
    }
    card: dict[str, object] = {
        "amount_authorized": 4200,
        "authorization_code": "123456",
        "brand": "visa",
        "checks": {"address_line1_check": "pass", "address_postal_code_check": "pass", "cvc_check": "pass"},
        "country": "FR",
        "exp_month": 8,
        "exp_year": 2031,
        "extended_authorization": {"status": "disabled"},
        "fingerprint": "benchbenchbench1",
        "funding": "credit",
        "incremental_authorization": {"status": "unavailable"},
        "installments": None,
        "last4": "4242",
        "mandate": None,
        "multicapture": {"status": "unavailable"},
        "network": "visa",
        "network_token": {"used": False},
        "network_transaction_id": "123456789012345",
        "overcapture": {"maximum_amount_capturable": 4200, "status": "unavailable"},
        "regulated_status": "unregulated",
        "three_d_secure": None,
        "wallet": None,
    }
    return {
        "id": "@ID@",
        "object": "charge",
        "amount": 4200,
        "amount_captured": 4200,
        "amount_refunded": 0,
        "application": None,
        "application_fee": None,
        "application_fee_amount": None,
        "balance_transaction": "@TXN@",
        "billing_details": {
            "address": address,
            "email": "a.person@example.com",
            "name": "A Person",
            "phone": None,
            "tax_id": None,
        },
        "calculated_statement_descriptor": "THE SHOP",
        "captured": True,
        "created": _CREATED,
        "currency": "eur",
        "customer": "cus_history0000001",
        "description": "Order 6735",
        "disputed": False,
        "failure_balance_transaction": None,
        "failure_code": None,
        "failure_message": None,
        "fraud_details": {},
        "livemode": False,
        "metadata": {"order": "6735", "shop": "north", "plan": "pro"},
        "on_behalf_of": None,
        "outcome": {
            "advice_code": None,
            "network_advice_code": None,
            "network_decline_code": None,
            "network_status": "approved_by_network",
            "reason": None,
            "risk_level": "normal",
            "risk_score": 23,
            "seller_message": "Payment complete.",
            "type": "authorized",
        },
        "paid": True,
        "payment_intent": "pi_history0000000000000001",
        "payment_method": "pm_history0000000000000001",
        "payment_method_details": {"card": card, "type": "card"},
        "presentment_details": None,
        "radar_options": {},
        "receipt_email": None,
        "receipt_number": None,
        "receipt_url": "https://pay.example.com/receipts/payment/" + "x" * 96,
        "refunded": False,
        "review": None,
        "shipping": {"address": address, "carrier": None, "name": "A Person", "phone": None, "tracking_number": None},
        "source_transfer": None,
        "statement_descriptor": None,
        "statement_descriptor_suffix": None,
        "status": "succeeded",
        "transfer_data": None,
        "transfer_group": None,
    }


_CREATED = 123454321


def _template() -> list[bytes]:
    """An indented charge, split where its id, balance transaction and time stand."""
    text = json.dumps(charge(), indent=2).replace("\n", "\n    ").encode()
    parts: list[bytes] = []
    for mark in (b"@ID@", b"@TXN@", b"%d" % _CREATED):
        before, text = text.split(mark)
        parts.append(before)
    return [*parts, text]


class History:
    """So many charges, `APART` seconds from one to the next, the newest an hour old."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.newest = int(time.time()) - 3600
        self._parts = _template()

    def page(self, query: dict[str, list[str]]) -> bytes | None:
        """The body that answers `query`; None: its cursor is no charge."""
        first, end = 0, self.count
        for name, values in query.items():
            if name.startswith("created["):
                value = int(values[0])
                if name == "created[lt]":  # created < value, so place > (newest - value) / APART
                    first = max(first, (self.newest - value) // APART + 1)
                elif name == "created[lte]":
                    first = max(first, -((value - self.newest) // APART))
                elif name == "created[gte]":
                    end = min(end, (self.newest - value) // APART + 1)
                else:
                    end = min(end, -((value - self.newest) // APART))
        if "starting_after" in query:
            cursor = query["starting_after"][0].removeprefix("ch_history")
            if not cursor.isdigit() or int(cursor) >= self.count:
                return None
            first = max(first, int(cursor) + 1)
        first, end = max(0, first), max(0, end)
        limit = int(query.get("limit", ["10"])[0])
        last = min(end, first + limit)
        head, middle, late, tail = self._parts
        objects = b",\n    ".join(
            b"%bch_history%019d%btxn_history%018d%b%d%b" % (head, place, middle, place, late, created, tail)
            for place, created in ((n, self.newest - n * APART) for n in range(first, last))
        )
        more = b"true" if last < end else b"false"
        return b'{\n  "object": "list",\n  "url": "/v1/charges",\n  "has_more": %b,\n  "data": [%b]\n}\n' % (
            more,
            objects,
        )


class Server:
    """The history behind a latency and a limit."""

    def __init__(self, settings: dict[str, float]) -> None:
        self.configure(settings)

    def configure(self, settings: dict[str, float]) -> None:
        self.history = History(int(settings["count"]))
        self.latency = settings["latency"]
        self.rate = int(settings["rate"])
        self.arrivals: deque[float] = deque()
        self.requests = self.refused = 0
        self.cpu = time.process_time()

    def answer(self, method: str, target: str, body: bytes) -> tuple[float, bytes]:
        """What to write, and after how many seconds."""
        parts = urlsplit(target)
        if parts.path == "/settings":
            self.configure(json.loads(body))
            return 0.0, _answer(200, b"{}")
        if parts.path == "/stats":
            told = {"requests": self.requests, "refused": self.refused, "cpu": time.process_time() - self.cpu}
            return 0.0, _answer(200, json.dumps(told).encode())
        now = time.monotonic()
        self.requests += 1
        while self.arrivals and self.arrivals[0] <= now - 1.0:
            self.arrivals.popleft()
        if len(self.arrivals) >= self.rate:
            self.refused += 1
            error = (
                b'{"error": {"type": "invalid_request_error", "code": "rate_limit", "message": "Too many requests"}}'
            )
            return self.latency, _answer(429, error, b"Stripe-Rate-Limited-Reason: endpoint-rate\r\n")
        self.arrivals.append(now)
        page = self.history.page(parse_qs(parts.query))
        if page is None:
            return self.latency, _answer(400, b'{"error": {"code": "resource_missing", "param": "starting_after"}}')
        return self.latency, _answer(200, page)


def _answer(status: int, payload: bytes, headers: bytes = b"") -> bytes:
    return (
        b"HTTP/1.1 %d X\r\nContent-Type: application/json\r\nRequest-Id: req_history\r\nDate: %b\r\n"
        b"Stripe-Version: 2026-10-28.endive\r\n%bContent-Length: %d\r\n\r\n%b"
    ) % (status, formatdate(usegmt=True).encode(), headers, len(payload), payload)


class _Connection(asyncio.Protocol):
    """One request at a time on each connection, as HTTP clients do without pipelining."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, found, body = self._received.partition(b"\r\n\r\n")
        if not found:
            return
        lines = head.decode("latin-1").split("\r\n")
        lengths = [line.split(":")[1] for line in lines if line.lower().startswith("content-length:")]
        if len(body) < int(lengths[0] if lengths else 0):
            return
        self._received = b""
        method, target, _ = lines[0].split(" ")
        arrived = time.monotonic()
        seconds, payload = self._server.answer(method, target, body)
        left = seconds - (time.monotonic() - arrived)
        if left > 0:
            asyncio.get_running_loop().call_later(left, self._write, payload)
        else:
            self._write(payload)

    def _write(self, payload: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(payload)


async def _serve(settings: dict[str, float]) -> None:
    state = Server(settings)
    server = await asyncio.get_running_loop().create_server(lambda: _Connection(state), "127.0.0.1", 0)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve_forever()


class Remote:
    """The server in its own process, as the benchmark talks to it."""

    def __init__(self, url: str) -> None:
        self.url = url

    def configure(self, *, count: int, latency: float, rate: int) -> None:
        body = json.dumps({"count": count, "latency": latency, "rate": rate}).encode()
        urlopen(Request(f"{self.url}/settings", data=body, method="POST")).close()

    def stats(self) -> dict[str, float]:
        with urlopen(f"{self.url}/stats") as answer:
            return json.load(answer)


@contextmanager
def history_server() -> Iterator[Remote]:
    settings = json.dumps({"count": 100, "latency": 0.0, "rate": 1_000_000})
    process = subprocess.Popen([sys.executable, __file__, settings], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield Remote(f"http://127.0.0.1:{process.stdout.readline().strip()}")
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


if __name__ == "__main__":
    asyncio.run(_serve(json.loads(sys.argv[1])))
