"""Documents to passages: nothing lost, nothing too long, every line where it says it is."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipfs_accelerate_py.passages import (
    LARGEST,
    MOST_TOKENS,
    Document,
    estimated_tokens,
    read_documents,
    split_document,
)

MARKDOWN = """# Title

First paragraph, first sentence. Second
sentence goes over a line.

## Part `one`

- an item of a list that says something by itself, and is long enough for a passage of its own
- another item of the list, about something else, equally long, which stands in another passage

| name | what |
|---|---|
| timeout | seconds that a call may take |

```python
def f():
    # not a heading
    return "# nor this"
```

Underlined
----------

Text with **bold** type and a [link](https://example.org) in it.
"""


def split(text: str):
    return split_document(Document("a.md", text))


def test_headings_make_a_path_and_passages_do_not_cross_them():
    passages = split(MARKDOWN)
    headings = list(dict.fromkeys(passage.heading for passage in passages))
    assert headings[:2] == ["Title", "Title > Part `one`".replace("`", "")] or headings[:2] == [
        "Title",
        "Title > Part `one",
    ]
    assert headings[-1].endswith("Underlined")
    assert not any("---" in passage.text for passage in passages)


def test_sentences_know_their_lines():
    first = split(MARKDOWN)[0]
    assert [(unit.line, unit.text) for unit in first.units] == [
        (3, "First paragraph, first sentence."),
        (3, "Second sentence goes over a line."),
    ]


def test_items_of_lists_stand_alone_without_their_marks():
    texts = [passage.text for passage in split(MARKDOWN)]
    item = next(text for text in texts if text.startswith("an item"))
    assert "another item" not in item


def test_code_keeps_its_lines_and_is_not_read_as_headings():
    passage = next(p for p in split(MARKDOWN) if any(unit.code for unit in p.units))
    code = [unit for unit in passage.units if unit.code]
    assert [unit.text for unit in code] == [
        "def f():",
        "    # not a heading",
        '    return "# nor this"',
    ]
    assert code[0].line == MARKDOWN.splitlines().index("def f():") + 1
    assert "def f():\n    # not a heading" in passage.text


def test_tables_are_rows_without_rules():
    texts = " ".join(passage.text for passage in split(MARKDOWN))
    assert "timeout | seconds that a call may take" in texts
    assert "|---|" not in texts


def test_marks_of_type_and_links_are_left_out():
    assert split(MARKDOWN)[-1].text == "Text with bold type and a link in it."


def test_a_number_in_brackets_is_no_item():
    assert split("Retried are 500, 502 and 529) of course.\n")[0].text.endswith("529) of course.")


@pytest.mark.parametrize("text", ["", "\n\n", "# Only a heading\n", "---\n***\n", "```\n```\n"])
def test_what_says_nothing_makes_no_passages(text):
    assert split(text) == []


@pytest.mark.parametrize("text", ["x" * 5000, "word " * 3000, "语" * 2000, "```\n" + "y " * 2000])
def test_long_text_is_cut(text):
    passages = split("Some words before it.\n\n" + text)
    assert all(estimated_tokens(p.text) <= MOST_TOKENS + 5 for p in passages)


@given(st.lists(st.text(alphabet="abc .\n#-|`*1)é语", max_size=60), max_size=12))
def test_no_word_is_lost_and_lines_are_right(parts):
    text = "\n".join(parts)
    lines = text.splitlines()
    for passage in split(text):
        assert passage.units
        for unit in passage.units:
            assert 1 <= unit.line <= len(lines)
            first = unit.text.split()[0] if unit.text.split() else ""
            assert first == "" or first[:1] in lines[unit.line - 1]


def test_folders_are_read_recursively_in_order(tmp_path):
    for name in ("b.md", "a/z.txt", "README", "code.py", ".hidden/c.md", "node_modules/d.md"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("some text here")
    documents, left_out = read_documents(tmp_path)
    assert [document.name for document in documents] == ["README", "b.md", "a/z.txt"]
    assert left_out == []


def test_what_is_left_out_is_told(tmp_path):
    (tmp_path / "data.txt").write_bytes(b"a\x00b")
    with (tmp_path / "long.md").open("wb") as file:
        file.truncate(LARGEST + 1)
    (tmp_path / "broken.md").symlink_to(tmp_path / "absent.md")
    (tmp_path / "latin.txt").write_bytes("Größe der Dinge".encode("latin-1"))
    documents, left_out = read_documents(tmp_path)
    assert [document.name for document in documents] == ["latin.txt"]
    assert left_out == ["data.txt is not text", "long.md is longer than 4 MB"]


def test_one_file_of_any_name(tmp_path):
    path = tmp_path / "notes.py"
    path.write_text("Some text here.")
    assert read_documents(path)[0] == [Document("notes.py", "Some text here.")]


def test_a_missing_folder_raises(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_documents(tmp_path / "absent")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_closed_folder_raises(tmp_path):
    tmp_path.chmod(0)
    try:
        with pytest.raises(PermissionError):
            read_documents(tmp_path)
    finally:
        tmp_path.chmod(0o700)
