"""The template that a new back end starts from; `docs/new_backend.md` builds one out of it."""

from __future__ import annotations

from .protocols.openai import OpenAICompatible

__all__ = ["SampleBackend"]


class SampleBackend(OpenAICompatible):
    """An OpenAI-compatible server on this machine, such as `test/servers/openai_standin.py`."""

    name = "sample_backend"
    names = ("sample", "sample_backend")
    default_url = "http://localhost:8000/v1"
    key_names = ("sample_api_key",)
    key_env = ("SAMPLE_API_KEY",)
    needs_key = False
    takes_any_model = True
    default_model = "sample-model"
    default_embedding_model = "sample-embedding"
