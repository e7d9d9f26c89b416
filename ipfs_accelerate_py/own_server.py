"""A server known by nothing but its URL: it is taken to speak OpenAI's protocol."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from api_backends.protocols.openai import OpenAICompatible

__all__ = ["OwnServer"]


class OwnServer(OpenAICompatible):
    """An OpenAI-compatible server at a URL; its results name the URL as their back end."""

    name = "server"
    default_url = "http://localhost:8000/v1"
    key_names = ("server_api_key",)
    key_env = ("SERVER_API_KEY",)
    needs_key = False
    takes_any_model = True

    def __init__(self, url: str, resources: Mapping[str, Any] | None = None) -> None:
        self.name = url  # type: ignore[misc]  # a class attribute everywhere else
        super().__init__(resources, {"api_base": url})
