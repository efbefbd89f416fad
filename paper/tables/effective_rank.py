"""Over how many directions trained LoRA updates spread of those that their rank allows.

The effective rank of a matrix is exp(H) of its singular values divided by their sum (Roy & Vetterli
2007): r where all are equal, 1 where one is alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import cast

import numpy as np
from numpy.typing import NDArray

from lowrank_da import metrics
from lowrank_da.backbone import Map, backbone
from lowrank_da.run import Run
from paper import estimate, words
from paper.arms import found
from paper.table import Body, Records, Runs, SettingFacts, Table
from paper.words import Text

ARM = Text("arm", "модель")
ALLOWED = Text("rank allowed", "допустимый ранг")
EFFECTIVE = Text("effective rank, mean over maps", "эффективный ранг, среднее по матрицам")
RANGE = Text("least and greatest of all maps and seeds", "у всех матриц и начальных чисел")
BY_CHANCE = Text("of random factors", "у случайных множителей")
FIRST = Text("share of the first direction", "доля первого направления")
NOTE = Text(
    "Of each map's update s A B after training. The effective rank is exp(H) of the singular values"
    " divided by their sum (Roy & Vetterli 2007); the share is of the squared norm. Of random"
    " factors: the mean over the same maps, were A and B normal and nothing learned (one draw a"
    " shape). Numbers are means over seeds; after ±: standard deviation over seeds.",
    "Обновление s A B каждой матрицы после обучения. Эффективный ранг есть exp(H) сингулярных"
    " чисел, делённых на их сумму (Roy, Vetterli 2007); доля взята от квадрата нормы. У случайных"
    " множителей: среднее по тем же матрицам, если A и B нормальны и ничего не выучено (по одному"
    " розыгрышу на форму). Числа усреднены по начальным числам; после ±: стандартное отклонение по"
    " ним.",
)


def effective_rank(singular_values: NDArray[np.float64]) -> float:
    """Exp of the entropy; 0 for a map that has not moved."""
    total = singular_values.sum()
    if total == 0:
        return 0.0
    p = singular_values[singular_values > 0] / total
    return float(np.exp(-(p * np.log(p)).sum()))


def first_share(singular_values: NDArray[np.float64]) -> float:
    """Of the squared norm; 0 for a map that has not moved."""
    squares = singular_values**2
    return float(squares.max() / squares.sum()) if squares.any() else 0.0


def spectra(run: Run) -> list[NDArray[np.float64]]:
    """The singular values of every map's update, where the record holds them."""
    return [np.array(values) for values in run.result.get("singular_values", {}).values()]


def by_chance(run: Run) -> str:
    """The mean over a run's maps, had their factors been drawn and not trained."""
    one = backbone(run.experiment["setting"]["backbone"])
    ranks = []
    for name, values in run.result["singular_values"].items():
        rows, columns = one.map_shape(cast(Map, name.split(".")[1]))
        ranks.append(random_rank(rows, columns, len(values)))
    return f"{np.mean(ranks):.2f}"


@cache
def random_rank(rows: int, columns: int, rank: int) -> float:
    """Effective rank of the product of (rows, rank) and (rank, columns) normal factors."""
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(rows, rank)), rng.normal(size=(rank, columns))
    # The product's singular values are those of the factors' small triangles.
    small = np.linalg.qr(a)[1] @ np.linalg.qr(b.T)[1].T
    return effective_rank(np.linalg.svd(small, compute_uv=False))


def _shown(by_seed: Sequence[float], decimals: int = 2) -> str:
    mean, spread = metrics.mean_and_spread(by_seed)
    return f"{mean:.{decimals}f}" + ("" if spread is None else f" ± {spread:.{decimals}f}")


@dataclass(frozen=True, kw_only=True)
class EffectiveRanks(Table):
    """One row an arm whose record holds its updates' singular values."""

    def _arms(self, runs: Runs) -> list[str]:
        return [name for name in found(runs) if all(spectra(run) for run in runs[name])]

    def uses(self, runs: Runs, facts: SettingFacts) -> list[Run]:
        """Every such arm."""
        return [run for name in self._arms(runs) for run in runs[name]]

    def applies(self, runs: Runs) -> bool:
        """Where there is one."""
        return bool(self._arms(runs))

    def body(self, records: Records) -> Body:
        """The best macro-F1 first."""
        lang, rows = records.lang, []
        f1 = {
            name: estimate.of_confusion(records.get(name), metrics.macro_f1)[()]
            for name in self._arms(records.runs)
        }
        for name in sorted(f1, key=lambda name: -f1[name].value):
            updates = [spectra(run) for run in records.get(name)]
            ranks = [[effective_rank(values) for values in of_seed] for of_seed in updates]
            every = [rank for of_seed in ranks for rank in of_seed]
            first = [float(np.mean([first_share(v) for v in of_seed])) for of_seed in updates]
            rows.append(
                (
                    name,
                    f1[name].show(),
                    str(max(len(values) for values in updates[0])),
                    _shown([float(np.mean(of_seed)) for of_seed in ranks]),
                    f"{min(every):.2f}–{max(every):.2f}",
                    by_chance(records.get(name)[0]),
                    _shown(first),
                )
            )
        columns = (ARM, words.MACRO_F1, ALLOWED, EFFECTIVE, RANGE, BY_CHANCE, FIRST)
        header = tuple(column.say(lang) for column in columns)
        return Body(header, (tuple(rows),), (NOTE.say(lang),))


TABLES = (
    EffectiveRanks(
        id="effective_rank",
        title=Text(
            "Effective rank of trained updates",
            "Эффективный ранг обученных обновлений",
        ),
    ),
)
