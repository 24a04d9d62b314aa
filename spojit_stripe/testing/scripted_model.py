"""A model that plays a script, served over HTTP to the real SDK.

    with ScriptedModel(
        use("list-charges", customer="cus_1"),
        say("The customer was charged once."),
    ) as model:
        os.environ |= model.environment
        …

It refuses with 400 what the API refuses: an unanswered tool call, an unknown field, a prefilled
assistant turn. Leaving the block fails where a turn was not played, or where one came that the
script does not foresee.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Final, TypeAlias, cast

from spojit_stripe.testing.fake_wire import UnexpectedRequestError, UnplayedError
from spojit_stripe.values import JsonObject, JsonValue

__all__ = [
    "ModelTurn",
    "Played",
    "Scripted",
    "ScriptedModel",
    "cut",
    "fails",
    "prompt_text",
    "refuses",
    "say",
    "think",
    "use",
]

_CHARACTERS_PER_TOKEN: Final = 4
_KNOWN: Final = frozenset(
    [
        "cache_control",
        "max_tokens",
        "messages",
        "metadata",
        "model",
        "output_config",
        "service_tier",
        "stop_sequences",
        "stream",
        "system",
        "thinking",
        "tool_choice",
        "tools",
    ]
)
_TOOL_FIELDS: Final = frozenset(
    [
        "allowed_callers",
        "cache_control",
        "defer_loading",
        "description",
        "input_examples",
        "input_schema",
        "name",
        "strict",
        "type",
    ]
)
_BLOCK_FIELDS: Final[Mapping[str, frozenset[str]]] = {
    "text": frozenset({"type", "text", "cache_control", "citations"}),
    "tool_use": frozenset({"type", "id", "name", "input", "cache_control", "caller"}),
    "tool_result": frozenset({"type", "tool_use_id", "content", "is_error", "cache_control"}),
    "thinking": frozenset({"type", "thinking", "signature"}),
    "redacted_thinking": frozenset({"type", "data"}),
}
_TOOL_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_MOST_BREAKPOINTS: Final = 4


@dataclass(frozen=True)
class ModelTurn:
    """One answer of the model. `status` other than 200 is an error; `cut` ends the stream early.

    `expect` are texts that the request's last message must hold.
    """

    blocks: tuple[JsonObject, ...] = ()
    stop_reason: str = "end_turn"
    status: int = 200
    error: str = "api_error"
    message: str = "scripted"
    cut: str = ""
    expect: tuple[str, ...] = ()

    def after(self, *texts: str) -> ModelTurn:
        """This turn, only where the request's last message holds `texts`."""
        return replace(self, expect=(*self.expect, *texts))

    def then(self, other: ModelTurn) -> ModelTurn:
        """The blocks of both in one turn, ended as the second."""
        return replace(other, blocks=(*self.blocks, *other.blocks), expect=(*self.expect, *other.expect))


@dataclass(frozen=True)
class Played:
    """A request of the SDK as it came, and what of it the cache would have known."""

    body: JsonObject
    cached: int
    tokens: int

    @property
    def messages(self) -> list[JsonObject]:
        return cast("list[JsonObject]", self.body["messages"])

    @property
    def last(self) -> str:
        """The last message as text, for looking into it."""
        return json.dumps(self.messages[-1]["content"], ensure_ascii=False)

    def result(self, number: int = -1) -> str:
        """The text of one tool result of the last message."""
        blocks = cast("list[JsonObject]", self.messages[-1]["content"])
        return _text([one for one in blocks if one["type"] == "tool_result"][number].get("content"))


Scripted: TypeAlias = "ModelTurn | Callable[[Played], ModelTurn]"


def say(text: str | JsonObject, *, stop_reason: str = "end_turn") -> ModelTurn:
    """A text, or an object as JSON."""
    shown = text if isinstance(text, str) else json.dumps(text)
    return ModelTurn(({"type": "text", "text": shown},), stop_reason)


def use(tool: str, /, **arguments: JsonValue) -> ModelTurn:
    """A call of one tool. Join several with `then`."""
    return ModelTurn(({"type": "tool_use", "name": tool, "input": arguments},), "tool_use")


def think(text: str) -> ModelTurn:
    """A thinking block, signed; join it with `then`."""
    return ModelTurn(({"type": "thinking", "thinking": text, "signature": f"signed:{len(text)}"},))


def refuses() -> ModelTurn:
    """The model declines to answer."""
    return ModelTurn((), "refusal")


def fails(status: int, error: str = "api_error", message: str = "scripted") -> ModelTurn:
    """An error instead of an answer; status 200 sends it inside of the stream."""
    return ModelTurn((), status=status, error=error, message=message)


def cut(turn: ModelTurn, *, how: str = "clean") -> ModelTurn:
    """The same turn, whose stream ends early: `clean`, `broken` in the middle of a chunk, or `empty`."""
    return replace(turn, cut=how)


class _RefusedError(Exception):
    """What the API would answer with 400."""


class ScriptedModel:
    """Serves `POST /v1/messages` on a port of this machine, a free one for 0, and plays its turns in order."""

    def __init__(self, *turns: Scripted, port: int = 0) -> None:
        self._turns = list(turns)
        self._port = port
        self._place = 0
        self._lock = threading.Lock()
        self._calls = 0
        self._said: list[list[JsonValue]] = []
        self._server: ThreadingHTTPServer | None = None
        self.requests: list[Played] = []
        self.faults: list[str] = []

    def will(self, *turns: Scripted) -> ScriptedModel:
        """More turns."""
        self._turns += turns
        return self

    @property
    def url(self) -> str:
        assert self._server is not None, "start it first"
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def environment(self) -> dict[str, str]:
        """What the SDK reads to find it."""
        return {"ANTHROPIC_BASE_URL": self.url, "ANTHROPIC_API_KEY": "sk-ant-scripted-0000"}

    @property
    def played(self) -> int:
        """How many turns were played."""
        return self._place

    def start(self) -> ScriptedModel:
        handler = type("Handler", (_Handler,), {"model": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", self._port), handler)
        threading.Thread(target=self._server.serve_forever, args=(0.02,), name="scripted-model", daemon=True).start()
        return self

    def stop(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def verify(self) -> None:
        """Raises where a request came that the script does not foresee, or a turn was not played."""
        if self.faults:
            raise UnexpectedRequestError("; ".join(self.faults))
        if self._place < len(self._turns):
            raise UnplayedError(f"{len(self._turns) - self._place} of {len(self._turns)} turns were not played")

    def __enter__(self) -> ScriptedModel:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        if kind is None:
            self.verify()

    # Playing

    def play(self, body: JsonObject) -> tuple[ModelTurn, JsonObject]:
        """The next turn and the message it makes. Raises `_RefusedError` for what the API refuses."""
        with self._lock:
            try:
                self._check(body)
            except _RefusedError as error:
                self.faults.append(str(error))
                raise
            played = self._measured(body)
            self.requests.append(played)
            if self._place >= len(self._turns):
                self.faults.append(f"turn {self._place + 1} came, but the script has {len(self._turns)}")
                raise _RefusedError(self.faults[-1])
            scripted = self._turns[self._place]
            self._place += 1
            turn = scripted(played) if callable(scripted) else scripted
            for text in turn.expect:
                if text not in played.last:
                    self.faults.append(f"turn {self._place} expects {text!r} in {played.last[:2000]}")
            return turn, self._message(turn, played)

    def _message(self, turn: ModelTurn, played: Played) -> JsonObject:
        content: list[JsonValue] = []
        for block in turn.blocks:
            if block["type"] == "tool_use":
                self._calls += 1
                block = {"type": "tool_use", "id": f"toolu_{self._calls:04d}", **block}
            content.append(block)
        if not turn.cut and turn.status == 200:
            self._said.append(content)
        written = max(0, played.tokens - played.cached)
        return {
            "id": f"msg_{self._place:04d}",
            "type": "message",
            "role": "assistant",
            "model": played.body["model"],
            "content": content,
            "stop_reason": turn.stop_reason,
            "stop_sequence": None,
            "usage": {
                "input_tokens": 0 if "cache_control" in played.body else written,
                "cache_creation_input_tokens": written if "cache_control" in played.body else 0,
                "cache_read_input_tokens": played.cached,
                "output_tokens": _tokens(json.dumps(content)),
            },
        }

    def _measured(self, body: JsonObject) -> Played:
        now = prompt_text(body)
        known = max((_common(now, prompt_text(one.body)) for one in self.requests), default=0)
        cached = known // _CHARACTERS_PER_TOKEN if "cache_control" in body else 0
        return Played(body, cached, _tokens(now))

    # What the API refuses

    def _check(self, body: JsonObject) -> None:
        unknown = sorted(body.keys() - _KNOWN)
        if unknown:
            raise _RefusedError(f"{unknown[0]}: Extra inputs are not permitted")
        for name in ("model", "max_tokens", "messages"):
            if name not in body:
                raise _RefusedError(f"{name}: Field required")
        if json.dumps(body).count('"cache_control"') > _MOST_BREAKPOINTS:
            raise _RefusedError(f"A maximum of {_MOST_BREAKPOINTS} blocks with cache_control may be provided")
        _check_tools(cast("list[JsonObject]", body.get("tools", [])))
        messages = cast("list[JsonObject]", body["messages"])
        _check_messages(messages)
        self._check_unchanged(messages)

    def _check_unchanged(self, messages: list[JsonObject]) -> None:
        signed = [block for said in self._said for block in said if _is_thinking(block)]
        for message in messages:
            for block in _blocks(message):
                if _is_thinking(block) and block not in signed:
                    raise _RefusedError("messages: thinking blocks cannot be modified")


def _check_tools(tools: list[JsonObject]) -> None:
    names = [str(tool.get("name")) for tool in tools]
    if len(set(names)) < len(names):
        raise _RefusedError("tools: Tool names must be unique")
    for tool, name in zip(tools, names, strict=True):
        if not _TOOL_NAME.fullmatch(name):
            raise _RefusedError(f"tools.{name}: String should match pattern '^[a-zA-Z0-9_-]{{1,64}}$'")
        extra = sorted(tool.keys() - _TOOL_FIELDS)
        if extra:
            raise _RefusedError(f"tools.{name}.{extra[0]}: Extra inputs are not permitted")
        schema = cast("JsonObject", tool.get("input_schema", {}))
        if schema.get("type") != "object":
            raise _RefusedError(f"tools.{name}.input_schema.type: Input should be 'object'")
        for word in ("oneOf", "anyOf", "allOf"):
            if word in schema:
                raise _RefusedError(f"tools.{name}.input_schema: {word} is not supported at the top level")


def _check_messages(messages: list[JsonObject]) -> None:
    if not messages:
        raise _RefusedError("messages: at least one message is required")
    if messages[0]["role"] != "user":
        raise _RefusedError("messages: first message must use the user role")
    if messages[-1]["role"] != "user":
        raise _RefusedError("This model does not support assistant message prefill")
    asked: list[str] = []
    for message in messages:
        blocks = list(_blocks(message))
        if not blocks:
            raise _RefusedError("messages: content must not be empty")
        for block in blocks:
            _check_block(block)
        answered = [str(block["tool_use_id"]) for block in blocks if block["type"] == "tool_result"]
        if sorted(answered) != sorted(asked):
            raise _RefusedError(f"messages: tool_use ids {asked} need tool_result blocks right after, not {answered}")
        if answered and [block["type"] for block in blocks[: len(answered)]] != ["tool_result"] * len(answered):
            raise _RefusedError("messages: tool_result blocks must come first")
        asked = [str(block["id"]) for block in blocks if block["type"] == "tool_use"]


def _check_block(block: JsonObject) -> None:
    kind = str(block.get("type"))
    if kind not in _BLOCK_FIELDS:
        raise _RefusedError(f"messages.content: Input tag {kind!r} is not expected")
    extra = sorted(block.keys() - _BLOCK_FIELDS[kind])
    if extra:
        raise _RefusedError(f"messages.content.{kind}.{extra[0]}: Extra inputs are not permitted")
    if kind == "tool_use" and not isinstance(block.get("input"), dict):
        raise _RefusedError("messages.content.tool_use.input: Input should be an object")
    if kind == "text" and not str(block.get("text", "")).strip():
        raise _RefusedError("messages: text content blocks must be non-empty")


def _blocks(message: JsonObject) -> Iterator[JsonObject]:
    content = message["content"]
    if isinstance(content, str):
        yield {"type": "text", "text": content}
    else:
        yield from cast("Iterable[JsonObject]", content)


def _is_thinking(block: JsonValue) -> bool:
    return isinstance(block, dict) and block.get("type") in ("thinking", "redacted_thinking")


def prompt_text(body: JsonObject) -> str:
    """What a prompt cache sees of a request, in its order: tools, system, messages."""
    parts: list[JsonValue] = [body.get("tools"), body.get("system")]
    for message in cast("list[JsonObject]", body["messages"]):
        parts += [message["role"], *_blocks(message)]
    return "\n".join(json.dumps(_bare(part), sort_keys=True) for part in parts)


def _bare(value: JsonValue) -> JsonValue:
    if isinstance(value, dict):
        return {name: _bare(inner) for name, inner in value.items() if name != "cache_control"}
    return [_bare(one) for one in value] if isinstance(value, list) else value


def _common(one: str, other: str) -> int:
    length = min(len(one), len(other))
    return next((at for at in range(length) if one[at] != other[at]), length)


def _tokens(text: str) -> int:
    return -(-len(text) // _CHARACTERS_PER_TOKEN)


def _text(content: JsonValue) -> str:
    if isinstance(content, str):
        return content
    return "\n".join(str(cast("JsonObject", one).get("text", "")) for one in cast("list[JsonValue]", content or []))


# Over HTTP


@dataclass
class _Stream:
    """The events of one message."""

    message: JsonObject
    turn: ModelTurn
    lines: list[bytes] = field(default_factory=list[bytes])

    def events(self) -> list[bytes]:
        if self.turn.status == 200 and self.turn.error != "api_error":
            self._add("error", {"error": {"type": self.turn.error, "message": self.turn.message}})
            return self.lines
        if self.turn.cut == "empty":
            return self.lines
        usage = cast("JsonObject", self.message["usage"])
        first: JsonObject = {**usage, "output_tokens": 1}
        begun: JsonObject = {**self.message, "content": [], "stop_reason": None, "usage": first}
        self._add("message_start", {"message": begun})
        for index, block in enumerate(cast("list[JsonObject]", self.message["content"])):
            self._block(index, block)
        if not self.turn.cut:
            delta: JsonObject = {"stop_reason": self.message["stop_reason"], "stop_sequence": None}
            self._add("message_delta", {"delta": delta, "usage": {"output_tokens": usage["output_tokens"]}})
            self._add("message_stop", {})
        return self.lines

    def _block(self, index: int, block: JsonObject) -> None:
        kind = block["type"]
        empty: Mapping[str, JsonObject] = {
            "text": {"text": ""},
            "tool_use": {"input": {}},
            "thinking": {"thinking": "", "signature": ""},
        }
        opened: JsonObject = {**block, **empty.get(str(kind), {})}
        self._add("content_block_start", {"index": index, "content_block": opened})
        if kind == "text":
            for part in re.findall(r"(?s).{1,20}", str(block["text"])):
                self._add("content_block_delta", {"index": index, "delta": {"type": "text_delta", "text": part}})
        elif kind == "tool_use":
            text = json.dumps(block["input"])
            if self.turn.cut:
                text = text[: len(text) // 2]
            for part in re.findall(r"(?s).{1,30}", text):
                delta: JsonObject = {"type": "input_json_delta", "partial_json": part}
                self._add("content_block_delta", {"index": index, "delta": delta})
        elif kind == "thinking":
            for name, delta_kind in (("thinking", "thinking_delta"), ("signature", "signature_delta")):
                part_of: JsonObject = {"type": delta_kind, name: block[name]}
                self._add("content_block_delta", {"index": index, "delta": part_of})
        if not self.turn.cut:
            self._add("content_block_stop", {"index": index})

    def _add(self, kind: str, value: JsonObject) -> None:
        self.lines.append(f"event: {kind}\ndata: {json.dumps({'type': kind, **value})}\n\n".encode())


class _Handler(BaseHTTPRequestHandler):
    """One request of the SDK."""

    protocol_version = "HTTP/1.1"
    model: ScriptedModel

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: the script says what was played."""

    def do_POST(self) -> None:
        length = int(self.headers.get("content-length") or 0)
        body = cast("JsonObject", json.loads(self.rfile.read(length)))
        path = self.path.split("?", 1)[0]
        try:
            if path == "/v1/messages/count_tokens":
                self._json(200, {"input_tokens": _tokens(prompt_text(body))})
                return
            turn, message = self.model.play(body)
        except _RefusedError as error:
            self._error(400, "invalid_request_error", str(error))
            return
        if turn.status != 200:
            self._error(turn.status, turn.error, turn.message)
        elif body.get("stream"):
            self._stream(turn, message)
        else:
            self._json(200, message)

    def _stream(self, turn: ModelTurn, message: JsonObject) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("request-id", "req_scripted")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for line in _Stream(message, turn).events():
            self.wfile.write(f"{len(line):x}\r\n".encode() + line + b"\r\n")
        if turn.cut == "broken":
            self.wfile.write(b"40\r\nevent: content")
            self.close_connection = True
        else:
            self.wfile.write(b"0\r\n\r\n")

    def _error(self, status: int, kind: str, message: str) -> None:
        self._json(status, {"type": "error", "error": {"type": kind, "message": message}})

    def _json(self, status: int, value: JsonObject) -> None:
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("request-id", "req_scripted")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
