"""Let a model call a function of yours, and answer with what the function returned.

    OPENAI_API_KEY=sk-... python examples/tools.py "What is 12.5 % of 1840?"

Without a key: see examples/chat.py; the stand-in calls a tool when it is asked with
`call percentage {"percent": 12.5, "of": 1840}`.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from api_backends import create_api_backend
from api_backends.errors import ApiError

PERCENTAGE = {
    "type": "function",
    "function": {
        "name": "percentage",
        "description": "Compute a percentage of a number.",
        "parameters": {
            "type": "object",
            "properties": {"percent": {"type": "number"}, "of": {"type": "number"}},
            "required": ["percent", "of"],
        },
    },
}


def percentage(percent: float, of: float) -> float:
    return percent * of / 100


def main() -> int:
    question = " ".join(sys.argv[1:]) or 'call percentage {"percent": 12.5, "of": 1840}'
    messages: list[dict[str, Any]] = [{"role": "user", "content": question}]
    with create_api_backend("openai") as backend:
        try:
            answer = backend.chat(messages, tools=[PERCENTAGE])
            while answer.tool_calls:
                calls = [
                    {
                        "id": call.id,
                        "type": "function",
                        "function": {"name": call.name, "arguments": call.arguments},
                    }
                    for call in answer.tool_calls
                ]
                messages.append({"role": "assistant", "content": None, "tool_calls": calls})
                for call in answer.tool_calls:
                    result = percentage(**call.parsed_arguments())
                    print(f"{call.name}({call.arguments}) = {result}")
                    content = json.dumps(result)
                    messages.append({"role": "tool", "tool_call_id": call.id, "content": content})
                answer = backend.chat(messages, tools=[PERCENTAGE])
        except ApiError as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr)
            return 1
    print(answer.content)
    return 0


if __name__ == "__main__":
    sys.exit(main())
