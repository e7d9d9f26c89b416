"""Chat calls by us and by each installed peer: the same request, the same server, in turn.

A client is two functions: `chat()` makes one call and returns its text, `stream()` reads one
stream and returns how many pieces it gave. What is compared is what a user of that client writes
down, with one client object for all calls and room for as many connections as there are threads.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Any

from servers.bench_server import CONTENT, MODEL, STREAM_CHUNKS

from .report import OURS

MESSAGES = [{"role": "user", "content": "What does the fox do? Answer in one paragraph."}]
KEY = "sk-not-a-key"
CONNECTIONS = 64

NO_ORJSON = f"{OURS}, no orjson"
DEFAULT_LIMIT = f"{OURS}, 5 at once"


@dataclass(slots=True)
class Client:
    """One client of the server, open."""

    name: str
    chat: Callable[[], str]
    stream: Callable[[], int] | None = None
    close: Callable[[], None] = field(default=lambda: None)


@dataclass(frozen=True, slots=True)
class Peer:
    """A library to compare with: what it is called, installed as, and how a client is made."""

    name: str
    module: str
    distribution: str
    open: Callable[[str], Client]

    @property
    def is_installed(self) -> bool:
        """Whether it can be imported, found out without importing it."""
        return find_spec(self.module) is not None

    @property
    def version(self) -> str | None:
        """The installed version."""
        return installed_version(self.distribution)


def installed_version(distribution: str) -> str | None:
    """Return the version of an installed distribution, None where it is not installed."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def quiet_environment() -> None:
    """Keep peers off the network and off the terminal, and proxies out of everybody's way."""
    os.environ.update(
        LITELLM_LOCAL_MODEL_COST_MAP="True",  # else it downloads a price list on import
        LITELLM_LOG="ERROR",
        LANGCHAIN_TRACING_V2="false",
        LANGSMITH_TRACING="false",
        ANONYMIZED_TELEMETRY="False",
        HF_HUB_OFFLINE="1",  # models that are not on this disk are skipped, never fetched
        NO_PROXY="127.0.0.1,localhost",
        OPENAI_API_KEY=KEY,
    )
    for name in list(os.environ):
        if name.lower() in ("http_proxy", "https_proxy", "all_proxy"):
            del os.environ[name]


# -- ours -----------------------------------------------------------------------------------------


def open_ours(url: str, name: str = OURS, limit: int | None = 16) -> Client:
    """Return our client; `limit` is `max_concurrent_requests`, None leaves the default."""
    backend = import_module("api_backends").create_api_backend(
        "openai",
        metadata={
            "openai_api_key": KEY,
            "api_base": url,
            **({} if limit is None else {"max_concurrent_requests": limit}),
        },
    )

    def chat() -> str:
        answer: str = backend.chat(MESSAGES, MODEL).content
        return answer

    def stream() -> int:
        count = 0
        for _ in backend.stream_chat(MESSAGES, MODEL):
            count += 1
        return count

    return Client(name, chat, stream, backend.close)


def open_ours_without_orjson(url: str) -> Client:
    """Return our client as an installation without the `fast` extra has it.

    The packages are imported a second time, as if orjson were not there, so that both kinds can be
    measured in turn in one process.
    """
    ours = ("api_backends", "hardware", "ipfs_accelerate_py")
    hidden = {name: sys.modules.pop(name) for name in list(sys.modules) if _top(name) in ours}
    orjson = sys.modules.get("orjson")
    sys.modules["orjson"] = None  # type: ignore[assignment]
    try:
        client = open_ours(url, NO_ORJSON)
        client.chat()  # whatever is imported late is imported now
        assert client.stream is not None
        client.stream()
    finally:
        for name in [name for name in sys.modules if _top(name) in ours]:
            del sys.modules[name]
        sys.modules.update(hidden)
        if orjson is None:
            del sys.modules["orjson"]
        else:
            sys.modules["orjson"] = orjson
    return client


def _top(name: str) -> str:
    return name.partition(".")[0]


# -- plain HTTP clients ---------------------------------------------------------------------------

_BODY: dict[str, Any] = {"model": MODEL, "messages": MESSAGES}
_STREAM_BODY = {**_BODY, "stream": True}
_HEADERS = {"Authorization": f"Bearer {KEY}"}


def _count_events(lines: Iterator[bytes] | Iterator[str], prefix: Any) -> int:
    """Read the data lines of a stream as a user without an SSE parser does."""
    count = 0
    for line in lines:
        if line.startswith(prefix):
            data = line[6:].strip()
            if data not in (b"[DONE]", "[DONE]"):
                json.loads(data)
                count += 1
    return count


def _text(answer: dict[str, Any]) -> str:
    text: str = answer["choices"][0]["message"]["content"]
    return text


def _open_requests(url: str) -> Client:
    import requests

    session = requests.Session()
    session.mount("http://", requests.adapters.HTTPAdapter(pool_maxsize=CONNECTIONS))
    session.headers.update(_HEADERS)
    url += "/chat/completions"

    def stream() -> int:
        with session.post(url, json=_STREAM_BODY, stream=True) as response:
            return _count_events(response.iter_lines(), b"data: ")

    return Client(
        "requests", lambda: _text(session.post(url, json=_BODY).json()), stream, session.close
    )


def _open_urllib3(url: str) -> Client:
    import urllib3

    pool = urllib3.PoolManager(maxsize=CONNECTIONS)
    url += "/chat/completions"

    def chat() -> str:
        return _text(pool.request("POST", url, json=_BODY, headers=_HEADERS).json())

    def stream() -> int:
        response = pool.request(
            "POST", url, json=_STREAM_BODY, headers=_HEADERS, preload_content=False
        )
        count = _count_events(iter(response), b"data: ")
        response.release_conn()
        return count

    return Client("urllib3", chat, stream, pool.clear)


def _open_httpx(url: str) -> Client:
    import httpx

    limits = httpx.Limits(max_connections=CONNECTIONS, max_keepalive_connections=CONNECTIONS)
    client = httpx.Client(headers=_HEADERS, limits=limits)
    url += "/chat/completions"

    def stream() -> int:
        with client.stream("POST", url, json=_STREAM_BODY) as response:
            return _count_events(response.iter_lines(), "data: ")

    return Client("httpx", lambda: _text(client.post(url, json=_BODY).json()), stream, client.close)


# -- clients of the same kind as ours -------------------------------------------------------------


def _open_openai(url: str) -> Client:
    import openai

    client = openai.OpenAI(api_key=KEY, base_url=url)
    create: Any = client.chat.completions.create

    def stream() -> int:
        return sum(1 for _ in create(model=MODEL, messages=MESSAGES, stream=True))

    return Client(
        "openai",
        lambda: create(model=MODEL, messages=MESSAGES).choices[0].message.content,
        stream,
        client.close,
    )


def _open_litellm(url: str) -> Client:
    import litellm

    litellm.telemetry = False
    litellm.suppress_debug_info = True

    def complete(**more: Any) -> Any:
        return litellm.completion(
            f"openai/{MODEL}", messages=MESSAGES, api_base=url, api_key=KEY, **more
        )

    return Client(
        "litellm",
        lambda: complete().choices[0].message.content,
        lambda: sum(1 for _ in complete(stream=True)),
    )


def _open_any_llm(url: str) -> Client:
    from any_llm import AnyLLM

    client: Any = AnyLLM.create("openai", api_key=KEY, api_base=url)
    return Client(
        "any-llm",
        lambda: client.completion(model=MODEL, messages=MESSAGES).choices[0].message.content,
        lambda: sum(1 for _ in client.completion(model=MODEL, messages=MESSAGES, stream=True)),
    )


def _open_langchain(url: str) -> Client:
    from langchain_openai import ChatOpenAI

    model = ChatOpenAI(model=MODEL, api_key=KEY, base_url=url)  # type: ignore[arg-type]
    return Client(
        "langchain-openai",
        lambda: str(model.invoke(MESSAGES).content),
        lambda: sum(1 for _ in model.stream(MESSAGES)),
    )


PEERS = (
    Peer("requests", "requests", "requests", _open_requests),
    Peer("urllib3", "urllib3", "urllib3", _open_urllib3),
    Peer("httpx", "httpx", "httpx", _open_httpx),
    Peer("openai", "openai", "openai", _open_openai),
    Peer("litellm", "litellm", "litellm", _open_litellm),
    Peer("any-llm", "any_llm", "any-llm-sdk", _open_any_llm),
    Peer("langchain-openai", "langchain_openai", "langchain-openai", _open_langchain),
)


def open_clients(url: str, *, with_peers: bool) -> tuple[list[Client], dict[str, str]]:
    """Open ours and the installed peers' clients, each checked by one call and one stream.

    Returns:
        The clients, ours first, and why each of the others is left out.
    """
    clients = [_checked(open_ours(url))]
    skipped = {}
    if find_spec("orjson") is not None:
        clients.append(_checked(open_ours_without_orjson(url)))
    for peer in PEERS if with_peers else ():
        if not peer.is_installed:
            skipped[peer.name] = "not installed"
            continue
        try:
            clients.append(_checked(peer.open(url)))
        except Exception as error:
            skipped[peer.name] = f"{type(error).__name__}: {str(error)[:200]}"
    return clients, skipped


def _checked(client: Client) -> Client:
    """See that a client really gets the whole answer and the whole stream."""
    text = client.chat()
    if text != CONTENT:
        raise ValueError(f"{client.name} returned {text[:80]!r} in place of the answer")
    if client.stream is not None and (count := client.stream()) < STREAM_CHUNKS:
        raise ValueError(f"{client.name} gave {count} pieces of a stream of {STREAM_CHUNKS}")
    return client
