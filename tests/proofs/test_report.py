"""The report and the command line: nothing left out, and nothing called proved that is not."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

import proofs
from proofs import report
from proofs.__main__ import files, load, main
from proofs.claim import Hypothesis, Scope, Step, Verdict, verify

FOLDER = Path(proofs.__file__).parent
C03 = load("c03_rank")
ODD = replace(
    C03,
    cited=("50 % of {A & B} | #1_2 costs 3 $ ~ x^2 < y \\ z",),
    idle=("one\n  | two",),
    not_proved=("that *this* is `so`",),
    source="nowhere",
)


@pytest.fixture(scope="module")
def verdicts(verdict_of: Callable[[str], Verdict]) -> list[Verdict]:
    return [verdict_of(name) for name in files().values()]


def tables(text: str) -> list[list[list[str]]]:
    """The cells of every table of a Markdown text, without header and rule."""
    found: list[list[list[str]]] = []
    for block in text.split("\n\n"):
        if block.startswith("|"):
            rows = [re.split(r"(?<!\\)\|", line)[1:-1] for line in block.strip().splitlines()]
            assert len({len(row) for row in rows}) == 1
            assert set(rows[1]) == {" --- "}
            found.append([[cell.strip().replace(r"\|", "|") for cell in row] for row in rows[2:]])
    return found


def plain(text: str) -> str:
    return " ".join(text.split())


def broken(verdict: Verdict) -> Verdict:
    """Of the same claim, its first step broken."""
    first, *others = verdict.steps
    steps = [replace(first, ok=False), *others]
    return verify(replace(verdict.claim, prove=lambda: steps))


def test_nothing_is_left_out(verdicts: list[Verdict]) -> None:
    scopes, necessity, impurities = tables(report.markdown(verdicts))
    assert [row[:2] for row in scopes] == [[v.claim.id, plain(v.claim.title)] for v in verdicts]
    assert [row[:3] for row in necessity] == [
        [v.claim.id, plain(name), plain(h.text)]
        for v in verdicts
        for name, h in v.claim.hypotheses.items()
    ]
    lines = {
        "not proved": lambda claim: claim.not_proved,
        "idle in the source": lambda claim: claim.idle,
        "cited": lambda claim: claim.cited,
    }
    assert impurities == [
        [v.claim.id, kind, plain(line)]
        for kind, of in lines.items()
        for v in verdicts
        for line in of(v.claim)
    ]


def test_steps_are_counted_by_their_reach(verdicts: list[Verdict]) -> None:
    for row, v in zip(tables(report.markdown(verdicts))[0], verdicts, strict=True):
        counts = [int(cell or 0) for cell in row[2:-1]]
        reach = [sum(step.scope is scope for step in v.steps) for scope in Scope]
        assert counts == [*reach, len(v.claim.cited)]
        assert sum(counts[:-1]) == len(v.steps)
        assert row[-1] == "proved"


def test_strange_text_stays_in_its_cell() -> None:
    found = tables(report.markdown([verify(ODD)]))[2]
    assert found == [
        ["C03", "not proved", "that *this* is `so`"],
        ["C03", "idle in the source", "one | two"],
        ["C03", "cited", ODD.cited[0]],
    ]


def test_the_same_claims_give_the_same_report(verdicts: list[Verdict]) -> None:
    again = [verify(load("c03_rank")) if v.claim.id == "C03" else v for v in verdicts]
    assert report.markdown(again) == report.markdown(verdicts)
    assert report.latex(again) == report.latex(verdicts)


def test_every_id_has_its_latex_command(verdicts: list[Verdict]) -> None:
    text = report.latex(verdicts)
    defined = re.findall(r"\\def\\csname claim(C\d\d)\\endcsname\{Claim (C\d\d) \((.*)\)\}", text)
    assert [(a, b) for a, b, _ in defined] == [(v.claim.id, v.claim.id) for v in verdicts]
    for (_, _, said), v in zip(defined, verdicts, strict=True):
        assert said.split("; ")[0] == "proved"
        assert re.findall(r"; cites (\d+) facts?$", said) == [str(n) for n in (facts(v),) if n]
        sampled = sum(step.scope is Scope.SAMPLED for step in v.steps)
        assert re.findall(r"; (\d+) steps? only sampled", said) == [str(n) for n in (sampled,) if n]
    _, whole, cited = re.split(r"\\newcommand\{\\claims\w+\}", text)
    assert re.findall(r"^(C\d\d) &", whole, re.MULTILINE) == [v.claim.id for v in verdicts]
    assert len(re.findall(r"^C\d\d &", cited, re.MULTILINE)) == sum(map(facts, verdicts))
    assert text.count("{") - text.count(r"\{") == text.count("}") - text.count(r"\}")


def facts(verdict: Verdict) -> int:
    return len(verdict.claim.cited)


def test_latex_prints_special_characters() -> None:
    said = report.latex([verify(ODD)])
    assert (
        r"C03 & 50 \% of \{A \& B\} \textbar{} \#1\_2 costs 3 \$ \textasciitilde{} x"
        r"\textasciicircum{}2 \textless{} y \textbackslash{} z \\"
    ) in said


def test_a_fault_is_never_called_proved(verdicts: list[Verdict]) -> None:
    at_fault = [broken(v) for v in verdicts]
    for row, v in zip(tables(report.markdown(at_fault))[0], at_fault, strict=True):
        assert row[-1] == plain(f"step {v.steps[0].name!r} does not hold")
    said = report.latex(at_fault)
    assert re.findall(r"Claim C\d\d \((not )?proved", said) == ["not "] * len(verdicts)


def test_samples_alone_are_not_called_proved() -> None:
    sampled = replace(C03, prove=lambda: [Step("cases", Scope.SAMPLED, True)], cited=())
    assert tables(report.markdown([verify(sampled)]))[0][0][-1] == "not proved"
    assert "Claim C03 (not proved; 1 step only sampled)" in report.latex([verify(sampled)])


def test_a_missing_model_is_shown() -> None:
    more = {**C03.hypotheses, "new": Hypothesis("something else", lambda v: True)}
    rows = tables(report.markdown([verify(replace(C03, hypotheses=more))]))[1]
    assert rows[-1] == ["C03", "new", "something else", "no model"]


# -- the command line


def test_it_prints_the_report_and_exits_0(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["c03", "C03", "--strict"]) == 0
    said = capsys.readouterr()
    assert said.out.startswith(report.markdown([verify(C03)]))
    assert re.search(r"^1 claims in \d+\.\d s; 0 faults$", said.out, re.MULTILINE)
    assert said.err == ""


def test_it_writes_what_is_asked_for(tmp_path: Path) -> None:
    paths = {kind: tmp_path / f"new/report.{kind}" for kind in ("json", "md", "tex")}
    assert main(["C03", *(f"--{kind}={path}" for kind, path in paths.items())]) == 0
    (body,) = json.loads(paths["json"].read_text())
    assert body["id"] == "C03"
    assert body["proved"] is True
    assert body["faults"] == []
    assert body["hypotheses"] == {name: h.text for name, h in C03.hypotheses.items()}
    assert [step["name"] for step in body["steps"]] == [step.name for step in C03.prove()]
    assert {step["scope"] for step in body["steps"]} <= {scope.value for scope in Scope}
    assert body["cited"] == list(C03.cited)
    assert paths["md"].read_text() == report.markdown([verify(C03)])
    assert paths["tex"].read_text() == report.latex([verify(C03)])


def test_without_prints_the_model(capsys: pytest.CaptureFixture[str]) -> None:
    for name, hypothesis in C03.hypotheses.items():
        assert main(["C03", "--without", name]) == 0
        said = capsys.readouterr().out
        assert said.startswith(f"C03 without {name!r} ({hypothesis.text}):\n")
        for part, value in C03.models[name].items():
            assert f"  {part} = {value}" in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["C3"], "proofs: unknown claim 'C3'; did you mean 'C"),
        (["C00"], "proofs: unknown claim 'C00'"),
        (["C03", "--without", "one adaptor"], "did you mean 'one adapter'?"),
        (["--without", "one adapter"], "proofs: --without goes with one claim"),
        (["C03", "--json", "/dev/null/x"], "proofs: cannot write /dev/null/x"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def fresh(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`python -m proofs` on the copy in this folder."""
    return subprocess.run(
        [sys.executable, "-m", "proofs", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A tree with the harness and one claim."""
    target = tmp_path / "proofs"
    target.mkdir()
    for path in FOLDER.glob("*.py"):
        if path.name == "c03_rank.py" or not re.match(r"c\d\d_", path.name):
            shutil.copy(path, target)
    (target / "bind").mkdir()
    (target / "bind" / "__init__.py").touch()
    return target


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("[1, 2, 3, 4]", "[1, 2, 3, 5]", "step 'r = 4, 4 x 5: the ranks 1 to 4 occur'"),
        (".det()) == 0", ".det()) == 1", "step 'minors at (2, 2, 1)'"),
        ("[-A, Identity(d)]", "[A, Identity(d)]", "step 'elimination to diag(I_r, 0)'"),
        ('<= v["r"],\n    prove', '< v["r"],\n    prove', "the statement is false of"),
        ("product.extract(", "product.excerpt(", "the proof breaks off: AttributeError"),
    ],
)
def test_a_broken_step_is_named(copy: Path, old: str, new: str, fault: str) -> None:
    path = copy / "c03_rank.py"
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))
    done = fresh(copy.parent, "--strict")
    assert done.returncode == 1
    assert f"C03: {fault}" in done.stderr
    assert "Traceback" not in done.stderr
    assert "| proved |" not in done.stdout


def test_only_strict_makes_a_fault_an_error(copy: Path) -> None:
    assert fresh(copy.parent, "--strict").returncode == 0
    path = copy / "c03_rank.py"
    path.write_text(path.read_text().replace("[1, 2, 3, 4]", "[1, 2, 3, 5]"))
    done = fresh(copy.parent)
    assert done.returncode == 0
    assert "does not hold" in done.stdout + done.stderr


def test_an_id_belongs_to_one_file(copy: Path) -> None:
    shutil.copy(copy / "c03_rank.py", copy / "c03_again.py")
    assert "have one id" in fresh(copy.parent).stderr
    (copy / "c03_again.py").rename(copy / "c04_again.py")
    assert "proofs/c04_again.py holds claim C03" in fresh(copy.parent).stderr


def test_proving_needs_no_torch() -> None:
    code = "import sys; from proofs.__main__ import main; assert main(['C03', '--strict']) == 0\n"
    code += "assert not {'torch', 'transformers', 'peft'} & set(sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
