"""The embedded corpus: on a made-up library for its rules, on the installed ones for its claims."""

import errno
import gzip
import json
import os
import re
import string
import subprocess
import sys
from collections import Counter
from pathlib import Path
from random import Random

import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.tree import DecisionTreeClassifier

from lowrank_da.corpora import docstrings
from lowrank_da.corpora.docstrings import Docstrings, cut, docstrings_of, paragraphs, tokens_of
from lowrank_da.corpus import CACHE_VARIABLE, ID, SELECT, TRAIN, Splits, corpus
from lowrank_da.errors import UserError

SMALL = Docstrings(libraries=("madeup",), train_texts=6, select_texts=3, id_texts=4)
MODULES = 40


def own_word(module: int) -> str:
    """A word that only this module of the made-up library uses."""
    return "own" + string.ascii_lowercase[module // 26] + string.ascii_lowercase[module % 26]


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A library called `madeup`, installed in a folder of its own; importing it would raise."""
    site = tmp_path / "site"
    folder = site / "madeup"
    folder.mkdir(parents=True)
    random = Random(0)
    words = ["".join(random.choices("abcdefgh", k=5)) for _ in range(60)]
    for module in range(MODULES):
        blocks = []
        for _ in range(20):
            before, after = random.choices(words, k=6), random.choices(words, k=6)
            blocks.append(f"The {' '.join([*before, own_word(module), *after])} (an aside).")
        body = "\n\n".join(blocks)
        source = f'"""{body}\n"""\nraise RuntimeError("imported")\n'
        (folder / f"m{module:02}.py").write_text(source)
    (folder / "tests").mkdir()
    (folder / "tests" / "helper.py").write_text(source)
    information = site / "madeup-1.5.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: madeup\nVersion: 1.5\n")
    files = sorted(str(path.relative_to(site)) for path in folder.rglob("*.py"))
    (information / "RECORD").write_text("".join(f"{file},,\n" for file in files))
    monkeypatch.syspath_prepend(site)
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    return site


@pytest.fixture(scope="module")
def real() -> Splits:
    """The corpus as the project uses it: built once, half a minute, then read from the cache."""
    return corpus("docstrings").load()


# --- what counts as prose -----------------------------------------------------------------------

ACCEPTED = {
    "Return the mean of all the values along an axis.": None,
    "Wraps :class:`~torch.nn.Linear` so that ``rank`` and *alpha* can be set (see below).": (
        "Wraps torch.nn.Linear so that rank and alpha can be set ."
    ),
    "Uses [`Trainer`] for all the steps, e.g. one,\n    and stops after the last.": (
        "Uses Trainer for all the steps , e.g. one , and stops after the last ."
    ),
}
REFUSED = {
    "doctest": ">>> print(1) is a call that does print the number one.",
    "code": "Result = model(x) + 1 is what the call will give you here.",
    "table": "Name | the name of the column that is then read by the loader.",
    "list": "- The first of all the things that one may want to know.",
    "directive": ".. note:: This is a note which the reader should not overlook.",
    "parameter": "x : float\n    The value that is to be added to all of the others.",
    "heading": "Returns:\n    The value that was computed from all of the other ones.",
    "formula": "The value is :math:`x^2 + 1` and so it is never less than one.",
    "short": "Return the mean.",
    "open bracket": "Return the mean (of all the values that were given along an axis.",
    "open end": "The values that may be given to this function are the following:",
    "names": "Linear Conv2d BatchNorm ReLU Dropout Embedding are all known to this.",
    "other script": "The naïve way is to look at every one of them in turn.",
    "empty": "   ",
}


@pytest.mark.parametrize("block", ACCEPTED)
def test_prose_becomes_tokens(block: str) -> None:
    wanted = ACCEPTED[block] or block[:-1] + " ."
    assert tokens_of(block) == wanted.split()


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_not_prose_is_left_out(kind: str) -> None:
    assert tokens_of(REFUSED[kind]) is None


def test_docstrings_are_found_where_python_finds_them() -> None:
    source = b'''"""Module."""
if True:
    class A:
        """Class."""
        x = """no docstring"""
        async def f(self):
            """Method."""
            def g():
                """Private."""
def h(): pass
'''
    assert [text for text in docstrings_of(source) if text] == ["Module.", "Class.", "Method."]
    assert list(docstrings_of(b'"""Not Python: """ ]')) == []


def test_copied_paragraphs_are_kept_once(library: Path) -> None:
    first = (library / "madeup" / "m00.py").read_text()
    (library / "madeup" / "m01.py").write_text(first.replace("The ", "Other "))
    prose = paragraphs(("madeup",))
    assert "madeup.m00" in prose
    assert "madeup.m01" not in prose
    assert "madeup.tests.helper" not in prose
    assert len(prose) == MODULES - 1


# --- how texts are cut --------------------------------------------------------------------------


def test_a_text_ends_with_the_last_sentence_that_fits() -> None:
    sentence = [*["word"] * 9, "."]
    assert cut(sentence * 20) == " ".join([" ".join(["word"] * 9) + "."] * 12)
    assert cut(sentence * 12) is None, "too short to be cut like the others"
    assert cut(["word"] * 300) is None, "no sentence end"


def test_marks_are_written_as_in_print() -> None:
    tokens = ["One", ",", "two", ";", "three", ":", "four", ".", "Five", *["six"] * 90]
    text = cut([*tokens, "?", *["seven"] * 40]) or ""
    assert text.startswith("One, two; three: four. Five six six")
    assert text.endswith("six?")


# --- the made-up library ------------------------------------------------------------------------


def test_splits_have_the_sizes_labels_and_lengths_asked_for(library: Path) -> None:
    splits = SMALL.load()
    assert splits.labels == ("bigram", "trigram", "fourgram", "human")
    for role, size in ((TRAIN, 6), (SELECT, 3), (ID, 4)):
        assert splits.counts(role) == dict.fromkeys(splits.labels, size)
        for example in splits[role]:
            assert 90 <= len(example.text.split()) <= 110
            assert example.text[-1] in ".?!"


def test_sampled_paragraphs_pass_the_same_filter() -> None:
    long = ["The", *string.ascii_lowercase[:12], "."]
    for odd in (["The", "zz", "."], ["The", *["zz"] * 12], ["The", *["zz.z"] * 12, "."]):
        texts = docstrings.machine_texts("bigram", [long, odd] * 20, set())
        assert "zz" not in next(texts)


def test_human_modules_are_never_used_to_fit_the_models(library: Path) -> None:
    splits = SMALL.load()
    owned = {own_word(module): f"madeup.m{module:02}" for module in range(MODULES)}
    used: dict[bool, set[str]] = {True: set(), False: set()}
    for role in (TRAIN, SELECT, ID):
        for example in splits[role]:
            words = set(re.findall("[a-z]+", example.text))
            modules = {owned[word] for word in words & set(owned)}
            used[example.label == "human"] |= modules
            if example.label == "human":
                assert modules == {example.group}
    assert len(used[True]) >= 3
    assert len(used[False]) > 3
    assert not used[True] & used[False]


def test_the_build_does_not_depend_on_hash_seed_or_cache(library: Path) -> None:
    own = SMALL.load().fingerprint
    assert SMALL.load().fingerprint == own, "read again from the cache"
    cached = SMALL.cached().read_bytes()
    code = (
        "from lowrank_da.corpora.docstrings import Docstrings;"
        "c = Docstrings(('madeup',), 6, 3, 4); print(c.load().fingerprint, c.cached())"
    )
    for seed in ("1", "2"):
        path = os.pathsep.join([str(library), str(Path(docstrings.__file__).parents[2])])
        environment = os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": path}
        environment[CACHE_VARIABLE] = str(library / seed)
        output = subprocess.run(
            [sys.executable, "-c", code], env=environment, check=True, capture_output=True
        )
        fingerprint, file = output.stdout.decode().split()
        assert fingerprint == own
        assert Path(file).read_bytes() == cached


def test_a_change_of_the_recipe_raises_its_number(library: Path) -> None:
    """When this fails, `RECIPE` must go up, for caches and records hold other texts now."""
    known = {3: "b3f3da3f3ab8f127"}
    assert known[docstrings.RECIPE] == SMALL.load().fingerprint[:16]


def test_another_version_is_another_file(library: Path) -> None:
    before = SMALL.cached()
    assert SMALL.versions()["madeup"] == "1.5"
    metadata = library / "madeup-1.5.dist-info" / "METADATA"
    metadata.write_text(metadata.read_text().replace("1.5", "1.6"))
    assert SMALL.versions()["madeup"] == "1.6"
    assert SMALL.cached() != before


@pytest.mark.parametrize("damage", ["cut short", "not gzip", "a row less", "no text", "no object"])
def test_a_damaged_cache_is_refused(library: Path, damage: str) -> None:
    SMALL.load()
    path = SMALL.cached()
    whole = path.read_bytes()
    rows = gzip.decompress(whole).decode().splitlines()
    row = json.loads(rows[0])
    del row["text"]
    path.write_bytes(
        {
            "cut short": whole[: len(whole) // 2],
            "not gzip": b"not gzip",
            "a row less": gzip.compress("\n".join(rows[1:]).encode()),
            "no text": gzip.compress("\n".join([json.dumps(row), *rows[1:]]).encode()),
            "no object": gzip.compress("\n".join(["1", *rows[1:]]).encode()),
        }[damage]
    )
    with pytest.raises(UserError, match=r"damaged.*delete it and run again") as caught:
        SMALL.load()
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ((6, 3, 400), "only [0-9]+ of 400 human texts for id"),
        ((50, 20, 10), "[0-9]+ tokens are left for the models"),
    ],
)
def test_too_little_prose_is_told_and_leaves_no_file(
    library: Path, sizes: tuple[int, int, int], message: str
) -> None:
    small = Docstrings(("madeup",), *sizes)
    with pytest.raises(UserError, match=f"too little prose: {message}"):
        small.load()
    assert not small.cached().parent.exists()


@pytest.mark.parametrize("trouble", ["no folder", "full disk"])
def test_a_cache_that_cannot_be_written_is_told(
    library: Path, trouble: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    if trouble == "no folder":
        (tmp_path / "cache").write_text("a file where the folder should be")
        said = "cannot write"
    else:
        monkeypatch.setattr(Path, "write_bytes", full)
        said = "no space left on the disk"
    with pytest.raises(UserError, match=f"^{said}.*{SMALL.cached().name}") as caught:
        SMALL.load()
    assert "\n" not in str(caught.value)
    assert trouble == "no folder" or list(SMALL.cached().parent.iterdir()) == []


def test_a_model_that_repeats_itself_is_told() -> None:
    texts = docstrings.machine_texts("bigram", [["The", *"abcdefgh", "."]], set())
    assert next(texts).startswith("The a b c d e f g h. The a b")
    with pytest.raises(UserError, match="the bigram model, fitted on 12 tokens, repeats itself"):
        next(texts)


def test_a_broken_library_is_told(library: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere is not installed.*pip install nowhere"):
        Docstrings(("nowhere",)).load()
    (library / "madeup" / "m07.py").unlink()
    with pytest.raises(UserError, match=r"madeup has lost its file madeup/m07\.py; reinstall"):
        SMALL.load()
    (library / "madeup-1.5.dist-info" / "RECORD").write_text("")
    with pytest.raises(UserError, match="madeup lists no Python files; reinstall"):
        SMALL.load()


# --- the installed libraries --------------------------------------------------------------------


def layout(text: str) -> list[float]:
    """What can be seen of a text without reading it."""
    words = text.split()
    counts = [text.count(mark) for mark in ".,;:!?()-_/'\n\xa0"] + [text.count("  ")]
    kinds = [sum(map(kind, text)) for kind in (str.isupper, str.isdigit, str.isspace)]
    edges = [text != text.strip(), ord(text[-1])]
    return [len(text), len(words), len(text) / len(words), *counts, *kinds, *edges]


def test_the_embedded_setting_finds_enough_texts(real: Splits) -> None:
    assert real.labels == ("bigram", "trigram", "fourgram", "human")
    for role, needed in ((TRAIN, 500), (SELECT, 100), (ID, 250)):
        assert min(real.counts(role).values()) >= needed
    texts = Counter(e.text.lower() for role in real.roles for e in real[role])
    assert max(texts.values()) == 1
    assert {len(t.split()) for t in texts} <= set(range(90, 111))


def test_layout_tells_almost_nothing(real: Splits) -> None:
    tree = DecisionTreeClassifier(max_depth=6, random_state=0)
    tree.fit([layout(e.text) for e in real[TRAIN]], [e.label for e in real[TRAIN]])
    assert tree.score([layout(e.text) for e in real[ID]], [e.label for e in real[ID]]) < 0.35


def test_words_alone_tell_something_but_not_all(real: Splits) -> None:
    model = make_pipeline(TfidfVectorizer(), LogisticRegression(max_iter=300))
    model.fit([e.text for e in real[TRAIN]], [e.label for e in real[TRAIN]])
    accuracy = model.score([e.text for e in real[ID]], [e.label for e in real[ID]])
    assert 0.35 < accuracy < 0.6
