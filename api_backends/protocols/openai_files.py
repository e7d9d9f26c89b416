"""Files kept at the provider, as OpenAI's API has it.

https://platform.openai.com/docs/api-reference/files
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from ..base import BaseApiBackend
from ..errors import InvalidRequestError, InvalidResponseError
from ..exchange import ENGINE_OPTIONS
from ..routes import Field, Request, awaitable, blocking, path_part
from ..uploads import read_upload
from .openai_audio import form_fields
from .openai_errors import error_in

if TYPE_CHECKING:
    import os
    from pathlib import Path

__all__ = ["FileRoutes", "FileUpload", "object_reader"]


class _Object:
    """Reads an answer that is an object with an id; and a list of them."""

    def __init__(self, backend: str) -> None:
        self._backend = backend

    def one(self, raw: Any) -> dict[str, Any]:
        self._refuse(raw)
        if not isinstance(raw, dict) or "id" not in raw:
            raise InvalidResponseError(
                f"{self._backend} sent no object with an id; check the base URL", body=raw
            )
        return raw

    def many(self, raw: Any) -> list[dict[str, Any]]:
        self._refuse(raw)
        data = raw.get("data") if isinstance(raw, dict) else raw
        if not isinstance(data, list):
            raise InvalidResponseError(
                f"{self._backend} sent no list; check the base URL", body=raw
            )
        return [item for item in data if isinstance(item, dict)]

    def _refuse(self, raw: Any) -> None:
        # Objects of this kind have an `error` of their own, and null where there is none.
        if isinstance(raw, dict) and raw.get("error") and "id" not in raw:
            error = error_in(raw, backend=self._backend)
            if error is not None:
                raise error


def object_reader(backend: str) -> _Object:
    """Return the readers `one` and `many` for objects of this API."""
    return _Object(backend)


class FileUpload(BaseApiBackend):
    """Upload of files."""

    file_limit: ClassVar[int] = 512 * 1024 * 1024

    def _upload_file(
        self, file: Any, purpose: str = "user_data", **options: Any
    ) -> Request[dict[str, Any]]:
        """Upload a file; return the provider's description of it, with its `id`.

        Args:
            file: A path, bytes, a binary file object, or a tuple (name, any of these).
            purpose: What it is for: "user_data", "batch", "fine-tune", "vision", "assistants".
            options: Further fields, and the engine's options.

        Raises:
            InvalidRequestError: The file is missing, empty or too big.
        """
        if not isinstance(purpose, str) or not purpose:
            raise InvalidRequestError(f"purpose: {purpose!r} is none; give one like 'user_data'")
        upload = read_upload(file, "file", limit=self.file_limit)
        ours = {name: options.pop(name) for name in ENGINE_OPTIONS if name in options}
        fields: list[Field] = [("purpose", purpose), *form_fields(options), ("file", upload)]
        return self._request(
            "POST", "/files", fields=fields, read=object_reader(self.name).one, **ours
        )

    upload_file, aupload_file = blocking(_upload_file), awaitable(_upload_file)


class FileRoutes(FileUpload):
    """Files kept at the provider: upload, list, look, fetch, delete."""

    def _list_files(
        self,
        *,
        purpose: str | None = None,
        limit: int | None = None,
        after: str | None = None,
        **options: Any,
    ) -> Request[list[dict[str, Any]]]:
        """Return descriptions of the files that are kept, newest first.

        Args:
            purpose: Only those of this purpose.
            limit: At most so many.
            after: Only those after the file with this id: the next page.
            options: The engine's.
        """
        query = {"purpose": purpose, "limit": limit, "after": after}
        return self._request(
            "GET", "/files", query=query, read=object_reader(self.name).many, **options
        )

    def _retrieve_file(self, file_id: str, **options: Any) -> Request[dict[str, Any]]:
        """Return the description of one file."""
        path = f"/files/{path_part(file_id, 'file_id')}"
        return self._request("GET", path, read=object_reader(self.name).one, **options)

    def _delete_file(self, file_id: str, **options: Any) -> Request[dict[str, Any]]:
        """Delete a file; return what the provider says of it."""
        path = f"/files/{path_part(file_id, 'file_id')}"
        return self._request("DELETE", path, read=object_reader(self.name).one, **options)

    def _file_content(self, file_id: str, **options: Any) -> Request[bytes]:
        """Return the bytes of a file."""
        path = f"/files/{path_part(file_id, 'file_id')}/content"
        return self._request("GET", path, answer="bytes", **options)

    def _download_file(
        self, file_id: str, path: str | os.PathLike[str], **options: Any
    ) -> Request[Path]:
        """Stream a file to `path`; return the path. It appears whole or not at all."""
        route = f"/files/{path_part(file_id, 'file_id')}/content"
        return self._request("GET", route, save_to=path, **options)

    list_files, alist_files = blocking(_list_files), awaitable(_list_files)
    retrieve_file, aretrieve_file = blocking(_retrieve_file), awaitable(_retrieve_file)
    delete_file, adelete_file = blocking(_delete_file), awaitable(_delete_file)
    file_content, afile_content = blocking(_file_content), awaitable(_file_content)
    download_file, adownload_file = blocking(_download_file), awaitable(_download_file)
