"""Talk with Gemini: a question, a stream, a picture, and what it all cost in tokens.

Needs GEMINI_API_KEY. Without arguments it asks a question of its own:

    python examples/gemini.py "Your question" [picture.png]
"""

from __future__ import annotations

import sys

from api_backends.errors import ApiError
from api_backends.gemini import Gemini


def main(arguments: list[str]) -> int:
    question = arguments[0] if arguments else "Name three rivers that cross a border."
    with Gemini() as gemini:
        try:
            print(f"{gemini.count_tokens(question)} tokens to read")
            stream = gemini.stream_chat(question, include_thoughts=True)
            for chunk in stream:
                print(chunk.delta, end="", flush=True)
            answer = stream.response()
            print(f"\n[{answer.model}: {answer.finish_reason}, {answer.usage.total_tokens} tokens]")
            if answer.refusal:
                print(f"blocked: {answer.refusal}")
            for picture in arguments[1:]:
                print(gemini.process_image(picture, "Describe this in one sentence.").content)
        except ApiError as error:
            print(error, file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
