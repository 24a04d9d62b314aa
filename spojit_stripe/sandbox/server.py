"""HTTP over sockets: h11 for the protocol, asyncio for the connections.

Our own server, because faults need the socket: to drop, cut and hold answers.
Whatever bytes come in, a connection ends with an answer or is closed; nothing crashes.
"""

import asyncio
import errno
import ipaddress
import socket
import sys
import traceback
from collections.abc import Awaitable, Callable

import h11

from spojit_stripe.sandbox import control
from spojit_stripe.sandbox.app import App, Reply, Request
from spojit_stripe.sandbox.errors import SandboxError
from spojit_stripe.sandbox.values import encode

_MOST_BODY = 8 * 1024 * 1024
_MOST_HEAD = 64 * 1024
_IDLE_SECONDS = 75.0
_TICK_SECONDS = 1.0


class Server:
    """Serves one sandbox on one address."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self._ticker: asyncio.Task[None] | None = None

    async def start(self, host: str, port: int) -> str:
        """Listen; returns the URL. Port 0 takes a free one."""
        try:
            self._server = await asyncio.start_server(self._connect, host, port, limit=_MOST_HEAD, backlog=1024)
        except (socket.gaierror, UnicodeError):
            raise SandboxError(f"{host!r} is not an address of this machine") from None
        except OverflowError:
            raise SandboxError(f"{port} is not a port: it takes 0 to 65535") from None
        except OSError as error:
            raise SandboxError(_why(host, port, error)) from None
        if not self._app.clock.frozen:
            self._ticker = asyncio.create_task(self._tick())
        self._app.courier.flush()
        where = self._server.sockets[0].getsockname()
        shown = f"[{where[0]}]" if ":" in where[0] else where[0]
        return f"http://{shown}:{where[1]}"

    async def stop(self) -> None:
        """Close all connections, held ones too."""
        if self._server is not None:
            self._server.close()
        self._app.faults.release(drop=True)
        tasks = [*self._connections, *([self._ticker] if self._ticker is not None else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._app.courier.stop()
        if self._server is not None:
            await self._server.wait_closed()

    async def _tick(self) -> None:
        """With a running clock, what falls due happens also when nobody asks."""
        while True:
            await asyncio.sleep(_TICK_SECONDS)
            try:
                self._app.pass_time()
            except Exception:  # as for requests: seen, and survived
                self._app.crashes.append(traceback.format_exc())
                sys.stderr.write(self._app.crashes[-1])
                return

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._connections.add(task)
        try:
            await _Connection(self._app, reader, writer).serve()
        except (ConnectionError, TimeoutError, asyncio.CancelledError):
            pass  # the other side went away, or the sandbox stops
        finally:
            if task is not None:
                self._connections.discard(task)
            writer.transport.abort() if writer.transport.is_closing() else writer.close()


class _Connection:
    """One connection: requests one after another, kept alive."""

    def __init__(self, app: App, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._app = app
        self._reader = reader
        self._writer = writer
        self._local = _is_local(str(writer.get_extra_info("peername", ("",))[0]))
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=_MOST_HEAD)

    async def serve(self) -> None:
        """Answer until the connection is done."""
        while True:
            try:
                request = await self._receive()
            except h11.RemoteProtocolError as error:
                await self._refuse(error.error_status_hint, str(error))
                return
            if request is None:
                return
            reply = await self._answer(request)
            if not await self._send(reply, head_only=request.method == "HEAD"):
                return
            if self._http.our_state is not h11.DONE or self._http.their_state is not h11.DONE:
                return
            self._http.start_next_cycle()

    def _answer(self, request: Request) -> Awaitable[Reply]:
        if request.path == control.PREFIX or request.path.startswith(control.PREFIX + "/"):
            return _now(lambda: control.answer(self._app, request, local=self._local))
        return self._app.answer(request)

    async def _receive(self) -> Request | None:
        """The next request with its whole body; None when the other side is done."""
        head: h11.Request | None = None
        body = bytearray()
        while True:
            event = self._http.next_event()
            if event is h11.NEED_DATA:
                if self._http.they_are_waiting_for_100_continue:
                    self._write(h11.InformationalResponse(status_code=100, headers=[]))
                async with asyncio.timeout(_IDLE_SECONDS):
                    self._http.receive_data(await self._reader.read(65_536))
            elif isinstance(event, h11.Request):
                head = event
            elif isinstance(event, h11.Data):
                body += event.data
                if len(body) > _MOST_BODY:
                    raise h11.RemoteProtocolError("the request's body is too large", error_status_hint=413)
            elif isinstance(event, h11.EndOfMessage) and head is not None:
                return _request(head, bytes(body))
            else:  # closed, or paused after an upgrade that is not offered
                return None

    async def _send(self, reply: Reply, *, head_only: bool) -> bool:
        """Send an answer; whether the connection goes on."""
        if reply.drop:
            self._writer.transport.abort()
            return False
        headers = [(name.encode(), value.encode("latin-1", "replace")) for name, value in reply.headers.items()]
        headers.append((b"Content-Length", str(len(reply.body)).encode()))
        self._write(h11.Response(status_code=reply.status, headers=headers))
        body = b"" if head_only else reply.body
        if reply.cut is not None and reply.cut < len(body):
            self._writer.write(body[: reply.cut])
            await self._writer.drain()
            return False
        if body:
            self._write(h11.Data(data=body))
        self._write(h11.EndOfMessage())
        await self._writer.drain()
        return True

    async def _refuse(self, status: int, why: str) -> None:
        """Answer what is not HTTP with a 4xx, then close."""
        if self._http.our_state not in {h11.IDLE, h11.SEND_RESPONSE}:
            return
        body = encode({"error": {"message": f"Invalid HTTP request: {why}", "type": "invalid_request_error"}})
        headers = {"Content-Type": "application/json", "Connection": "close"}
        await self._send(Reply(max(status, 400), headers, body), head_only=False)

    def _write(self, event: h11.Event) -> None:
        raw = self._http.send(event)
        if raw:
            self._writer.write(raw)


async def _now(action: Callable[[], Reply]) -> Reply:
    return action()


def _request(head: h11.Request, body: bytes) -> Request:
    target = head.target.decode("ascii")
    if "://" in target.partition("?")[0]:
        target = "/" + target.split("://", 1)[1].partition("/")[2]
    path, _, query = target.partition("?")
    headers: dict[str, str] = {}
    for name, value in head.headers:
        headers[name.decode("ascii")] = value.decode("latin-1")
    return Request(head.method.decode("ascii").upper(), path or "/", query.partition("#")[0], headers, body)


def _is_local(peer: str) -> bool:
    """Whether a peer is on this machine."""
    try:
        address = ipaddress.ip_address(peer.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


def _why(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {port} on {host} is taken: stop what uses it, or choose another with --port"
    if error.errno == errno.EACCES:
        return f"port {port} may not be used by this user: choose one above 1023"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"{host!r} is not an address of this machine"
    return f"can't listen on {host}:{port}: {error.strerror or error}"
