"""Ask a model, look at everything that comes with the answer, and handle what can go wrong.

    OPENAI_API_KEY=sk-... python examples/chat.py "Why is the sky blue?"

Without a key, against the stand-in that the tests use (it repeats what it is asked):

    python test/servers/openai_standin.py --port 8123 --model gpt-4o-mini &
    OPENAI_API_KEY=any OPENAI_API_URL=http://127.0.0.1:8123 python examples/chat.py
"""

from __future__ import annotations

import sys

from api_backends import create_api_backend
from api_backends.errors import ApiError, MissingCredentialsError, RateLimitError


def main() -> int:
    question = " ".join(sys.argv[1:]) or "Why is the sky blue? Answer in one sentence."
    with create_api_backend("openai") as backend:
        try:
            answer = backend.chat(
                [
                    {"role": "system", "content": "You answer in plain words."},
                    {"role": "user", "content": question},
                ],
                max_tokens=200,
                timeout=60,  # seconds for all of it: waiting, retries and the answer
            )
        except MissingCredentialsError as error:
            print(error, file=sys.stderr)
            return 2
        except RateLimitError as error:
            print(f"come back in {error.retry_after or 'some'} seconds: {error}", file=sys.stderr)
            return 1
        except ApiError as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr)
            return 1
    print(answer.content)
    print(
        f"\n{answer.implementation_type} {answer.backend} {answer.model}, "
        f"{answer.usage.prompt_tokens} + {answer.usage.completion_tokens} tokens, "
        f"{answer.latency:.2f} s, {answer.attempts} request(s), ended by {answer.finish_reason}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
