"""A stand-in for Google's Gemini API: it echoes, counts words and hashes, and says so.

Run it by hand to try things without a key: `python test/servers/gemini_standin.py`, then point
`GEMINI_API_URL` at the address that it prints.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
import threading
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from servers.recording_server import Answer, Recorded, RecordingServer, json_answer, sse_answer

MODELS = ("gemini-2.5-flash", "gemini-2.5-pro", "gemini-embedding-001")


class StandIn(RecordingServer):
    """The server, not started yet: a context manager with a `url`.

    Args:
        key: The only key that it accepts; any if None.
        models: The models that it serves; any if None.
    """

    def __init__(self, key: str | None = None, models: tuple[str, ...] | None = None) -> None:
        super().__init__(lambda request: _respond(self, request))
        self.key = key
        self.models = models


def _respond(server: StandIn, request: Recorded) -> Answer:
    path, _, query = request.path.partition("?")
    key = request.headers.get("x-goog-api-key")
    if "upload_id" not in query and not key:
        return _error(403, "PERMISSION_DENIED", "the key is missing")
    if "upload_id" not in query and server.key not in (None, key):
        return _error(403, "PERMISSION_DENIED", "the key is not the one")
    model, _, method = path.rpartition("/")[2].partition(":")
    if method and server.models is not None and model not in server.models:
        return _error(404, "NOT_FOUND", f"models/{model} is not found for API version v1beta")
    body = json.loads(request.body) if method else {}
    if method == "generateContent":
        return json_answer(_answers(body)[-1])
    if method == "streamGenerateContent":
        *pieces, _ = _answers(body)
        return sse_answer(*pieces, done=False) if "alt=sse" in query else json_answer(pieces)
    if method == "countTokens":
        contents = body.get("generateContentRequest", body)["contents"]
        return json_answer({"totalTokens": _words(contents)})
    if method == "embedContent":
        return json_answer({"embedding": _embedding(body)})
    if method == "batchEmbedContents":
        return json_answer({"embeddings": [_embedding(one) for one in body["requests"]]})
    if path.endswith("/models"):
        served = server.models or MODELS
        return json_answer({"models": [{"name": f"models/{name}"} for name in served]})
    return _file(server, request, path)


def _answers(body: dict[str, Any]) -> list[dict[str, Any]]:
    """The events of a stream, then the answer in one."""
    contents = body["contents"]
    last = contents[-1]["parts"]
    tools = [
        t["functionDeclarations"] for t in body.get("tools", ()) if "functionDeclarations" in t
    ]
    read = _words(contents)
    if tools and not any("functionResponse" in part for part in last):
        asked = re.search(r"call (\w+) (\{.*\})", " ".join(p.get("text", "") for p in last))
        name, args = asked.groups() if asked else (tools[0][0]["name"], "{}")
        call = {"functionCall": {"name": name, "args": json.loads(args)}}
        whole = [_answer([call], read, "STOP")]
        return whole * 2
    said = " ".join(part["text"] for part in last if "text" in part)
    said = said or json.dumps([part["functionResponse"]["response"] for part in last])
    if "responseJsonSchema" in body.get("generationConfig", {}):
        said = json.dumps({"echo": said})
    words = re.findall(r"\S+\s*", f"(stand-in) {said}")
    events = [_answer([{"text": word}], read, None) for word in words[:-1]]
    events.append(_answer([{"text": words[-1]}], read, "STOP"))
    return [*events, _answer([{"text": "".join(words)}], read, "STOP")]


def _answer(parts: list[Any], read: int, finish: str | None) -> dict[str, Any]:
    candidate: dict[str, Any] = {"content": {"role": "model", "parts": parts}, "index": 0}
    if finish:
        candidate["finishReason"] = finish
    usage = {"promptTokenCount": read, "candidatesTokenCount": 1, "totalTokenCount": read + 1}
    return {"candidates": [candidate], "usageMetadata": usage, "modelVersion": "stand-in"}


def _words(contents: list[Any]) -> int:
    return max(1, len(json.dumps(contents).split()))


def _embedding(request: dict[str, Any]) -> dict[str, Any]:
    text = request["content"]["parts"][0]["text"]
    size = request.get("outputDimensionality", 8)
    digest = hashlib.shake_256(text.encode()).digest(size)
    return {"values": [byte / 255 for byte in digest]}


def _file(server: StandIn, request: Recorded, path: str) -> Answer:
    command = request.headers.get("x-goog-upload-command", "")
    about = {"name": "files/abc", "uri": f"{server.url}/v1beta/files/abc", "state": "ACTIVE"}
    about["mimeType"] = "application/pdf"
    if command == "start":
        return 200, {"x-goog-upload-url": f"{server.url}/upload?upload_id=1"}, b""
    if command:
        return json_answer({"file": about})
    if path.endswith("/files"):
        return json_answer({"files": [about]})
    if "/files/" in path:
        return json_answer({} if request.method == "DELETE" else about)
    return _error(404, "NOT_FOUND", f"{path} is not found")


def _error(code: int, status: str, message: str) -> Answer:
    return json_answer({"error": {"code": code, "message": message, "status": status}}, code)


if __name__ == "__main__":
    with StandIn() as running:
        print(f"GEMINI_API_URL={running.url}", flush=True)
        threading.Event().wait()
