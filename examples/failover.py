"""Several servers for one model: when one is down the next is asked, and the answer says which.

    python examples/failover.py http://localhost:8000 http://localhost:8001 [--model NAME]

Against two of the tests' stand-ins, the first of which you may stop:

    python test/servers/openai_standin.py --port 8123 &
    python test/servers/openai_standin.py --port 8124 &
    python examples/failover.py http://127.0.0.1:8123 http://127.0.0.1:8124
"""

from __future__ import annotations

import argparse
import sys

from api_backends import create_api_backend
from api_backends.errors import ApiError


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("url", nargs="+", help="OpenAI-compatible servers, the favourite first")
    parser.add_argument("--model", default="sample-model", help="a model that they all serve")
    chosen = parser.parse_args()
    metadata = {
        "endpoints": [
            {"endpoint_url": url, "id": url, "priority": place}
            for place, url in enumerate(chosen.url)
        ],
        "endpoint_selection_strategy": "priority",
        "initial_retry_delay": 0.2,
        "circuit_breaker": {"failure_threshold": 2, "reset_timeout": 10},
    }
    with create_api_backend("opea", metadata=metadata) as backend:
        for number in range(4):
            try:
                answer = backend.chat(f"This is question {number}.", chosen.model, timeout=30)
            except ApiError as error:
                print(f"{number}: {type(error).__name__}: {error}", file=sys.stderr)
                return 1
            print(f"{number}: {answer.endpoint_id} after {answer.attempts} request(s)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
