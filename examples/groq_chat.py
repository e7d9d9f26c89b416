"""Chat with Groq: a whole answer, then one as it is written, with what they cost.

Needs GROQ_API_KEY in the environment or in .env.
"""

from __future__ import annotations

from api_backends import create_api_backend


def main() -> None:
    with create_api_backend("groq") as backend:
        answer = backend.chat("Say hello in five languages.", max_tokens=200)
        print(answer.text)
        cost = "unknown" if answer.usage.cost is None else f"{answer.usage.cost:.6f} USD"
        print(f"-- {answer.model}: {answer.usage.total_tokens} tokens, cost {cost}")

        with backend.stream_chat("Count to ten.") as stream:
            for chunk in stream:
                print(chunk.delta, end="", flush=True)
        print(f"\n-- {stream.response().usage.total_tokens} tokens")


if __name__ == "__main__":
    main()
