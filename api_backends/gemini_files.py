"""Files at Google's: what is too large for a message, or is asked about again and again."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from .errors import InvalidRequestError, InvalidResponseError
from .exchange import split_options
from .protocols.gemini_uploads import ResumableUpload
from .routes import Request, awaitable, blocking
from .uploads import read_upload

if TYPE_CHECKING:
    from .base import BaseApiBackend

    _Base = BaseApiBackend
else:
    _Base = object

__all__ = ["GeminiFiles"]

FILE_LIMIT = 2 * 1024**3

_NAME = re.compile(r"(?:(?:https?://[^/]+/.*?)?files/)?([a-z0-9][a-z0-9-]*)")


class GeminiFiles(_Base):
    """Upload, look up, list and delete files. Google keeps them for 48 hours.

    https://ai.google.dev/api/files
    """

    def _upload_file(
        self,
        file: Any,
        *,
        mime_type: str | None = None,
        display_name: str | None = None,
        **options: Any,
    ) -> Request[dict[str, Any]]:
        """Upload a file; return what Google says of it.

        Args:
            file: A path, bytes, a binary file object, or a tuple (name, any of these).
            mime_type: What it is; told by its name if None.
            display_name: Name to show; the file's own if None.
            options: The engine's, as for `chat`.

        Returns:
            A dictionary with `name` ("files/…"), `uri`, `mimeType` and `state`. A message refers to
            it by `{"type": "file", "file": {"file_id": uri, "mime_type": mimeType}}`; video can be
            asked about once `get_file(name)["state"]` is "ACTIVE".

        Raises:
            InvalidRequestError: It is missing, empty or too large, or nothing says what it is.
        """
        upload = read_upload(file, "file", limit=FILE_LIMIT)
        named = mime_type or upload.content_type
        if named == "application/octet-stream":
            raise InvalidRequestError(
                f"file: {upload.name!r} doesn't say what it is; give mime_type"
            )
        if not re.fullmatch(r"[\w.+-]+/[\w.+-]+(;.*)?", named, re.ASCII):
            raise InvalidRequestError(f"mime_type: {named!r} is no media type, like image/png")
        described = {"file": {"displayName": display_name or upload.name}}
        control = split_options(options)
        _refuse(options)
        from .engine.json_codec import encode

        request = ResumableUpload(
            self, self._call(control), "POST", "/files", encode(described), control, None
        )
        request.carry(upload.data, named)
        return request

    upload_file, aupload_file = blocking(_upload_file), awaitable(_upload_file)

    def _get_file(self, name: str, **options: Any) -> Request[dict[str, Any]]:
        """Return what Google says of a file now, its `state` above all.

        Args:
            name: "files/…", with or without that word, or the file's `uri`.
            options: The engine's, as for `chat`.
        """
        return self._request("GET", _path(name), read=_object, **options)

    get_file, aget_file = blocking(_get_file), awaitable(_get_file)

    def _delete_file(self, name: str, **options: Any) -> Request[dict[str, Any]]:
        """Delete a file; see `get_file` for how it is named."""
        return self._request("DELETE", _path(name), read=lambda raw: raw or {}, **options)

    delete_file, adelete_file = blocking(_delete_file), awaitable(_delete_file)

    def list_files(self, **options: Any) -> list[dict[str, Any]]:
        """Return all files of the key's project, as dictionaries."""
        files: list[dict[str, Any]] = []
        page = self.request("GET", "/files", query={"pageSize": 100}, read=_object, **options)
        files.extend(_files(page))
        while page.get("nextPageToken"):
            query = {"pageSize": 100, "pageToken": page["nextPageToken"]}
            page = self.request("GET", "/files", query=query, read=_object, **options)
            files.extend(_files(page))
        return files

    async def alist_files(self, **options: Any) -> list[dict[str, Any]]:
        """Do what `list_files` does, without blocking the event loop."""
        files: list[dict[str, Any]] = []
        query: dict[str, Any] = {"pageSize": 100}
        while True:
            page = await self.arequest("GET", "/files", query=query, read=_object, **options)
            files.extend(_files(page))
            if not page.get("nextPageToken"):
                return files
            query["pageToken"] = page["nextPageToken"]


def _path(name: Any) -> str:
    found = _NAME.fullmatch(name) if isinstance(name, str) else None
    if found is None:
        raise InvalidRequestError(
            f'name: {name!r} is no file\'s name; it looks like "files/abc-123"'
        )
    return f"/files/{found[1]}"


def _object(raw: Any) -> dict[str, Any]:
    if not isinstance(raw, dict):
        raise InvalidResponseError("the answer about a file is no JSON object", body=raw)
    return raw


def _files(page: dict[str, Any]) -> list[dict[str, Any]]:
    files = page.get("files")
    return [file for file in files if isinstance(file, dict)] if isinstance(files, list) else []


def _refuse(options: dict[str, Any]) -> None:
    if options:
        raise InvalidRequestError(f"{next(iter(options))}: not an option of upload_file()")
