"""The model card: what a trained classifier is and how good, written from its record.

Nothing in it is typed by hand; what the record does not say, the card does not say.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lowrank_da import metrics, uncertainty
from lowrank_da.corpus import SELECT
from lowrank_da.experiment import Experiment
from lowrank_da.run import Run
from lowrank_da.uncertainty import Interval

MARK = "<!-- made by `lowrank-da export` -->"
"""The first line of every card: by it an export is known as one."""


@dataclass(frozen=True)
class Loading:
    """How a format that was written is loaded."""

    lines: str
    """Python that makes `logits` of `texts`, read from `folder`."""
    difference: float
    """The largest difference of these logits from the classifier's, when the lines were tried."""


def macro_f1(run: Run, role: str) -> tuple[float, Interval]:
    """Macro-F1 on a role and its 95 % bootstrap interval over texts."""
    p = run.predictions[role]
    index = np.array([run.labels.index(c) if c in run.labels else -1 for c in run.corpus_labels])
    true = index[p.label]
    own = true >= 0
    predicted = p.probabilities[own].astype(np.float64).argmax(axis=1)
    drawn = uncertainty.of_confusion(
        metrics.macro_f1, true[own], predicted[np.newaxis], len(run.labels), p.group[own]
    )
    return float(run.result["splits"][role]["macro_f1"]), drawn.mean().interval()


def text(
    run: Run,
    experiment: Experiment,
    loading: Mapping[str, Loading],
    left_out: Sequence[str],
    bound: float,
) -> str:
    """The card in Markdown; `loading` by format, `left_out` the formats that cannot be, and why."""
    parts = [
        MARK,
        f"# {run.name}, seed {run.seed}: {' / '.join(run.labels)}",
        f"Trained by the study `{run.study}` in the setting `{run.setting}`. Given a text, it tells"
        f" which of these wrote it, logits in this order: {_classes(run)}.",
        _table(("", ""), _facts(run, experiment)),
        "## Quality",
        _quality(run),
        "## Loading",
        "`folder` is the folder of this file, `texts` a list of strings; `logits` is one row a"
        f" text. Texts are cut to {experiment.setting.max_tokens} tokens, as in training.",
    ]
    for name, how in loading.items():
        parts += [
            f"### {name}",
            f"```python\n{how.lines}```",
            "These lines were run when the files were written: their logits differ from the"
            f" classifier's by {how.difference:.1e} at most, where {bound:g} is allowed, or that"
            " share of the largest logit if it is above 1.",
        ]
    if left_out:
        parts += ["### Not written", "\n".join(f"- {line}" for line in left_out)]
    return "\n\n".join(parts) + "\n"


def _classes(run: Run) -> str:
    return ", ".join(f"{number} {label}" for number, label in enumerate(run.labels))


def _facts(run: Run, experiment: Experiment) -> list[tuple[str, str]]:
    setting, made = experiment.setting, run.made_by
    corpus, backbone, p = setting.corpus, setting.backbone, run.result["parameters"]
    total = p["backbone"] + p["head"] + p["adapter"]
    weights = "random weights" if backbone.random else f"weights' SHA-256 {backbone.pin()}"
    changed = ", from a changed tree" if made["dirty"] else ""
    before = experiment.head_from
    return [
        ("corpus", f"{corpus.name}: {corpus.description}"),
        ("the corpus' licence", corpus.licence),
        ("the corpus' citation", corpus.citation),
        ("the texts' fingerprint", run.fingerprint),
        ("backbone", f"{backbone.name} ({backbone.family}), {weights}"),
        ("pooling", backbone.pooling),
        ("method", f"`{experiment.method!r}`"),
        *([] if before is None else [("the head starts from", f"`{before.method!r}`")]),
        ("parameters trained", f"{p['trained']:,} ({_share(p['trained'], total)} of {total:,})"),
        ("of them new, in the encoder", f"{p['adapter']:,} ({_share(p['adapter'], total)})"),
        ("of them the head's", f"{p['head']:,}"),
        ("learning rate", f"{experiment.learning_rate:g}"),
        ("seed", str(run.seed)),
        ("passes over the training texts", f"{setting.epochs}; kept: after {run.result['epoch']}"),
        ("trained in", f"{made['precision']} on {made['device']}; the files are in float32"),
        ("date", made["date"]),
        ("commit", f"{made['commit'] or 'not known'}{changed}"),
        ("versions", ", ".join(f"{name} {v}" for name, v in made["versions"].items())),
        ("key of the experiment", run.key),
    ]


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.2f} %"


def _quality(run: Run) -> str:
    rows = []
    for role, numbers in run.result["splits"].items():
        f1, ends = macro_f1(run, role)
        what = f"{role} (the pass was chosen on it)" if role == SELECT else role
        interval = f"{f1:.3f} [{ends.low:.3f}, {ends.high:.3f}]"
        rows.append((what, str(numbers["texts"]), interval))
    note = "In brackets: 95 % bootstrap interval over texts."
    return f"{_table(('texts', 'number', 'macro-F1'), rows)}\n\n{note}"


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in lines)
