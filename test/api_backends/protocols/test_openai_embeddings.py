from __future__ import annotations

import base64
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api_backends.errors import ApiError, InvalidRequestError, InvalidResponseError, ServerError
from api_backends.protocols.openai_embeddings import embeddings_body, read_embeddings


def packed(vector: list[float]) -> str:
    return base64.b64encode(np.asarray(vector, dtype="<f4").tobytes()).decode()


def answer(*vectors: Any, **more: Any) -> dict[str, Any]:
    data = [{"index": n, "embedding": v} for n, v in enumerate(vectors)]
    return {"object": "list", "data": data, "model": "m", **more}


def test_body_asks_for_base64_unless_told_otherwise() -> None:
    assert embeddings_body("a", "m", {"dimensions": 3}) == {
        "input": ["a"],
        "model": "m",
        "dimensions": 3,
        "encoding_format": "base64",
    }
    assert embeddings_body(["a"], "m", {"encoding_format": "float"})["encoding_format"] == "float"
    assert "encoding_format" not in embeddings_body(("a",), None, {"encoding_format": None})


@pytest.mark.parametrize(
    ("texts", "place"),
    [
        ([], "texts is empty"),
        (["a", 3], r"texts\[1\]"),
        ([""], r"texts\[0\]"),
        (7, "texts must be"),
    ],
)
def test_texts_that_are_none(texts: Any, place: str) -> None:
    with pytest.raises(InvalidRequestError, match=place):
        embeddings_body(texts, "m", {})


def test_float_and_base64_say_the_same() -> None:
    vectors = [[0.5, -1.0, 3.25], [1.0, 2.0, 3.0]]
    usage = {"prompt_tokens": 4, "total_tokens": 4}
    for raw in (answer(*vectors, usage=usage), answer(*map(packed, vectors), usage=usage)):
        read = read_embeddings(raw, 2, backend="b")
        assert read.embeddings.dtype == np.float32
        assert read.embeddings.tolist() == vectors
        assert (read.model, read.usage.prompt_tokens, read.backend) == ("m", 4, "b")
        assert read.raw is raw
        read.embeddings[0, 0] = 1.0  # the caller's own array, not a view of the answer


def test_order_is_that_of_the_texts() -> None:
    raw = answer([1.0], [2.0], [3.0])
    raw["data"].reverse()
    assert read_embeddings(raw, 3).embeddings.ravel().tolist() == [1.0, 2.0, 3.0]
    for item in raw["data"]:
        del item["index"]
    assert read_embeddings(raw, 3).embeddings.ravel().tolist() == [3.0, 2.0, 1.0]


@pytest.mark.parametrize(
    ("raw", "count"),
    [
        (answer([1.0]), 2),
        (answer([1.0], [1.0]), 1),
        (answer([1.0], [1.0, 2.0]), 2),
        (answer("not base64!"), 1),
        (answer("AAA="), 1),  # two bytes: no float32
        (answer(["x"]), 1),
        (answer([[1.0]]), 1),
        (answer([]), 1),
        (answer(3), 1),
        (answer([float("nan")]), 1),
        ({"data": [{"index": 0, "embedding": [1.0]}, {"index": 0, "embedding": [1.0]}]}, 2),
        ({"data": [{"index": 5, "embedding": [1.0]}]}, 1),
        ({"data": [None]}, 1),
        ({"data": {}}, 1),
        ({}, 1),
        ([], 1),
        (None, 1),
        ("<html>", 1),
    ],
)
def test_what_is_no_embeddings_answer(raw: Any, count: int) -> None:
    with pytest.raises(InvalidResponseError, match="check that the model makes embeddings"):
        read_embeddings(raw, count, backend="b")


def test_success_that_reports_an_error() -> None:
    with pytest.raises(ServerError):
        read_embeddings({"error": {"message": "no", "code": 500}}, 1)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["data", "embedding", "index", "usage"]), inner, max_size=3
        )
    ),
    max_leaves=10,
)


@settings(max_examples=300, deadline=None)
@given(st.one_of(json_values, st.builds(answer, json_values, json_values)), st.integers(0, 3))
def test_whatever_json_comes_it_is_vectors_or_a_typed_error(raw: Any, count: int) -> None:
    try:
        read = read_embeddings(raw, count)
    except ApiError:
        return
    assert len(read) == count
    assert read.embeddings.ndim == 2
    assert np.isfinite(read.embeddings).all()
