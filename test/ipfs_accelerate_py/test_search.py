"""Search by vectors: order, scores, the nearest sentence. The vectors here count words."""

from __future__ import annotations

import numpy as np
import pytest

from api_backends.errors import InvalidRequestError
from api_backends.types import EmbeddingResponse
from ipfs_accelerate_py.passages import Document
from ipfs_accelerate_py.search import SearchIndex, folder_passages, passages_of

WORDS = ("apple", "pear", "bread", "butter", "rain", "snow")


def embed(texts: list[str]) -> EmbeddingResponse:
    """Vectors that count words, of any length, so that the index has to bring them to one."""
    rows = [[text.lower().count(word) for word in WORDS] for text in texts]
    return EmbeddingResponse(np.array(rows, dtype=np.float32) * 3)


@pytest.fixture
def index():
    texts = {
        "fruit.md": "# Fruit\n\nAn apple a day. A pear at night, and one more pear.\n",
        "food.md": "# Food\n\nBread and butter for everyone.\n",
        "weather.md": "# Weather\n\nFirst comes rain. Then snow falls.\n",
    }
    documents = [Document(name, text) for name, text in texts.items()]
    return SearchIndex.build(passages_of(documents), embed)


def test_the_nearest_passage_comes_first(index):
    hits = index.search("is there rain or snow", top=3)
    assert hits[0].file == "weather.md"
    assert hits[0].score == pytest.approx(1.0)
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)


def test_the_nearest_sentence_and_its_line_are_known(index):
    hit = index.search("pear", top=1)[0]
    assert (hit.sentence, hit.line) == ("A pear at night, and one more pear.", 3)


def test_scores_are_cosines(index):
    assert index.search("bread", top=1)[0].score == pytest.approx(2**-0.5)
    assert np.allclose(np.linalg.norm(index.vectors, axis=1), 1)


def test_a_query_like_nothing_scores_zero(index):
    assert index.search("quantum", top=1)[0].score == 0


def test_no_more_hits_than_passages(index):
    assert len(index.search("snow", top=50)) == 3


@pytest.mark.parametrize(("query", "top"), [("", 1), ("  ", 1), (None, 1), ("snow", 0)])
def test_bad_queries_are_refused(index, query, top):
    with pytest.raises(InvalidRequestError, match="query" if top else "top"):
        index.search(query, top)


def test_vectors_and_passages_must_agree(index):
    with pytest.raises(InvalidRequestError, match="vectors"):
        SearchIndex(index.passages, index.vectors[:1], embed)
    with pytest.raises(InvalidRequestError, match="passages"):
        SearchIndex.build([], embed)


def test_a_folder(tmp_path):
    with pytest.raises(InvalidRequestError, match="no text"):
        folder_passages(tmp_path)
    (tmp_path / "a.md").write_text("# Head\n\nSome words to find.\n")
    assert [passage.text for passage in folder_passages(tmp_path)] == ["Some words to find."]
