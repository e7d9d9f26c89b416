"""OPEA: the Open Platform for Enterprise AI's chat services."""

from __future__ import annotations

from .protocols.openai import OpenAICompatible

__all__ = ["OPEA"]


class OPEA(OpenAICompatible):
    """An OPEA text-generation service. https://opea-project.github.io/latest/microservices."""

    name = "opea"
    default_url = "http://localhost:8000/v1"
    key_names = ("opea_api_key",)
    key_env = ("OPEA_API_KEY",)
    needs_key = False
    takes_any_model = True
