"""Tables from invented records: the same bytes, missing runs, refusals, both renderings."""

import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy
from invented_records import LABELS, record, save, study
from sklearn.metrics import f1_score, precision_recall_fscore_support

from lowrank_da import metrics, uncertainty
from lowrank_da.corpus import ID, SELECT
from lowrank_da.errors import UserError
from lowrank_da.run import Predictions, Run
from paper import estimate
from paper.build import write_all
from paper.table import (
    MISSING,
    PACKAGE,
    Body,
    Math,
    Records,
    SettingFacts,
    Table,
    escape_latex,
    find,
    tables,
)
from paper.tables.class_metrics import ClassMetrics
from paper.tables.combination import Averaged, FullAgain
from paper.tables.learning_rates import AT_THE_END, LearningRates
from paper.words import LANGUAGES, Text

FACTS = SettingFacts("outfox", "outfox", "minilm", LABELS)
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def runs() -> dict[str, list[Run]]:
    return study()


@pytest.fixture(scope="module")
def folder(runs: dict[str, list[Run]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(runs, tmp_path_factory.mktemp("runs"))


def of_kind(kind: type[Table], **fields: object) -> Table:
    """The first table of a kind whose fields have these values."""
    return next(
        table
        for table in tables()
        if isinstance(table, kind) and all(getattr(table, k) == v for k, v in fields.items())
    )


def numbers(package: str = PACKAGE) -> list[int]:
    """The numbers of the tables that have one, in the order in which they are printed."""
    return [int(table.id) for table in tables(package) if table.id.isdigit()]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_two_builds_are_equal_to_the_byte(folder: Path, tmp_path: Path) -> None:
    write_all(folder, "thesis", "outfox", "ru", tmp_path / "first")
    first = contents(tmp_path / "first")
    assert {Path(name).suffix for name in first} == {".md", ".tex", ".png", ".pdf"}
    # Another process has another hash seed and another clock.
    code = (
        "import sys; from pathlib import Path; from paper.build import write_all\n"
        "write_all(Path(sys.argv[1]), 'thesis', 'outfox', 'ru', Path(sys.argv[2]))"
    )
    command = [sys.executable, "-c", code, str(folder), str(tmp_path / "second")]
    subprocess.run(command, check=True, cwd=ROOT)
    assert contents(tmp_path / "second") == first


def test_every_table_in_the_inputs_is_written(folder: Path, tmp_path: Path) -> None:
    write_all(folder, "thesis", "outfox", "en", tmp_path)
    home = tmp_path / "thesis" / "outfox" / "en"
    for name in ("tables", "figures"):
        wanted = re.findall(r"\\generated/([\w.]+)", (home / f"{name}.tex").read_text())
        assert wanted
        assert all((home / w).is_file() or (home / f"{w}.tex").is_file() for w in wanted)


def test_without_records_every_needed_run_is_a_dash_and_listed() -> None:
    for table in tables():
        if not table.applies({}):
            continue
        for lang in LANGUAGES:
            built = table.build({}, FACTS, lang)
            assert built.missing == table.needs(FACTS)
            if built.missing:
                assert any(MISSING in row for group in built.body.groups for row in group)
                assert all(name in built.markdown() for name in built.missing)


def test_a_single_missing_run_leaves_the_others(runs: dict[str, list[Run]]) -> None:
    fewer = {name: seeds for name, seeds in runs.items() if name != "lora"}
    built = of_kind(ClassMetrics, runs=("lora_published", "lora")).build(fewer, FACTS, "en")
    rows = [row for group in built.body.groups for row in group]
    assert built.missing == ("lora",)
    assert all(row[2:] == (MISSING,) * 3 for row in rows if row[1] == "lora")
    assert all(MISSING not in row for row in rows if row[1] == "lora_published")


def test_runs_on_different_texts_are_refused(runs: dict[str, list[Run]]) -> None:
    mixed = runs | {"lora": [record("lora", fingerprint="another corpus")]}
    for id in ("summary", "comparisons"):
        with pytest.raises(UserError, match="different texts"):
            find(id).build(mixed, FACTS, "en")


def test_seeds_on_different_splits_are_refused(runs: dict[str, list[Run]]) -> None:
    first, second = runs["full"]
    said = second.predictions[ID]
    moved = replace(second, predictions={ID: replace(said, uid=said.uid + np.uint64(1))})
    with pytest.raises(UserError, match="different texts"):
        estimate.answers([first, moved])


def test_class_metrics_are_scikit_learns_mean_over_seeds(runs: dict[str, list[Run]]) -> None:
    table = of_kind(ClassMetrics, runs=("full",))
    body = table.build(runs, FACTS, "en").body
    by_seed = []
    for run in runs["full"]:
        said = run.predictions[ID]
        predicted = said.probabilities.astype(float).argmax(axis=1)
        by_seed.append(precision_recall_fscore_support(said.label, predicted)[:3])
    expected = np.mean(by_seed, axis=0).T
    shown = [[float(cell.split()[0]) for cell in group[1][2:]] for group in body.groups]
    np.testing.assert_allclose(shown, expected, atol=0.00051)
    spreads = [[float(cell.split("± ")[1]) for cell in group[1][2:]] for group in body.groups]
    np.testing.assert_allclose(spreads, np.std(by_seed, axis=0, ddof=1).T, atol=0.00051)


def test_intervals_are_those_of_resampled_texts(runs: dict[str, list[Run]]) -> None:
    one = runs["full"][:1]
    p = one[0].predictions[ID]
    right = (p.probabilities.argmax(axis=1) == 3)[p.label == 3]
    theirs = scipy.stats.bootstrap((right,), np.mean, method="percentile", rng=1, n_resamples=4000)
    own = estimate.of_confusion(one, metrics.class_metrics)[3, 1]
    ends = theirs.confidence_interval
    assert (own.low, own.high) == pytest.approx((ends.low, ends.high), abs=0.035)
    assert own.low < own.value < own.high


def test_no_interval_leaves_the_numbers_there_can_be(runs: dict[str, list[Run]]) -> None:
    apart = uncertainty.BySeed(np.array([0.9, 1.0]), np.full((2000, 2), 0.95))
    assert apart.mean().interval().high > 1
    assert 0 < estimate.of(apart).low < estimate.of(apart).high == 1


def test_texts_of_one_group_are_drawn_together(runs: dict[str, list[Run]]) -> None:
    one = runs["full"][0]
    p = one.predictions[ID]
    assert len(set(p.group.tolist())) < len(p.group)
    right = p.probabilities.argmax(axis=1) == p.label
    often = {int(g): uncertainty.draws(np.array([g]))[:, 0] for g in p.group}
    weights = np.stack([often[int(g)] for g in p.group], axis=1)
    by_hand = (weights * right).sum(axis=1) / weights.sum(axis=1)
    own = estimate.of_confusion([one], metrics.accuracy)[()]
    assert (own.low, own.high) == pytest.approx(tuple(np.quantile(by_hand, [0.025, 0.975])))
    human = estimate.of_human([[runs[name][0]] for name in FACTS.binaries])[2]
    alone = [replace(runs[n][0], predictions=alone_in(runs[n][0])) for n in FACTS.binaries]
    assert estimate.of_human([[run] for run in alone])[2] != human


def alone_in(run: Run) -> dict[str, Predictions]:
    """The same answers, every text in a group of its own."""
    return {role: replace(p, group=p.uid) for role, p in run.predictions.items()}


def test_one_seed_has_an_interval_and_no_spread(runs: dict[str, list[Run]]) -> None:
    one = {name: seeds[:1] for name, seeds in runs.items()}
    text = of_kind(ClassMetrics, runs=("full",)).build(one, FACTS, "en").markdown()
    assert "[" in text
    assert "±" not in text
    assert "; seed 0." in text


def test_the_human_row_of_the_average_is_the_mean_of_three(runs: dict[str, list[Run]]) -> None:
    groups = of_kind(Averaged).build(runs, FACTS, "en").body.groups
    ours = float(groups[-1][1][3].split()[0])
    recalls = [
        metrics.class_metrics(run.confusion(ID))[1, 1]
        for name in FACTS.binaries
        for run in runs[name]
    ]
    assert ours == pytest.approx(np.mean(recalls), abs=0.00051)


def test_the_human_row_of_the_average_resamples_the_shared_texts(
    runs: dict[str, list[Run]],
) -> None:
    binaries = [runs[name] for name in FACTS.binaries]
    machines = [FACTS.labels.index(seeds[0].labels[0]) for seeds in binaries]
    label = binaries[0][0].predictions[ID].label
    predicted = [
        [run.predictions[ID].probabilities.argmax(axis=1) for run in seeds] for seeds in binaries
    ]
    says_human = np.array(predicted).transpose(2, 0, 1) == 1

    def mean_f1(true: Any, says: Any) -> float:
        scores = []
        for i, machine in enumerate(machines):
            own = (true == machine) | (true == 3)
            scores += [f1_score(true[own] == 3, one) for one in says[own, i].T]
        return float(np.mean(scores))

    own = estimate.of_human(binaries)[2]
    assert own.value == pytest.approx(mean_f1(label, says_human))
    by_seed = [mean_f1(label, says_human[:, :, [seed]]) for seed in (0, 1)]
    assert own.spread == pytest.approx(np.std(by_seed, ddof=1))
    one = estimate.of_human([seeds[:1] for seeds in binaries])[2]
    drawn = uncertainty.draws(binaries[0][0].predictions[ID].group, 400)
    rows = [np.repeat(np.arange(len(label)), often) for often in drawn]
    naive = [mean_f1(label[own], says_human[own][:, :, :1]) for own in rows]
    assert (one.low, one.high) == pytest.approx(tuple(np.quantile(naive, [0.025, 0.975])), abs=0.01)


def test_human_is_averaged_over_the_seeds_that_all_binaries_have(
    runs: dict[str, list[Run]],
) -> None:
    def human(first: int) -> tuple[str, ...]:
        """The row where one binary lacks all seeds but the `first`."""
        fewer = runs | {FACTS.binaries[0]: runs[FACTS.binaries[0]][:first]}
        return of_kind(Averaged).build(fewer, FACTS, "en").body.groups[-1][1]

    one_seed = {name: runs[name][:1] for name in FACTS.binaries}
    assert human(1) == of_kind(Averaged).build(one_seed, FACTS, "en").body.groups[-1][1]
    assert human(2) != human(1)


def test_an_incomplete_average_is_not_shown(runs: dict[str, list[Run]]) -> None:
    fewer = {name: seeds for name, seeds in runs.items() if name != FACTS.binaries[0]}
    groups = of_kind(Averaged).build(fewer, FACTS, "en").body.groups
    average = [group[1][2:] for group in groups]
    dashes = (MISSING,) * 3
    assert [cells == dashes for cells in average] == [True, False, False, True]


def test_the_combination_is_chosen_on_select_only(runs: dict[str, list[Run]]) -> None:
    def shown(average_on_select: float) -> str:
        changed = []
        for run in runs["binaries_average"]:
            splits = {role: dict(score) for role, score in run.result["splits"].items()}
            splits["select"]["macro_f1"] = average_on_select
            changed.append(replace(run, result=run.result | {"splits": splits}))
        built = of_kind(FullAgain).build(runs | {"binaries_average": changed}, FACTS, "en")
        return built.body.groups[0][2][1]

    assert (shown(0.0), shown(1.0)) == ("binaries_coupled", "binaries_average")


def test_comparisons_name_sign_and_adjusted_p(runs: dict[str, list[Run]]) -> None:
    rows = find("comparisons").build(runs, FACTS, "en").body.groups[0]
    by_pair = {row[:2]: row for row in rows}
    worse = by_pair["lora_published", "full"]
    assert worse[2].startswith("-0.")
    assert worse[4] == "< 0.0001"
    a, b = (estimate.answers(runs[name]) for name in ("lora_published", "full"))
    raw = uncertainty.paired(a.true, a.predicted, b.predicted, a.classes, a.group).p_value
    assert float(worse[3]) == pytest.approx(len(rows) * raw, abs=0.00005)  # the smallest of all


def test_holm_counts_each_kind_of_test(runs: dict[str, list[Run]]) -> None:
    table = find("comparisons")
    apart = {name: runs[name] for name in ("full", "lora")}
    apart |= {"tfidf": [record("tfidf", seed=7)]}
    built = table.build(apart, FACTS, "en")
    assert "over the tests made: 3 of these differences" in built.notes[0]
    assert "and 1 of McNemar" in built.notes[0]
    made = {row[:2]: row[4] for row in built.body.groups[0] if row[2] != MISSING}
    # Arms without a common seed have no McNemar test.
    assert [pair for pair, p in made.items() if not p] == [("full", "tfidf"), ("lora", "tfidf")]


def test_the_summary_says_who_is_above_chance(runs: dict[str, list[Run]]) -> None:
    guess = runs | {"tfidf": [record("tfidf", skill=0.0)]}
    built = find("summary").build(guess, FACTS, "en")
    column = built.body.header.index("above chance (1/k)")
    said = {row[0]: row[column] for group in built.body.groups for row in group}
    assert said["full"] == "yes (0.250)"
    assert said["tfidf"] == "no (0.250)"
    assert said[FACTS.binaries[0]] == "yes (0.500)"


def test_a_best_rate_at_the_grids_end_is_said(runs: dict[str, list[Run]]) -> None:
    cut = {n: r for n, r in runs.items() if n != "grid/full--lr0.003"}
    rows = [r for g in of_kind(LearningRates).build(cut, FACTS, "en").body.groups for r in g]
    assert [row[3] for row in rows] == ["", AT_THE_END.en, "", "best", ""]


def test_the_rate_tried_is_the_experiments_not_its_rounding_in_the_name() -> None:
    name = "grid/full--lr1.3e-04"
    trial = record(name, roles=(SELECT,), learning_rate=0.000125)
    rows = of_kind(LearningRates).build({name: [trial]}, FACTS, "en").body.groups[0]
    assert [row[:2] for row in rows] == [("full", "0.000125")]


def test_out_of_domain_appears_with_its_roles(runs: dict[str, list[Run]]) -> None:
    table = find("out_of_domain")
    assert not table.applies(runs)
    other = runs | {"full": [record("full", roles=("select", "id", "ood/essays"))]}
    assert table.applies(other)
    rows = table.build(other, FACTS, "en").body.groups[0]
    assert [row[1] for row in rows] == ["id", "ood/essays"]
    assert rows[1][2] == "40"


def test_captions_name_corpus_backbone_texts_and_seeds(runs: dict[str, list[Run]]) -> None:
    for table in tables():
        if table.applies(runs) and table.needs(FACTS):
            caption = table.build(runs, FACTS, "en").caption
            assert "Corpus: outfox, which is not the thesis corpus; backbone: minilm" in caption
            assert " texts evaluated" in caption
            assert re.search(r"; seeds? 0(, 1)?\.$", caption)
    assert (
        "120 texts evaluated; seeds 0, 1."
        in of_kind(ClassMetrics, runs=("full",)).build(runs, FACTS, "en").caption
    )
    assert "60 texts evaluated; seed 0." in find("learning_rates").build(runs, FACTS, "en").caption
    both = find("summary").build(runs, FACTS, "en").caption
    assert "120 texts evaluated (60 by each binary); seeds 0, 1." in both
    first, *others = runs[FACTS.binaries[0]]
    splits = {ID: first.result["splits"][ID] | {"texts": 50}}
    fewer = replace(first, result=first.result | {"splits": splits})
    uneven = runs | {FACTS.binaries[0]: [fewer, *others]}
    assert "(50–60 by each binary)" in find("summary").build(uneven, FACTS, "en").caption
    thesis = SettingFacts("thesis", "semeval", "distilroberta", LABELS)
    assert "not the thesis corpus" not in find("summary").build({}, thesis, "en").caption


def test_a_class_with_another_name_shows_both() -> None:
    assert FACTS.class_name(0, "en") == "chatGPT"
    assert FACTS.class_name(1, "en") == "Flan_T5 (published: cohere)"
    assert FACTS.class_name(1, "ru") == "Flan_T5 (в работе: cohere)"
    five = replace(FACTS, labels=("a", "b", "c", "d", "human"))
    assert five.class_name(3, "en") == "d"
    assert five.class_name(4, "en") == "human"


@pytest.mark.parametrize("labels", [("a", "human"), ("a", "b", "c", "d", "human")])
def test_corpora_with_other_numbers_of_classes_have_tables_too(labels: tuple[str, ...]) -> None:
    runs = study(seeds=(0,), corpus_labels=labels)
    for table in tables():
        if table.applies(runs):
            built = table.build(runs, replace(FACTS, labels=labels), "en")
            widths = {len(row) for group in built.body.groups for row in group}
            assert widths <= {len(built.body.header)}


def test_latex_is_escaped_and_formulas_are_not() -> None:
    assert escape_latex("50 % of a_b & {c} #1 $ ±") == r"50 \% of a\_b \& \{c\} \#1 \$ $\pm$"
    assert escape_latex(r"\x~y^2") == r"\textbackslash{}x\textasciitilde{}y\textasciicircum{}2"
    assert escape_latex(Math("W_{upd}")) == "$W_{upd}$"


def test_latex_has_balanced_braces_and_a_cell_for_each_column(runs: dict[str, list[Run]]) -> None:
    for table in tables():
        built = table.build(runs, FACTS, "ru")
        plain = re.sub(r"\\[{}]", "", built.latex())
        assert plain.count("{") == plain.count("}")
        rows = [line for line in built.latex().splitlines() if line.endswith(r" \\")]
        columns = {len(re.findall(r"(?<!\\)&", line)) + 1 for line in rows}
        assert columns == {len(built.body.header)}


def test_an_unknown_language_or_table_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="unknown language 'fr'"):
        write_all(folder, "thesis", "outfox", "fr", tmp_path)
    assert not list(tmp_path.iterdir())
    with pytest.raises(UserError, match="did you mean 'summary'"):
        find("sumary")


NEW_TABLE = """
from dataclasses import dataclass
from paper.table import Body, Table
from paper.words import Text


@dataclass(frozen=True, kw_only=True)
class Seeds(Table):
    def needs(self, facts):
        return ("full",)

    def body(self, records):
        rows = tuple((str(run.seed),) for run in records.get("full"))
        return Body(("seed",), (rows,))


TABLES = (Seeds(id="{id}", title=Text("Seeds", "Числа")),)
"""


def test_one_more_table_is_one_more_file(
    runs: dict[str, list[Run]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "more_tables"
    shutil.copytree(ROOT / "paper" / "tables", package)
    new = len(numbers()) + 1
    (package / "seeds.py").write_text(NEW_TABLE.replace("{id}", str(new)))
    monkeypatch.syspath_prepend(str(tmp_path))
    found = tables("more_tables")
    assert len(found) == len(tables()) + 1
    built = find(str(new), "more_tables").build(runs, FACTS, "en")
    assert built.body.groups == ((("0",), ("1",)),)
    assert [path.name for path in built.write(tmp_path)] == [f"table_{new}.md", f"table_{new}.tex"]
    assert numbers("more_tables") == [*numbers(), new]


def test_two_tables_with_one_id_are_a_bug(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "twice_tables"
    package.mkdir()
    for name in ("__init__", "a", "b"):
        (package / f"{name}.py").write_text("" if name == "__init__" else NEW_TABLE)
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ValueError, match="two tables"):
        tables("twice_tables")


def test_every_published_table_has_ours() -> None:
    text = (ROOT / "paper" / "published.toml").read_text()
    sources = re.findall(r'source = "thesis, (.*?)"', text)
    published = {int(number) for source in sources for number in re.findall(r"table (\d+)", source)}
    assert published
    assert published <= set(numbers())


@dataclass(frozen=True, kw_only=True)
class OneCell(Table):
    cell: str

    def needs(self, facts: SettingFacts) -> tuple[str, ...]:
        return ()

    def body(self, records: Records) -> Body:
        return Body(("x",), (((self.cell,),),))


def test_markdown_keeps_pipes_inside_their_cell() -> None:
    table = OneCell(id="one", title=Text("One", "Одна"), cell="a|b <c> < 1")
    assert r"| a\|b &lt;c> < 1 |" in table.build({}, FACTS, "en").markdown()


def test_paper_imports_no_torch() -> None:
    code = (
        "import sys, paper.build, paper.pages, paper.table as t, paper.figure as f\n"
        "t.tables(); f.figures()\n"
        "assert not {'torch', 'transformers', 'peft', 'pytorch_lightning'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


@pytest.mark.skipif(shutil.which("latexmk") is None, reason="no TeX on this machine")
@pytest.mark.slow
@pytest.mark.parametrize("lang", LANGUAGES)
def test_the_text_compiles(folder: Path, tmp_path: Path, lang: str) -> None:
    write_all(folder, "thesis", "outfox", lang, tmp_path / "generated")
    shutil.copy(ROOT / "paper" / "main.tex", tmp_path)
    choice = rf"\def\setting{{outfox}}\def\lang{{{lang}}}"
    command = ["latexmk", "-pdf", "-interaction=nonstopmode", f"-usepretex={choice}", "main.tex"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    assert (tmp_path / "main.pdf").stat().st_size > 10_000
