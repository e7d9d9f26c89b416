"""Print an answer while it is written; what arrived is kept when the connection breaks.

    OPENAI_API_KEY=sk-... python examples/stream.py "Tell me a story of three sentences."

Without a key: see examples/chat.py.
"""

from __future__ import annotations

import sys

from api_backends import create_api_backend
from api_backends.errors import ApiError, StreamInterruptedError


def main() -> int:
    question = " ".join(sys.argv[1:]) or "Tell me a story of three sentences."
    with create_api_backend("openai") as backend:
        try:
            # Leaving the block early, by break or by an exception, frees the connection.
            with backend.stream_chat(question) as stream:
                for chunk in stream:
                    print(chunk.delta, end="", flush=True)
                answer = stream.response()
        except StreamInterruptedError as error:
            print(f"\n{error}", file=sys.stderr)
            if error.partial is not None:
                print(f"kept {len(error.partial.content)} characters", file=sys.stderr)
            return 1
        except ApiError as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr)
            return 1
    print(f"\n\n{answer.usage.completion_tokens} tokens in {answer.latency:.2f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
