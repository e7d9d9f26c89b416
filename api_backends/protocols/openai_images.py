"""Images out of words and out of other images, as OpenAI's API has it.

https://platform.openai.com/docs/api-reference/images
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from ..answers import GeneratedImage, ImageResponse
from ..base import BaseApiBackend
from ..errors import InvalidRequestError, InvalidResponseError
from ..exchange import ENGINE_OPTIONS
from ..routes import Field, Request, awaitable, blocking
from ..uploads import Upload, read_upload
from .openai_audio import form_fields
from .openai_chat import read_usage
from .openai_errors import error_in

__all__ = ["ImageRoutes", "read_images"]


def read_images(raw: Any, backend: str) -> ImageResponse:
    """Read generated images.

    Raises:
        ApiError: The answer reports an error.
        InvalidResponseError: It holds no list of images.
    """
    error = error_in(raw, backend=backend)
    if error is not None:
        raise error
    data = raw.get("data") if isinstance(raw, dict) else None
    if not isinstance(data, list) or not all(isinstance(item, dict) for item in data):
        raise InvalidResponseError(
            f"{backend} sent no images; check the base URL and that the model makes images",
            body=raw,
        )
    images = [
        GeneratedImage(*(_text(item.get(name)) for name in ("b64_json", "url", "revised_prompt")))
        for item in data
    ]
    return ImageResponse(
        images, model=_text(raw.get("model")) or "", usage=read_usage(raw), raw=raw
    )


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


class ImageRoutes(BaseApiBackend):
    """Generation, edit and variation of images."""

    default_image_model: ClassVar[str] = "gpt-image-1"
    default_variation_model: ClassVar[str] = "dall-e-2"
    image_suffixes: ClassVar[tuple[str, ...]] = ("png", "jpg", "jpeg", "webp")
    image_limit: ClassVar[int] = 50 * 1024 * 1024

    def _generate_image(
        self, prompt: str, model: str | None = None, **options: Any
    ) -> Request[ImageResponse]:
        """Draw what a text describes: an `ImageResponse`.

        Args:
            prompt: The description.
            model: Model; this back end's default if None.
            options: `n`, `size`, `quality`, `response_format`, …, and the engine's options.
        """
        model = self._model(model, lambda: self.default_image_model)
        ours = {name: options.pop(name) for name in ENGINE_OPTIONS if name in options}
        _whole(options)
        body = {"model": model, "prompt": _checked_prompt(prompt), **options}
        return self._images("/images/generations", model, {"json": body, **ours})

    def _edit_image(
        self,
        image: Any,
        prompt: str,
        model: str | None = None,
        *,
        mask: Any = None,
        **options: Any,
    ) -> Request[ImageResponse]:
        """Change an image, or make one out of several, as a text describes.

        Args:
            image: A path, bytes, a binary file object, a tuple (name, any of these), or a list
                of images.
            prompt: What to change.
            model: Model; this back end's default if None.
            mask: An image whose transparent parts say where to change.
            options: As for `generate_image`.

        Raises:
            InvalidRequestError: An image is missing, empty, too big or of another type.
        """
        model = self._model(model, lambda: self.default_image_model)
        if isinstance(image, list):
            fields: list[Field] = [
                ("image[]", self._picture(item, f"image[{place}]"))
                for place, item in enumerate(image)
            ]
            if not fields:
                raise InvalidRequestError("image: an empty list; give at least one image")
        else:
            fields = [("image", self._picture(image, "image"))]
        if mask is not None:
            fields.append(("mask", self._picture(mask, "mask")))
        fields.append(("prompt", _checked_prompt(prompt)))
        return self._image_form("/images/edits", fields, model, options)

    def _vary_image(
        self, image: Any, model: str | None = None, **options: Any
    ) -> Request[ImageResponse]:
        """Draw variations of an image; arguments as for `edit_image`."""
        model = self._model(model, lambda: self.default_variation_model)
        fields: list[Field] = [("image", self._picture(image, "image"))]
        return self._image_form("/images/variations", fields, model, options)

    def _picture(self, image: Any, argument: str) -> Upload:
        return read_upload(
            image,
            argument,
            suffixes=self.image_suffixes,
            limit=self.image_limit,
            kind="image",
            default_name="image",
        )

    def _image_form(
        self, path: str, fields: Sequence[Field], model: str | None, options: dict[str, Any]
    ) -> Request[ImageResponse]:
        ours = {name: options.pop(name) for name in ENGINE_OPTIONS if name in options}
        _whole(options)
        form = [*fields, ("model", model or ""), *form_fields(options)]
        return self._images(path, model, {"fields": form, **ours})

    def _images(
        self, path: str, model: str | None, details: dict[str, Any]
    ) -> Request[ImageResponse]:
        read = details.pop("read", None) or (lambda raw: read_images(raw, self.name))
        return self._request("POST", path, model=model, read=read, **details)

    generate_image, agenerate_image = blocking(_generate_image), awaitable(_generate_image)
    edit_image, aedit_image = blocking(_edit_image), awaitable(_edit_image)
    vary_image, avary_image = blocking(_vary_image), awaitable(_vary_image)


def _whole(options: dict[str, Any]) -> None:
    if options.get("stream"):
        raise InvalidRequestError("stream: images come whole; leave it out")


def _checked_prompt(prompt: Any) -> str:
    if not isinstance(prompt, str) or not prompt.strip():
        raise InvalidRequestError(f"prompt: {prompt!r:.80} describes nothing; give a text")
    return prompt
