"""An OpenAI-compatible stand-in server: a mock, but one that reads the request and checks it.

    python test/servers/openai_standin.py [--port P] [--key K] [--model NAME ...]

Serves /v1/chat/completions (streamed or not), /v1/embeddings, /v1/models and /health on 127.0.0.1.
Answers repeat the text of the last message; "call NAME {json}" calls a tool that was offered. Every
body is validated against `openai_schema.json`, so a wrong request gets the 400 that OpenAI would
give. It prints one line with its address when it is ready.
"""

from __future__ import annotations

import json
import sys
from functools import lru_cache
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
if __name__ == "__main__":  # run as a script: `servers` lies beside the folder of this file
    sys.path.insert(0, str(HERE.parent))

from servers import openai_answers as answers  # noqa: E402
from servers.standin_server import ServedStandIn, StandInServer, serve_by_hand  # noqa: E402

MODELS = ("sample-model", "sample-embedding")
"""The models that it serves unless told otherwise; all of them chat and embed."""


@lru_cache(maxsize=1)
def _validators() -> dict[str, Any]:
    try:
        import jsonschema  # type: ignore[import-untyped,unused-ignore]
    except ImportError as error:
        raise SystemExit("the stand-in needs jsonschema: pip install jsonschema") from error
    schema = json.loads((HERE / "openai_schema.json").read_text())
    return {
        name: jsonschema.Draft202012Validator({"$ref": f"#/$defs/{name}", "$defs": schema["$defs"]})
        for name in ("chat", "embeddings")
    }


class _Handler(BaseHTTPRequestHandler):
    """Answers the requests of one connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # head and body leave in one packet
    server: StandInServer

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing: tests read what the server recorded."""

    def do_GET(self) -> None:
        """Answer a GET request."""
        self._respond(b"")

    def do_POST(self) -> None:
        """Answer a POST request."""
        self._respond(self.rfile.read(int(self.headers.get("Content-Length") or 0)))

    def _respond(self, body: bytes) -> None:
        self.server.record(self.command, self.path, dict(self.headers), body)
        try:
            self._route(body)
        except answers.RefusedError as refused:
            self._send(refused.status, refused.body)

    def _route(self, body: bytes) -> None:
        method, path = self.command, self.path.split("?", 1)[0].rstrip("/")
        path = path.removeprefix("/openai")  # where Groq has it
        if (method, path) == ("GET", "/health"):
            self._send(200, {"status": "ok"})
            return
        self._authorize()
        if method == "GET" and path.startswith("/v1/models"):
            self._send(200, self._models(path.removeprefix("/v1/models").strip("/")))
        elif (method, path) == ("POST", "/v1/chat/completions"):
            request = self._valid("chat", body)
            whole = answers.chat(request)
            if request.get("stream"):
                self._stream(answers.chunks(request, whole))
            else:
                self._send(200, whole)
        elif (method, path) == ("POST", "/v1/embeddings"):
            self._send(200, answers.embeddings(self._valid("embeddings", body)))
        else:
            raise answers.RefusedError(404, f"Invalid URL ({method} {path})")

    def _authorize(self) -> None:
        given = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if self.server.key is not None and given != self.server.key:
            # Echoed on purpose: clients must keep keys out of their messages even then.
            message = f"Incorrect API key provided: {given}." if given else "No API key provided."
            raise answers.RefusedError(401, message, code="invalid_api_key")

    def _models(self, name: str) -> dict[str, Any]:
        rows = [
            {"id": model, "object": "model", "created": 1700000000, "owned_by": "stand-in"}
            for model in self.server.models
        ]
        if not name:
            return {"object": "list", "data": rows}
        self._check_model(name)
        return next(row for row in rows if row["id"] == name)

    def _check_model(self, name: str) -> None:
        if name not in self.server.models:
            message = f"The model `{name}` does not exist or you do not have access to it."
            raise answers.RefusedError(404, message, param="model", code="model_not_found")

    def _valid(self, kind: str, body: bytes) -> dict[str, Any]:
        if self.headers.get_content_type() != "application/json":
            raise answers.RefusedError(400, "Content-Type must be application/json")
        try:
            request = json.loads(body, parse_constant=_no_constant)
        except ValueError as error:
            raise answers.RefusedError(400, f"the body is not JSON: {error}") from error
        problem = next(iter(sorted(_validators()[kind].iter_errors(request), key=str)), None)
        if problem is not None:
            while problem.context:  # of the alternatives, the one that came closest
                problem = max(problem.context, key=lambda e: len(e.absolute_path))
            where = problem.json_path.removeprefix("$.") if problem.absolute_path else None
            raise answers.RefusedError(400, f"{where or 'body'}: {problem.message}", param=where)
        self._check_model(request["model"])
        return dict(request)

    def _send(self, status: int, data: Any) -> None:
        body = json.dumps(data, ensure_ascii=False).encode()
        self._head(status, "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

    def _stream(self, events: Any) -> None:
        self._head(200, "text/event-stream; charset=utf-8")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        texts = (json.dumps(event, ensure_ascii=False) for event in events)
        for text in (*texts, "[DONE]"):
            data = f"data: {text}\n\n".encode()
            self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
            self.wfile.flush()
        self.wfile.write(b"0\r\n\r\n")
        self.wfile.flush()

    def _head(self, status: int, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("x-request-id", f"req_{self.server.served}")


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


class StandIn(ServedStandIn):
    """The stand-in in this process; see `ServedStandIn`."""

    handler = _Handler
    own_models = MODELS


def main() -> int:
    """Serve until interrupted."""
    return serve_by_hand(StandIn, __doc__)


if __name__ == "__main__":
    sys.exit(main())
