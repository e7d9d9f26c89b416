"""Files of Google's: uploaded in pieces, and taken up again where a connection broke.

https://ai.google.dev/api/files. The resumable protocol: a first request says how much will come and
is told where to; the pieces go there, the last one says that it is. Asked for, the server says how
much it has, so that what came is not sent again.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from api_backends.errors import ApiError, InvalidResponseError
from api_backends.routes import Request

if TYPE_CHECKING:
    from collections.abc import Mapping

    from api_backends.engine.call import Call
    from api_backends.engine.endpoints import Endpoint
    from api_backends.engine.transport import HttpReply

__all__ = ["ResumableUpload"]

PIECE = 8 * 1024 * 1024
"""Bytes in one request; a multiple of 256 KiB, as the protocol wants."""


class ResumableUpload(Request[dict[str, Any]]):
    """The upload of one file; sent again after a failure, it goes on where it was."""

    __slots__ = ("_content", "_media_type", "_session")

    _content: bytes
    _media_type: str
    _session: tuple[str, str] | None

    def carry(self, content: bytes, media_type: str) -> None:
        """Say what is uploaded."""
        self._content = content
        self._media_type = media_type
        self._session = None

    def send(self, endpoint: Endpoint, call: Call) -> dict[str, Any]:
        """Upload by way of `endpoint`; return what Google says of the file."""
        try:
            if self._session is None or self._session[0] != endpoint.id:
                self._session = endpoint.id, self._begin(endpoint, call)
                offset = 0
            else:
                offset = self._received_so_far(self._session[1], call)
            return self._send_pieces(self._session[1], offset, call)
        except ApiError as error:
            if error.status_code in (404, 410):
                self._session = None
            self._complete(endpoint, error)
            raise

    def _begin(self, endpoint: Endpoint, call: Call) -> str:
        """Announce the file; return the address that its bytes go to."""
        headers = {
            **self._headers(endpoint),
            "x-goog-upload-protocol": "resumable",
            "x-goog-upload-command": "start",
            "x-goog-upload-header-content-length": str(len(self._content)),
            "x-goog-upload-header-content-type": self._media_type,
        }
        url = re.sub(r"(/v\d+\w*)?$", r"/upload\1", endpoint.url, count=1) + self._path
        reply = self._backend.transport.send("POST", url, headers, self._data, call.deadline)
        self._note(endpoint, reply.headers)
        self._check(reply)
        where = reply.headers.get("x-goog-upload-url") or ""
        if urlsplit(where).scheme not in ("https", urlsplit(url).scheme):
            raise InvalidResponseError(
                f"{self._backend.name} didn't say where to upload to; is the base URL that of the "
                "Gemini API?",
                status_code=reply.status,
            )
        return where

    def _received_so_far(self, where: str, call: Call) -> int:
        reply = self._put(where, {"x-goog-upload-command": "query"}, b"", call)
        received = reply.headers.get("x-goog-upload-size-received") or "0"
        return min(int(received), len(self._content)) if received.isdigit() else 0

    def _send_pieces(self, where: str, offset: int, call: Call) -> dict[str, Any]:
        while True:
            piece = self._content[offset : offset + PIECE]
            is_last = offset + len(piece) >= len(self._content)
            headers = {
                "x-goog-upload-offset": str(offset),
                "x-goog-upload-command": "upload, finalize" if is_last else "upload",
            }
            reply = self._put(where, headers, piece, call)
            if is_last:
                answer = self._parsed(reply.body, reply.status, reply.headers)
                file = answer.get("file") if isinstance(answer, dict) else None
                if not isinstance(file, dict):
                    raise InvalidResponseError(
                        f"{self._backend.name} took the upload, but said nothing of the file",
                        status_code=reply.status,
                        body=answer,
                    )
                return file
            offset += len(piece)

    def _put(self, where: str, headers: Mapping[str, str], data: bytes, call: Call) -> HttpReply:
        # The address is a secret of its own; the key stays here.
        base = {"content-type": "application/octet-stream", "accept": "application/json"}
        reply = self._backend.transport.send(
            "POST", where, {**base, **headers}, data, call.deadline
        )
        self._check(reply)
        return reply

    def _check(self, reply: HttpReply) -> None:
        if not 200 <= reply.status < 300:
            raise self._error(reply.status, reply.headers, reply.body)
