"""Documents are plain data with the line of each value; what can be read in two ways, or never ends, is refused."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.admin.document_reader import MAX_DOCUMENT, MAX_MESSAGE, DocumentError, DocumentSource, Place, RawDocument
from authz.admin.export import as_yaml, quoted
from authz.errors import ConfigError


def read(text: str | bytes) -> list[RawDocument | DocumentError]:
    """What a stream of that text holds."""
    data = text.encode() if isinstance(text, str) else text
    return list(DocumentSource(Path("-"), io.BytesIO(data)).documents())


def data_of(text: str | bytes) -> list[object]:
    """The data, of documents that are all right."""
    return [document.data for document in read(text)]  # type: ignore[union-attr]


def error_of(text: str | bytes) -> str:
    """The last thing read, which is an error."""
    last = read(text)[-1]
    assert isinstance(last, DocumentError), last
    return str(last)


def test_scalars_are_texts_whatever_yaml_makes_of_them() -> None:
    """`off` is an enforcement, and 1e3 may be a user; only null is nothing."""
    text = (
        'a: off\nb: no\nc: 1e3\nd: 2026-01-01\ne: null\nf: ~\ng:\nh: "null"\ni: true\nj: 0x10\nk: =\nl: [on, 1_000]\n'
    )
    assert data_of(text) == [
        {
            "a": "off", "b": "no", "c": "1e3", "d": "2026-01-01", "e": None, "f": None, "g": None, "h": "null",
            "i": "true", "j": "0x10", "k": "=", "l": ["on", "1_000"],
        }
    ]  # fmt: skip


def test_json_lines_are_read_as_json() -> None:
    """An object a line; blank lines between them are none."""
    assert data_of('{"kind": "User", "active": false}\n\n{"a": [1]}\n') == [
        {"kind": "User", "active": False},
        {"a": [1]},
    ]
    assert error_of('{"a": 1}\n{"a": 1, "a": 2}\n') == "-:2: is no JSON object: a name is repeated"
    assert "-:2: is no JSON object" in error_of('{"a": 1}\n[]\n')


def test_byte_order_mark_is_passed_over() -> None:
    """Some editors begin a file with it."""
    assert data_of(b'\xef\xbb\xbf{"a": 1}\r\n{"b": 2}\r\n') == [{"a": 1}, {"b": 2}]
    assert data_of(b"\xef\xbb\xbfa: b\r\n") == [{"a": "b"}]


def test_message_about_a_document_is_bounded() -> None:
    """It may quote a value that is as large as the document, and a thousand are kept."""
    assert len(str(DocumentError(Place("-", 1), "x" * MAX_DOCUMENT))) == MAX_MESSAGE + len("-:1: …")


def test_each_value_has_its_line() -> None:
    """In the second document, too; what has none of its own has that of what it is in."""
    first, second = read("a: 1\nb:\n  - x\n  - y\n---\nc:\n  d: e\n")
    assert isinstance(first, RawDocument)
    assert isinstance(second, RawDocument)
    assert (first.at(("b", 1)).line, first.at(("b", 7)).line, first.at(()).line) == (4, 3, 1)
    assert (second.place, second.at(("c", "d"))) == (Place("-", 6), Place("-", 7))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: &x 1\nb: *x\n", "-:1: anchors and aliases are not read"),
        ("a: *x\n", "-:1: anchors and aliases are not read"),
        ("b: 1\na: !!python/object/apply:os.system [id]\n", "-:2: the tag"),
        ("a: !!str 1\n", "-:1: the tag"),
        ("a: ! 1\n", "-:1: the tag ! is not read"),
        ("a: 1\nb: 2\na: 3\n", "-:3: the key a stands twice"),
        ("? [a]\n: b\n", "-:1: a key that is no plain text"),
        ("&x a: 1\n", "-:1: a key that is no plain text"),
        ("- a\n", "-:1: is no mapping"),
        ("text\n", "-:1: is no mapping"),
        ("a: [[[[[[1]]]]]]\n", "-:1: nested too deeply"),
        ("a: " + "[" * 100_000, "nest"),
        ("a: {b: {c: {d: {e: f}}}}\n", "-:1: nested too deeply"),
        ("a: [1\nb: 2\n", "is not YAML"),
        ("a: b: c\n", "is not YAML"),
        ("a: 'x\n", "is not YAML"),
        (b"a: \xff\n", "is not YAML"),
        (b"a: \x00\n", "is not YAML"),
        ("a: " + "x" * (MAX_DOCUMENT + 100_000) + "\n", "a document of more than"),
        ('{"a": 1}\n' + '"' + "x" * (MAX_DOCUMENT + 10), "a document of more than"),
        ('kind: User\nname: "a\\0b"\n', r"-:2: 'a\x00b' has a NUL character"),
        ('a: 1\n"\\0": 2\n', "has a NUL character, which no directory keeps"),
        ('{"a": {"b": "\\u0000"}}\n', "has a NUL character"),
        ("%YAML 9.9\n---\na: 1\n", "is not YAML"),
    ],
    ids=range(24),
)
def test_what_is_no_plain_document_is_an_error_with_its_line(text: str | bytes, message: str) -> None:
    """Aliases (a billion laughs), tags, keys that stand twice, depth, and what is no YAML at all."""
    assert message in error_of(text)


def test_bomb_of_aliases_is_refused_at_its_first_anchor() -> None:
    """Nothing is expanded."""
    bomb = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
        f"{name}: &{name} [{','.join([f'*{before}'] * 9)}]\n"
        for before, name in zip("abcdefgh", "bcdefghi", strict=True)
    )
    assert error_of(bomb).startswith("-:1: anchors and aliases")


def test_many_large_documents_are_read_one_by_one() -> None:
    """The bound is one document's, not the file's."""
    document = "a: " + "x" * (MAX_DOCUMENT // 4) + "\n---\n"
    assert len(read(document * 8)) == 8


def test_empty_documents_are_none() -> None:
    """A file may end with a separator, or have comments only."""
    assert data_of("---\n---\na: 1\n---\n# nothing\n---\n") == [{"a": "1"}]
    assert data_of("") == []


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")))
def test_quoted_text_is_read_back(text: str) -> None:
    """Every character that a name or label may hold, and those that none may."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return
    assert data_of(as_yaml({"kind": text, "list": [text, "x"]})) == [{"kind": text, "list": [text, "x"]}]
    assert quoted(text).isprintable()


def test_folder_is_read_in_the_order_of_its_paths(tmp_path: Path) -> None:
    """Only names of documents, and none that begins with a dot."""
    for name in ("b.yaml", "a/z.yml", "c.jsonl", ".hidden.yaml", ".git/x.yaml", "README.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text('{"name": 1}\n' if name.endswith("l") else "no document")
    documents = list(DocumentSource(tmp_path).documents())
    assert [str(document.place.file).removeprefix(f"{tmp_path}/") for document in documents] == [
        "a/z.yml",
        "b.yaml",
        "c.jsonl",
    ]
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match="no file of documents"):
        list(DocumentSource(tmp_path / "empty").documents())


def test_links_are_followed_within_the_folder_alone(tmp_path: Path) -> None:
    """As Kubernetes mounts a ConfigMap; one that leads out is an error, and so are a pipe and a missing file."""
    inside = tmp_path / "docs"
    (inside / "..data").mkdir(parents=True)
    (inside / "..data" / "a.yaml").write_text("a: 1\n")
    (inside / "a.yaml").symlink_to("..data/a.yaml")
    (tmp_path / "secret.yaml").write_text("b: 2\n")
    (inside / "b.yaml").symlink_to(tmp_path / "secret.yaml")
    (inside / "c.yaml").symlink_to("missing")
    (inside / "e.yaml").symlink_to("e.yaml")
    os.mkfifo(inside / "d.yaml")
    documents = [
        str(document) if isinstance(document, DocumentError) else document.data
        for document in DocumentSource(inside).documents()
    ]
    assert documents[0] == {"a": "1"}
    assert "leads out of" in documents[1]
    assert "cannot read" in documents[2]
    assert "is not a regular file" in documents[3]
    assert "cannot read" in documents[4]


def test_file_that_a_document_names_is_in_its_folder(tmp_path: Path) -> None:
    """Below the folder of the document; nothing above, no device, nothing empty."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a.pem").write_text("x")
    (tmp_path / "docs" / "empty.pem").write_text("")
    (tmp_path / "above.pem").write_text("x")
    source, place = DocumentSource(tmp_path / "docs"), Place(str(tmp_path / "docs" / "a.yaml"), 1)
    assert source.named_file(place, "a.pem") == b"x"
    for name in ("../above.pem", "/etc/passwd", "empty.pem", "missing.pem", "/dev/zero", "a\0b", "."):
        with pytest.raises(ConfigError):
            source.named_file(place, name)
