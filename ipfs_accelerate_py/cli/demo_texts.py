"""What the demo searches when it isn't told: the project's documents, or Python's reference."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..passages import Document, read_documents

__all__ = ["Collection", "choose_collection", "python_reference"]

PROJECT_QUERIES = (
    "what happens when a server goes down in the middle of my work",
    "keep my secret from showing up in log files",
    "too many people ask at the same time",
    "can it run on a plane, without internet",
)
PYTHON_QUERIES = (
    "leave a loop before it is finished",
    "run clean-up code whatever happens",
    "change a variable of the surrounding function",
    "why does a default value keep what was added to it",
)
ANY_QUERIES = ("what is this about", "how do I begin", "what can go wrong")

TOPICS = (
    "assert", "assignment", "augassign", "break", "compound", "context-managers", "continue",
    "del", "else", "exceptions", "execmodel", "finally", "for", "function", "global", "if",
    "import", "lambda", "naming", "nonlocal", "pass", "raise", "return", "try", "while", "with",
)  # fmt: skip
"""Topics of Python's reference about statements: some hundred passages, not thousands."""


@dataclass(frozen=True, slots=True)
class Collection:
    """Documents, what they are, where they are, what to ask of them, and what was left out."""

    about: str
    root: str
    documents: list[Document]
    queries: tuple[str, ...]
    left_out: list[str]


def choose_collection(folder: str | None) -> Collection:
    """Return the texts of a folder or file; without one, texts that are surely here.

    Raises:
        OSError: The folder can't be read.
    """
    if folder is not None:
        root = Path(folder).expanduser()
        documents, left_out = read_documents(root)
        return Collection("your documents", str(root), documents, ANY_QUERIES, left_out)
    project = _checkout()
    if project is not None:
        documents, left_out = _project_documents(project)
        about = "the project's own documents"
        return Collection(about, str(project), documents, PROJECT_QUERIES, left_out)
    return python_reference()


def _checkout() -> Path | None:
    """Return the checkout that this runs from or in; None where there is only the installation."""
    for folder in (Path(__file__).resolve().parents[2], Path.cwd()):
        setup = folder / "setup.cfg"
        if setup.is_file() and "name = ipfs_accelerate_py" in setup.read_text("utf-8", "replace"):
            return folder
    return None


def _project_documents(project: Path) -> tuple[list[Document], list[str]]:
    documents: list[Document] = []
    left_out: list[str] = []
    for name in ("README.md", "docs"):
        path = project / name
        if path.exists():
            found, skipped = read_documents(path)
            prefix = f"{name}/" if path.is_dir() else ""
            documents += [Document(prefix + each.name, each.text) for each in found]
            left_out += [prefix + each for each in skipped]
    return documents, left_out


def python_reference() -> Collection:
    """Return some topics of the reference that comes with Python."""
    from pydoc_data import topics

    source = Path(topics.__file__)
    documents = [Document(name, topics.topics[name]) for name in TOPICS if name in topics.topics]
    about = "Python's language reference (no project documents are installed)"
    return Collection(about, str(source), documents, PYTHON_QUERIES, [])
