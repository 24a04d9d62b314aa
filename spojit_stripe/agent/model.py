"""The model: messages in, one reply out. The only module that imports `anthropic`.

A reply whose stream was cut is asked for again here, before anything of it is recorded or run.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol, cast

from spojit_stripe.agent.pricing import Tokens
from spojit_stripe.errors import (
    AccessError,
    ConfigurationError,
    InvalidRequestError,
    Problem,
    ServiceError,
    SpojitError,
    UnavailableError,
)
from spojit_stripe.redact import printable, redact_text
from spojit_stripe.values import JsonObject, JsonValue

if TYPE_CHECKING:
    from anthropic import AsyncAnthropic

__all__ = ["Claude", "Model", "ModelReply", "ModelRequest"]

_LONGEST: Final = 300
_KEYS: Final = ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRequest:
    """One question. `final` forbids tools: only an answer is wanted."""

    model: str
    system: str
    tools: Sequence[JsonObject]
    messages: Sequence[JsonObject]
    max_tokens: int
    final: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelReply:
    """What came back, as it goes back: thinking and unknown blocks unchanged."""

    content: list[JsonValue]
    stop_reason: str | None
    model: str
    tokens: Tokens
    request_id: str | None = None

    def to_json(self) -> JsonObject:
        return {
            "content": self.content,
            "stop_reason": self.stop_reason,
            "model": self.model,
            "tokens": self.tokens.to_json(),
            "request_id": self.request_id,
        }

    @classmethod
    def of_json(cls, record: JsonObject) -> ModelReply:
        return cls(
            content=cast("list[JsonValue]", record["content"]),
            stop_reason=cast("str | None", record["stop_reason"]),
            model=cast("str", record["model"]),
            tokens=Tokens.of_json(record["tokens"]),
            request_id=cast("str | None", record["request_id"]),
        )

    @property
    def text(self) -> str:
        """All its text."""
        blocks = [one for one in self.content if isinstance(one, dict) and one.get("type") == "text"]
        return "\n".join(str(one.get("text", "")) for one in blocks).strip()

    @property
    def tool_uses(self) -> list[JsonObject]:
        """The calls it asks for, in its order."""
        return [one for one in self.content if isinstance(one, dict) and one.get("type") == "tool_use"]


Heard = Callable[[str], None]


class Model(Protocol):
    """Something that answers. Raises `SpojitError`."""

    async def reply(self, request: ModelRequest, *, heard: Heard | None = None) -> ModelReply:
        """`heard` gets the text as it comes; an empty one means that it begins anew."""
        ...

    async def aclose(self) -> None: ...


class _CutError(Exception):
    """The stream ended before the reply was complete."""


@dataclass
class Claude:
    """Implements `Model` over Anthropic's Messages API; the client is made at the first question.

    `tries` replies are asked for where streams break; `backoff` seconds lie between them, doubled
    each time.
    """

    tries: int = 3
    backoff: float = 0.5
    retries: int = 2
    _client: AsyncAnthropic | None = field(default=None, init=False, repr=False)

    async def reply(self, request: ModelRequest, *, heard: Heard | None = None) -> ModelReply:
        why = ""
        for attempt in range(self.tries):
            if attempt:
                await asyncio.sleep(self.backoff * 2 ** (attempt - 1))
                if heard is not None:
                    heard("")
            try:
                return await self._once(request, heard)
            except _CutError as error:
                why = str(error)
        raise UnavailableError(
            f"the model's reply broke off {self.tries} times ({why}); nothing of it was run, try again in a minute"
        )

    async def aclose(self) -> None:
        if self._client is not None:
            await self._client.close()
            self._client = None

    async def _once(self, request: ModelRequest, heard: Heard | None) -> ModelReply:
        client = self._open()
        with_errors = _explained(request.model)
        async with with_errors, client.messages.stream(**_arguments(request)) as stream:
            async for event in stream:
                if event.type == "text" and heard is not None:
                    heard(event.text)
            message = await stream.get_final_message()
            plain = cast("JsonObject", message.to_dict(mode="json", warnings=False))
        if plain.get("stop_reason") is None:  # a clean end that is none: a tool's input may be half of it
            raise _CutError("the stream ended early")
        usage = cast("JsonObject", plain.get("usage") or {})
        return ModelReply(
            content=cast("list[JsonValue]", plain["content"]),
            stop_reason=cast("str", plain["stop_reason"]),
            model=str(plain.get("model") or request.model),
            tokens=Tokens(
                input=_count(usage, "input_tokens"),
                output=_count(usage, "output_tokens"),
                cache_read=_count(usage, "cache_read_input_tokens"),
                cache_write=_count(usage, "cache_creation_input_tokens"),
            ),
            request_id=stream.request_id,
        )

    def _open(self) -> AsyncAnthropic:
        if self._client is not None:
            return self._client
        if not any(os.environ.get(name, "").strip() for name in _KEYS):
            raise ConfigurationError(
                "Agent Mode needs a key of the model: set the environment variable ANTHROPIC_API_KEY; "
                "Direct Mode (`spojit-stripe call`, mode: direct) works without one"
            )
        try:
            from anthropic import AsyncAnthropic  # at use: it takes seconds to import
        except ImportError:
            raise ConfigurationError(
                "Agent Mode needs the package anthropic: pip install 'spojit_stripe[agent]'"
            ) from None
        self._client = AsyncAnthropic(max_retries=self.retries)
        return self._client


def _arguments(request: ModelRequest) -> dict[str, Any]:
    """The request as the SDK takes it. What comes first never changes within a run, so the cache keeps it."""
    kept = {"type": "ephemeral"}
    arguments: dict[str, Any] = {
        "model": request.model,
        "max_tokens": request.max_tokens,
        "system": [{"type": "text", "text": request.system, "cache_control": kept}],
        "messages": list(request.messages),
        "cache_control": kept,  # the end of the messages, wherever it is by now
    }
    if request.tools:
        arguments["tools"] = list(request.tools)
        if request.final:
            arguments["tool_choice"] = {"type": "none"}
    return arguments


def _count(usage: JsonObject, name: str) -> int:
    value = usage.get(name)
    return value if isinstance(value, int) else 0


# Errors


@asynccontextmanager
async def _explained(model: str) -> AsyncGenerator[None]:
    """The SDK's errors, and those that it lets through from its transport, as ours."""
    import anthropic
    import httpx2  # a broken stream comes out as its error

    try:
        yield
    except anthropic.APIStatusError as error:
        if error.status_code == 200 and error.type in ("overloaded_error", "api_error", "timeout_error"):
            raise _CutError(_told(error)) from None
        raise _of_status(error, model) from None
    except anthropic.APITimeoutError:
        raise UnavailableError("the model did not answer in time; try again in a minute") from None
    except anthropic.APIConnectionError:
        where = "ANTHROPIC_BASE_URL" if os.environ.get("ANTHROPIC_BASE_URL") else "the network and any proxy"
        raise UnavailableError(f"the model can't be reached; check {where}") from None
    except httpx2.TransportError as error:
        raise _CutError(f"the connection broke: {type(error).__name__}") from None
    except (AssertionError, IndexError, RuntimeError):  # how the SDK tells of events that are missing
        raise _CutError("the stream was empty or out of order") from None
    except (anthropic.AnthropicError, httpx2.HTTPError, ValueError) as error:
        raise ServiceError(f"the model's answer can't be read: {_line(str(error))}") from None


def _of_status(error: Any, model: str) -> SpojitError:
    status, text = cast("int", error.status_code), _told(error)
    problem = Problem(type=_maybe(error.type), status=status, request_id=_maybe(error.request_id))
    if status == 404:
        return ConfigurationError(f"the model {model!r} is not known ({text}); name one such as claude-sonnet-5-5")
    if status in (401, 403):
        return AccessError(f"the model refused the key: {text}; check ANTHROPIC_API_KEY", problem)
    if status == 402:
        return AccessError(f"the model's account has no credit: {text}", problem)
    if status in (408, 409, 429) or status >= 500:
        return UnavailableError(f"the model is busy or failing: {text}; try again in a minute", problem)
    return InvalidRequestError(f"the model refused the request: {text}", problem)


def _told(error: Any) -> str:
    return _line(error.api_message or error.type or f"HTTP {error.status_code}")


def _maybe(text: object) -> str | None:
    return _line(text) if isinstance(text, str) else None


def _line(text: str) -> str:
    return printable(redact_text(text))[:_LONGEST]
