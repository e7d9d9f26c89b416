from __future__ import annotations

from typing import Any

import pytest

from api_backends.errors import InvalidRequestError
from api_backends.options import check_options

FUNCTION = {"type": "function", "function": {"name": "f"}}


def test_what_is_right_passes() -> None:
    check_options(
        {
            "temperature": 0,
            "top_p": 0.5,
            "max_tokens": 5,
            "stop": ["a"],
            "seed": -1,
            "n": 2,
            "tools": [FUNCTION, {"type": "openrouter:web_search"}, {"function": {"name": "g"}}],
            "tool_choice": {"type": "tool", "name": "f"},
            "response_format": {"type": "json_schema", "json_schema": {"schema": {}}},
            "logit_bias": {"15": -100},
            "parallel_tool_calls": False,
            "thinking": {"type": "enabled"},
            "anything": object(),
            "frequency_penalty": None,
        }
    )
    check_options({"stop": "a", "tool_choice": "auto", "response_format": {"type": "text"}})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", float("nan")),
        ("temperature", float("inf")),
        ("temperature", "0.5"),
        ("temperature", True),
        ("top_p", [0.5]),
        ("max_tokens", 0),
        ("max_tokens", 5.0),
        ("max_tokens", "5"),
        ("max_completion_tokens", -1),
        ("n", 0),
        ("seed", 1.5),
        ("stop", 3),
        ("stop", ["a", 3]),
        ("tools", {"name": "f"}),
        ("tools", ["f"]),
        ("tools", [{"type": "function"}]),
        ("tools", [{"type": "function", "function": {"description": "no name"}}]),
        ("tool_choice", 3),
        ("tool_choice", ""),
        ("response_format", "json"),
        ("response_format", {"type": "json_schema"}),
        ("logit_bias", {"15": float("nan")}),
        ("parallel_tool_calls", "yes"),
        ("reasoning_effort", 3),
        ("stream_options", True),
        ("functions", [{}]),
        ("some_vendors_own", float("nan")),
    ],
)
def test_what_is_wrong_is_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(InvalidRequestError, match=rf"^{name}\S* takes .+ not .+: change it"):
        check_options({"user": "u", name: value})


def test_a_large_value_is_not_dumped() -> None:
    with pytest.raises(InvalidRequestError) as caught:
        check_options({"temperature": "x" * 10_000})
    assert len(str(caught.value)) < 200
