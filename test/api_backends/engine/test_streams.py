"""Server-sent events and NDJSON: any chopping gives what reading line by line gives."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from api_backends.engine import streams
from api_backends.engine.streams import JsonLinesParser, SSEParser
from api_backends.errors import InvalidResponseError


def by_the_specification(data: bytes):
    """Read a whole event stream line by line, as the HTML standard puts it.

    https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation,
    but that an event which the end cuts short counts.
    """
    text = data.removeprefix(b"\xef\xbb\xbf")
    lines = re.split(rb"\r\n|\r|\n", text)
    events, pieces, name = [], [], ""
    for line in [*lines, b""]:
        if not line:
            if pieces:
                events.append((name, b"\n".join(pieces)))
            pieces, name = [], ""
        elif line.startswith(b":"):
            continue
        else:
            field, colon, value = line.partition(b":")
            value = value[1:] if value.startswith(b" ") else value
            if field == b"data":
                pieces.append(value)
            elif field == b"event":
                name = value.decode("utf-8", "replace")
    return events


def parse(parser, chunks):
    events = []
    for chunk in chunks:
        events += parser.feed(chunk)
    return events + parser.end()


def chop(data, cuts):
    cuts = sorted({min(cut, len(data)) for cut in cuts})
    edges = [0, *cuts, len(data)]
    return [data[a:b] for a, b in zip(edges, edges[1:])]


LINE = st.one_of(
    st.sampled_from([
        b"data: one", b"data:two", b"data", b"data:", b"data:  three", b": note", b":", b"event: x",
        b"event:y", b"event", b"id: 7", b"retry: 10", b"data: {\"a\":1}", "data: é😀".encode(),
        b"nonsense", b"data: [DONE]", b"datax: no", b" data: no", b"",
    ]),
    st.binary(max_size=6).filter(lambda b: not set(b) & {10, 13}),
)  # fmt: skip
STREAM = st.builds(
    lambda bom, lines, ends, last: (
        (b"\xef\xbb\xbf" if bom else b"")
        + b"".join(line + ends[i % len(ends)] for i, line in enumerate(lines))
        + last
    ),
    st.booleans(),
    st.lists(LINE, max_size=14),
    st.lists(st.sampled_from([b"\n", b"\r\n", b"\r", b"\n\n"]), min_size=1, max_size=4),
    st.sampled_from([b"", b"data: tail", b"\n\n", b"data: tail\n"]),
)


@settings(max_examples=400, deadline=None)
@given(STREAM, st.lists(st.integers(0, 200), max_size=12))
@example(b"data: a\n\ndata: b\n\n", [9])
@example(b"data: a\r\n\r\ndata: b\r\n\r\n", [8, 10])
@example(b"event: x\n\ndata: a\n\n", [])
@example(b"data: a\r\rdata: b\r\r", [9])
@example(b"\xef\xbb\xbfdata: a\n\n", [1, 2, 3])
@example(b"data: \n\n", [])
def test_any_chopping_reads_the_same(data, cuts):
    expected = by_the_specification(data)
    assert parse(SSEParser(), [data]) == expected
    assert parse(SSEParser(), chop(data, cuts)) == expected
    assert parse(SSEParser(), [data[i : i + 1] for i in range(len(data))]) == expected


@settings(max_examples=200, deadline=None)
@given(STREAM, STREAM, st.integers(0, 80))
def test_whole_events_after_anything(first, second, cut):
    data = first + b"\n\ndata: {}\n\n" + second
    assert parse(SSEParser(), chop(data, [len(first) + 2, len(first) + 12, cut])) == (
        by_the_specification(data)
    )


def test_events_come_as_soon_as_they_are_whole():
    parser = SSEParser()
    assert parser.feed(b"data: a\n\n") == [("", b"a")]
    assert parser.feed(b"data: b\r\n\r") == [("", b"b")]
    assert parser.feed(b"\ndata: c\n\n") == [("", b"c")]
    assert parser.feed(b"data: d\n\ndata: e\n\ndata: f") == [("", b"d"), ("", b"e")]
    assert parser.end() == [("", b"f")]
    assert parser.end() == []


def test_an_event_without_end_is_refused(monkeypatch):
    monkeypatch.setattr(streams, "EVENT_LIMIT", 1000)
    for parser in (SSEParser(), JsonLinesParser()):
        with pytest.raises(InvalidResponseError, match="event"):
            for _ in range(200):
                parser.feed(b"data: xxx")
    multi = SSEParser()
    with pytest.raises(InvalidResponseError):
        for _ in range(200):
            multi.feed(b"data: xxx\n")
    long = SSEParser()
    for _ in range(1000):  # a long stream of short events is no long event
        long.feed(b"data: xxx\n\n: note\n\n")
    comments = SSEParser()
    for _ in range(1000):
        comments.feed(b": keep-alive\n")


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.sampled_from([b'{"a":1}', b"", b" ", '"é"'.encode(), b"[]", b'{"b": "\\n"}\r'])),
    st.booleans(),
    st.lists(st.integers(0, 60), max_size=8),
)
def test_json_lines(lines, ended, cuts):
    data = b"\n".join(lines) + (b"\n" if ended else b"")
    expected = [("", line) for line in data.split(b"\n") if line.strip()]
    assert parse(JsonLinesParser(), chop(data, cuts)) == expected
