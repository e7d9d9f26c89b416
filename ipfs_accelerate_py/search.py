"""Search by meaning: passages and queries become vectors, the nearest vectors are the answer.

Example:
    from ipfs_accelerate_py import ipfs_accelerate_py
    from ipfs_accelerate_py.search import SearchIndex, folder_passages

    accelerator = ipfs_accelerate_py()
    embed = accelerator.endpoint_handler("sentence-transformers/all-MiniLM-L6-v2")
    index = SearchIndex.build(folder_passages("docs"), embed)
    for hit in index.search("what happens when a server is down"):
        print(f"{hit.score:.2f} {hit.file}:{hit.line} {hit.sentence}")
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from api_backends.errors import InvalidRequestError

from .passages import Document, Passage, read_documents, split_document

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Vectors = npt.NDArray[np.float32]

__all__ = ["Hit", "SearchIndex", "folder_passages", "passages_of"]

Embed = Callable[[list[str]], Any]
"""Texts to an `EmbeddingResponse`: a handler of the core, a local model, a back end's `embed`."""


@dataclass(frozen=True, slots=True)
class Hit:
    """A passage that answers a query.

    Attributes:
        score: Cosine between the query's vector and the passage's, -1 to 1.
        passage: What was found.
        best: Index of the unit of the passage that is nearest to the query.
    """

    score: float
    passage: Passage
    best: int

    @property
    def file(self) -> str:
        """The document."""
        return self.passage.file

    @property
    def line(self) -> int:
        """Line of the nearest sentence, from 1."""
        return self.passage.units[self.best].line

    @property
    def sentence(self) -> str:
        """The nearest sentence."""
        return self.passage.units[self.best].text


def folder_passages(root: str | os.PathLike[str]) -> list[Passage]:
    """Return the passages of all texts in a folder.

    Raises:
        OSError: The folder can't be read.
        InvalidRequestError: It holds no text.
    """
    documents, _ = read_documents(Path(root))
    passages = passages_of(documents)
    if not passages:
        raise InvalidRequestError(
            f"folder: there is no text in {os.fspath(root)}; texts are .md, .rst, .txt and the like"
        )
    return passages


def passages_of(documents: Sequence[Document]) -> list[Passage]:
    """Return the passages of documents, in order."""
    return [passage for document in documents for passage in split_document(document)]


class SearchIndex:
    """Passages with their vectors, of shape (passages, dimensions) and length 1.

    Args:
        passages: What can be found.
        vectors: Their vectors, in the same order.
        embed: Turns queries into vectors; the same model as for the passages.
    """

    def __init__(self, passages: Sequence[Passage], vectors: Vectors, embed: Embed) -> None:
        if len(passages) != len(vectors):
            raise InvalidRequestError(
                f"vectors: there are {len(vectors)} for {len(passages)} passages"
            )
        self.passages = list(passages)
        self.vectors = unit_length(vectors)
        self._embed = embed

    @classmethod
    def build(cls, passages: Sequence[Passage], embed: Embed) -> SearchIndex:
        """Embed the passages and return their index.

        Raises:
            InvalidRequestError: There are no passages.
            ApiError: They could not be embedded.
        """
        if not passages:
            raise InvalidRequestError("passages: there are none; give at least one")
        answer = embed([passage.text_with_heading for passage in passages])
        return cls(passages, answer.embeddings, embed)

    def search(self, query: str, top: int = 3) -> list[Hit]:
        """Return the `top` passages that mean most nearly what the query means, the best first.

        Raises:
            InvalidRequestError: The query is empty, or `top` below 1.
            ApiError: The query could not be embedded.
        """
        if not isinstance(query, str) or not query.strip():
            raise InvalidRequestError(f"query: {query!r} is no question")
        if top < 1:
            raise InvalidRequestError(f"top: {top} given; it is 1 or more")
        vector = unit_length(self._embed([query]).embeddings)[0]
        scores = self.vectors @ vector
        order = scores.argsort(kind="stable")[::-1][:top].tolist()
        best = self._best_units([self.passages[index] for index in order], vector)
        return [
            Hit(float(scores[index]), self.passages[index], unit)
            for index, unit in zip(order, best, strict=True)
        ]

    def _best_units(self, passages: list[Passage], vector: Vectors) -> list[int]:
        """Return for each passage which of its units is nearest to the query, in one call."""
        texts = [unit.text for passage in passages for unit in passage.units]
        scores = unit_length(self._embed(texts).embeddings) @ vector
        best, start = [], 0
        for passage in passages:
            end = start + len(passage.units)
            best.append(int(scores[start:end].argmax()))
            start = end
        return best


def unit_length(vectors: Vectors) -> Vectors:
    """Return the vectors with length 1."""
    import numpy as np

    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    scaled: Vectors = vectors / np.maximum(lengths, np.float32(1e-12))
    return scaled
