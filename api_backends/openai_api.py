"""OpenAI's own API."""

from __future__ import annotations

from .protocols.openai import OpenAICompatible

__all__ = ["OpenAI"]


class OpenAI(OpenAICompatible):
    """OpenAI's API, or anything that speaks it. https://platform.openai.com/docs/api-reference."""

    name = "openai"
    names = ("openai", "openai_api")
    default_url = "https://api.openai.com/v1"
    key_names = ("openai_api_key",)
    key_env = ("OPENAI_API_KEY",)
    default_model = "gpt-4o-mini"
    default_embedding_model = "text-embedding-3-small"
    model_patterns = (
        "gpt-3.5*", "gpt-4*", "gpt-5*", "chatgpt-*", "o1*", "o3*", "o4*", "codex-*", "ft:gpt-*",
        "text-embedding-*", "openai/gpt-[345]*",
    )  # fmt: skip
