"""The texts of a setting, cut and tokenised, and the batches of each experiment on them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache

from lowrank_da.batches import Batches, Known
from lowrank_da.corpus import Sealed, Splits, splits
from lowrank_da.experiment import Experiment, Setting


@dataclass(frozen=True, eq=False)
class Prepared:
    """A setting's texts, cut to its budget and tokenised once for all its cells."""

    splits: Splits
    ids: Mapping[str, list[list[int]]] = field(repr=False)

    def batches(self, role: str, experiment: Experiment, known: Known | None = None) -> Batches:
        """The batches of a role's texts of the experiment's classes.

        `known` holds what is known of all of the role's texts.
        """
        own = [i for i, e in enumerate(self.splits[role]) if e.label in experiment.classes]
        labels = [experiment.classes.index(self.splits[role][i].label) for i in own]
        ids = [self.ids[role][i] for i in own]
        part = None if known is None else known.of(own)
        return Batches(ids, labels, budget=experiment.batch_tokens, known=part)

    def all_texts(self, role: str, experiment: Experiment, known: Known | None = None) -> Batches:
        """The batches of every text of a role, whatever its class; the class numbers are 0."""
        ids = self.ids[role]
        return Batches(ids, [0] * len(ids), budget=experiment.batch_tokens, known=known)


@cache
def prepare(setting: Setting, for_trial: bool = False) -> Prepared:
    """Load, cut and tokenise; `UserError` for whatever is wrong with corpus or tokenizer.

    A trial's texts are sealed but for *train* and *select*.
    """
    taken = splits(setting.corpus).take(setting.texts)
    taken = taken.sealed() if for_trial else taken
    ids = {
        role: setting.backbone.encode(
            [e.text for e in examples], [e.pair for e in examples], setting.max_tokens
        )
        for role, examples in taken.roles.items()
    }
    return Prepared(taken, Sealed(ids) if for_trial else ids)
