"""The quick reading of headers against http.client's own: the same result for anything."""

from __future__ import annotations

import http.client
import io
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api_backends.engine.response_head import QuickHeadResponse, read_headers

NAMES = st.text("abcXYZ-019_!", min_size=1, max_size=8)
VALUES = st.text(
    st.characters(codec="iso-8859-1", exclude_characters="\r\n\x0b\x0c\x1c\x1d\x1e\x85"),
    max_size=20,
)
LINES = st.one_of(
    st.builds("{}: {}\r\n".format, NAMES, VALUES),
    st.builds("{}:{}\n".format, NAMES, VALUES),
    st.builds("{} : {}\r\n".format, NAMES, VALUES),
    st.builds(" {}\r\n".format, VALUES),
    st.builds("\t{}\r\n".format, VALUES),
    st.builds("{}\r\n".format, VALUES),
)


def both(data):
    return (
        read_headers(io.BytesIO(data)),
        http.client.parse_headers(io.BytesIO(data)),
    )


@given(st.lists(LINES, max_size=6))
def test_reads_what_http_client_reads(lines):
    quick, own = both("".join(lines).encode("iso-8859-1") + b"\r\nbody")
    assert quick.items() == own.items()
    assert [type(d) for d in quick.defects] == [type(d) for d in own.defects]
    assert quick.get_payload() == own.get_payload() or not own.get_payload()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"a: b",
        b"a: b\r\n",
        b"\r\n",
        b"Set-Cookie: a=1\r\nSet-Cookie: b=2\r\n\r\n",
        b"Folded: one\r\n two\r\n\r\n",
        b"No colon here\r\nA: b\r\n\r\n",
        b"Umlaut: \xe4\r\n\r\n",
        b"Empty:\r\n\r\n",
        b"Spaces:   \t x  \r\n\r\n",
    ],
)
def test_reads_odd_heads_as_http_client_does(data):
    quick, own = both(data)
    assert quick.items() == own.items()


def test_stops_where_the_head_ends():
    stream = io.BytesIO(b"A: b\r\n\r\nbody")
    read_headers(stream)
    assert stream.read() == b"body"


def test_refuses_what_http_client_refuses():
    with pytest.raises(http.client.LineTooLong):
        read_headers(io.BytesIO(b"A: " + b"x" * 70_000 + b"\r\n\r\n"))
    with pytest.raises(http.client.HTTPException, match="100"):
        read_headers(io.BytesIO(b"A: b\r\n" * 101 + b"\r\n"))


@pytest.mark.parametrize(
    ("head", "chunked", "length"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n", False, 4),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", True, None),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n", False, 0),
    ],
)
def test_an_answer_begins_as_http_client_lets_it(head, chunked, length):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(head)
        theirs.shutdown(socket.SHUT_WR)
        response = QuickHeadResponse(ours)
        try:
            response.begin()
            assert (response.chunked, response.length) == (chunked, length)
        finally:
            response.close()
