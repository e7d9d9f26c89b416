"""Moderation: whether a text or an image offends, and in what way.

https://platform.openai.com/docs/api-reference/moderations
"""

from __future__ import annotations

from typing import Any, ClassVar

from ..answers import Moderation, ModerationResponse
from ..base import BaseApiBackend
from ..errors import InvalidRequestError, InvalidResponseError
from ..exchange import ENGINE_OPTIONS
from ..routes import Request, awaitable, blocking
from .openai_errors import error_in

__all__ = ["ModerationRoutes", "read_moderation"]


def read_moderation(raw: Any, backend: str) -> ModerationResponse:
    """Read the verdicts of a moderation.

    Raises:
        ApiError: The answer reports an error.
        InvalidResponseError: It holds no verdicts.
    """
    error = error_in(raw, backend=backend)
    if error is not None:
        raise error
    results = raw.get("results") if isinstance(raw, dict) else None
    if not isinstance(results, list) or not all(_is_verdict(result) for result in results):
        raise InvalidResponseError(
            f"{backend} sent no verdicts; check the base URL and that the model moderates", body=raw
        )
    verdicts = [
        Moderation(
            result["flagged"],
            {k: v for k, v in _object(result, "categories").items() if isinstance(v, bool)},
            {k: v for k, v in _object(result, "category_scores").items() if _is_score(v)},
        )
        for result in results
    ]
    model = raw.get("model")
    return ModerationResponse(verdicts, model=model if isinstance(model, str) else "", raw=raw)


def _is_verdict(result: Any) -> bool:
    return isinstance(result, dict) and isinstance(result.get("flagged"), bool)


def _is_score(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _object(result: dict[str, Any], name: str) -> dict[str, Any]:
    value = result.get(name)
    return value if isinstance(value, dict) else {}


class ModerationRoutes(BaseApiBackend):
    """Moderation of texts and images."""

    default_moderation_model: ClassVar[str] = "omni-moderation-latest"

    def _moderate(
        self, input: Any, model: str | None = None, **options: Any
    ) -> Request[ModerationResponse]:
        """Ask whether something offends: a `ModerationResponse`, false `flagged` if nothing does.

        Args:
            input: A text, a list of texts, or a list of parts (`text`, `image_url`).
            model: Model; this back end's default if None.
            options: The engine's.
        """
        if not isinstance(input, (str, list)) or not input or not str(input).strip():
            raise InvalidRequestError(
                f"input: {input!r:.80}; give a text, or a list of texts or of parts"
            )
        model = self._model(model, lambda: self.default_moderation_model)
        ours = {name: options.pop(name) for name in ENGINE_OPTIONS if name in options}
        return self._request(
            "POST",
            "/moderations",
            json={"input": input, "model": model, **options},
            model=model,
            read=lambda raw: read_moderation(raw, self.name),
            **ours,
        )

    moderate, amoderate = blocking(_moderate), awaitable(_moderate)
