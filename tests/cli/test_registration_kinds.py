"""`authz cert` and `authz check` with registrations of keys and of names."""

from __future__ import annotations

import pytest
from cryptography import x509
from support.certificates import chain_pem, san
from support.command_world import CA, HOST, LIFE, ROOT, Run, write

SPIFFE = x509.UniformResourceIdentifier("spiffe://acme/alice")
FIRST = CA.leaf("first", extensions=[(san(SPIFFE), False)], **LIFE)
SAME_KEY = CA.leaf("renewed", key=FIRST.key, **LIFE)
SAME_NAME = CA.leaf("replaced", extensions=[(san(SPIFFE), False)], **LIFE)
TWO_NAMES = CA.leaf("two", extensions=[(san(SPIFFE, "client.example"), False)], **LIFE)
NAME = "uri:spiffe://acme/alice"

pytestmark = pytest.mark.slow


@pytest.fixture
def kinds(acme: Run) -> Run:
    """The command's world, with all kinds allowed and files of these leaves; none is registered for alice."""
    assert acme("org", "set", "acme", "--binding-kinds", "identity,certificate,key").code == 0
    assert acme("cert", "retire", "1").code == 0
    leaves = {"first": FIRST, "same-key": SAME_KEY, "same-name": SAME_NAME, "two-names": TWO_NAMES}
    for name, leaf in leaves.items():
        write(f"{name}.pem", chain_pem(leaf, CA))
    return acme


def decided(run: Run, leaf: str) -> tuple[int, str]:
    """What is decided about alice with a file."""
    done = run("check", HOST, "alice", "--cert", f"{leaf}.pem")
    return done.code, " ".join((done.out + done.err).split())


def test_key_admits_what_has_the_key(kinds: Run) -> None:
    """And says which registration that was."""
    added = kinds("cert", "add", "acme", "first.pem", "--user", "alice", "--kind", "key", "--json").data
    code, text = decided(kinds, "same-key")
    assert code == 0
    assert f"registration {added['id']} of kind key is active" in text
    assert decided(kinds, "same-name")[0] == 1


@pytest.mark.parametrize(
    "words", [["first.pem"], ["two-names.pem", "--name", NAME], ["--name", NAME, "--anchor", ROOT.sha256.hex()[:12]]]
)
def test_name_admits_what_has_the_name(kinds: Run, words: list[str]) -> None:
    """Taken from a certificate, or given with its anchor."""
    done = kinds("cert", "add", "acme", *words, "--user", "alice", "--kind", "identity", "--json")
    assert done.code == 0, done.err
    assert (done.data["name"], done.data["anchor"]) == (NAME, ROOT.sha256.hex())
    assert decided(kinds, "same-name")[0] == 0
    assert decided(kinds, "same-key")[0] == 1
    assert kinds("cert", "show", str(done.data["id"])).code == 0
    assert kinds("cert", "list", "acme").code == 0
    assert kinds("crl", "forecast").code in {0, 1}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["two-names.pem", "--kind", "identity"], "dns:client.example"),
        (["same-key.pem", "--kind", "identity", "--name", NAME], "does not have the name"),
        (["--kind", "identity", "--name", NAME], "below one anchor"),
        (["--kind", "identity", "--name", NAME, "--anchor", "00"], "begins with 00"),
        (["--kind", "identity", "--name", "spiffe://acme/alice", "--anchor", "0"], "write its type"),
        (["--kind", "identity", "--name", "uri:", "--anchor", "0"], "write its type"),
        (["--kind", "identity", "--name", "cn:alice", "--anchor", "0"], "write its type"),
        (["--kind", "key"], "give a file"),
        ([], "give a file"),
        (["first.pem", "--kind", "key", "--name", NAME], "--kind identity"),
    ],
)
def test_what_cannot_be_registered_is_refused_with_a_sentence(kinds: Run, words: list[str], said: str) -> None:
    """And nothing is registered."""
    before = kinds("cert", "list", "--json").data
    done = kinds("cert", "add", "acme", *words, "--user", "alice")
    assert (done.code in {1, 2}, said in done.err) == (True, True), done.err
    assert kinds("cert", "list", "--json").data == before


def test_kind_that_does_not_count_is_refused_with_the_line_that_allows_it(acme: Run) -> None:
    """By default certificates alone count; and no kind is made up."""
    write("first.pem", chain_pem(FIRST, CA))
    done = acme("cert", "add", "acme", "first.pem", "--user", "alice", "--kind", "key")
    assert (done.code, "authz org set acme --binding-kinds certificate,key" in done.err) == (1, True)
    done = acme("org", "set", "acme", "--binding-kinds", "certificate,name")
    assert (done.code, "certificate, key, identity" in done.err) == (2, True)


def test_name_is_one_users_and_a_key_is_registered_once(kinds: Run) -> None:
    """The same add twice is no error; for another user a name is refused, a key is not."""
    for kind in ("key", "identity"):
        for _ in range(2):
            assert kinds("cert", "add", "acme", "first.pem", "--user", "alice", "--kind", kind).code == 0
    assert kinds("user", "add", "acme", "bob").code == 0
    assert kinds("cert", "add", "acme", "first.pem", "--user", "bob", "--kind", "key").code == 0
    done = kinds("cert", "add", "acme", "first.pem", "--user", "bob", "--kind", "identity")
    assert (done.code, "registered already" in done.err) == (1, True)


def test_retirement_says_what_still_admits_the_key_and_ends_it_on_demand(kinds: Run) -> None:
    """What was taken away stays away; its successors come in until the key and the name go, too."""
    number = str(kinds("cert", "add", "acme", "first.pem", "--user", "alice", "--json").data["id"])
    for kind in ("key", "identity"):
        assert kinds("cert", "add", "acme", "first.pem", "--user", "alice", "--kind", kind).code == 0
    done = kinds("cert", "retire", number)
    assert ("of kind key" in done.err, "of kind identity" in done.err) == (True, True)
    assert [decided(kinds, leaf)[0] for leaf in ("first", "same-key", "same-name")] == [1, 0, 0]
    assert kinds("cert", "retire", number, "--renewals").code == 0
    assert [decided(kinds, leaf)[0] for leaf in ("first", "same-key", "same-name")] == [1, 1, 1]


def test_documents_carry_keys_and_names(kinds: Run) -> None:
    """An export is applied without a change, and makes the same in a directory without them; pruned, they end."""
    for words in (
        ["first.pem", "--kind", "key"],
        ["--kind", "identity", "--name", NAME, "--anchor", ROOT.sha256.hex()],
    ):
        assert kinds("cert", "add", "acme", *words, "--user", "alice").code == 0
    text = kinds("export").out
    file = write("all.yaml", text)
    assert kinds("diff", file, "--prune").code == 0
    for number in ("2", "3"):
        assert kinds("cert", "retire", number).code == 0
    assert kinds("user", "remove", "acme", "alice").code == 0
    assert decided(kinds, "same-key")[0] == 1
    applied = kinds("apply", file)
    assert applied.code == 0, applied.err
    assert [decided(kinds, leaf)[0] for leaf in ("same-key", "same-name")] == [0, 0]
    assert kinds("diff", file, "--prune").code == 0
    documents = [document for document in text.split("\n---\n") if "registers" not in document]
    assert kinds("apply", write("less.yaml", "\n---\n".join(documents)), "--prune").code == 0
    assert [decided(kinds, leaf)[0] for leaf in ("same-key", "same-name")] == [1, 1]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (f"registers: identity\nname: {NAME}\n", "both of them"),
        ("registers: identity\nname: spiffe://acme\nanchor: " + "0" * 64 + "\n", "write its type"),
        ("registers: key\n", "needs a certificate"),
        (f"name: {NAME}\nanchor: {'0' * 64}\nfile: first.pem\n", "registers: identity"),
        (f"registers: identity\nname: {NAME}\nanchor: 00\n", "anchor"),
    ],
)
def test_document_of_a_name_that_is_wrong_is_refused_with_its_line(kinds: Run, more: str, said: str) -> None:
    """And nothing is changed."""
    done = kinds("apply", write("a.yaml", f"kind: Certificate\norganization: acme\nuser: alice\n{more}"))
    assert (done.code, said in done.err, "a.yaml:" in done.err) == (1, True, True), done.err


def test_documents_that_give_one_name_to_two_users_are_refused_with_the_line(kinds: Run) -> None:
    """Both new, or one registered already for longer; it moves in one apply that retires it, or prunes it."""
    assert kinds("user", "add", "acme", "bob").code == 0
    document = (
        "kind: Certificate\norganization: acme\nuser: {}\nregisters: identity\n"
        f"name: {NAME}\nanchor: {ROOT.sha256.hex()}\n"
    )
    alices, bobs = (document.format(user) for user in ("alice", "bob"))
    for text in (f"{alices}---\n{bobs}", f"{bobs}---\n{alices}"):
        done = kinds("apply", write("two.yaml", text))
        assert (done.code, "is one user's" in done.err, "two.yaml:" in done.err) == (1, True, True), done.err
    assert kinds("apply", write("alice.yaml", alices)).code == 0
    for text in (bobs, f"{alices}retired: 2099-01-01T00:00:00Z\n---\n{bobs}"):
        done = kinds("apply", write("bob.yaml", text))
        assert (done.code, "registered for alice of acme" in done.err) == (1, True), done.err
    moved = kinds("apply", write("bob.yaml", f"{alices}retired: 2026-01-01T00:00:00Z\n---\n{bobs}"), "--json")
    assert (moved.code, moved.data["change"], moved.data["add"]) == (0, 1, 1), moved.err
    assert kinds("user", "add", "acme", "carol").code == 0
    pruned = kinds("apply", write("carol.yaml", document.format("carol")), "--prune", "--json")
    assert (pruned.code, pruned.data["add"]) == (0, 1), pruned.err
