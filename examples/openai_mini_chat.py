"""OpenAI in few words: a chat with the small face of the API, and what it cost in tokens.

Needs OPENAI_API_KEY in the environment or in .env.
"""

from __future__ import annotations

from api_backends import create_api_backend


def main() -> None:
    with create_api_backend("openai_mini") as mini:
        answer = mini.chat("Say hello in Greek.", max_tokens=50)
        print(answer.text)
        print(f"-- {answer.model}: {answer.usage.total_tokens} tokens")


if __name__ == "__main__":
    main()
