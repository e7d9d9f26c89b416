"""Talk to Claude: a question, a stream, and a tool that it calls.

Run with ANTHROPIC_API_KEY set: python examples/claude.py
"""

from __future__ import annotations

import sys
from typing import Any

from api_backends import Claude
from api_backends.errors import ApiError

WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather in a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    },
}


def weather(city: str) -> str:
    return f"Rain in {city}, 7 °C"


def main() -> None:
    with Claude() as claude:
        print("A question: ", claude.chat("Who wrote Faust? One line.", max_tokens=100).content)

        print("A stream:   ", end="")
        with claude.stream_chat("Count from one to ten.", max_tokens=100) as stream:
            for chunk in stream:
                print(chunk.delta, end="", flush=True)
        print()

        talk: list[Any] = [{"role": "user", "content": "Do I need an umbrella in Oslo today?"}]
        answer = claude.chat(talk, tools=[WEATHER])
        while answer.tool_calls:
            talk.append(answer)
            for call in answer.tool_calls:
                result = weather(**call.parsed_arguments())
                talk.append({"role": "tool", "tool_call_id": call.id, "content": result})
            answer = claude.chat(talk, tools=[WEATHER])
        print("With a tool:", answer.content)
        print("Tokens:     ", claude.get_stats()["completion_tokens"], "written")


if __name__ == "__main__":
    try:
        main()
    except ApiError as error:
        sys.exit(f"{type(error).__name__}: {error}")
