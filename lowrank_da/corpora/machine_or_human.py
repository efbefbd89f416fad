"""Machine against human, trained in some domains against some generators, reported on the others.

The texts are those of `detectrl` or `outfox`, with their splits; all machine classes become one.
*train*, *select* and *id* hold the chosen domains and generators. What was not chosen is out of
distribution:

- `ood/<domain>`: the texts by people and chosen generators in a domain that was left out;
- `ood/<generator>`: of a generator that was left out its *id* texts in the chosen domains, and a
  part of the *id* human texts there, each with its group; they are dealt out in turn to *id* and
  to these roles, for no group may be in two;
- `ood/<collection>/<generator>`: with `elsewhere`, the *id* texts of the other collection, its
  human texts dealt out to its generators in the same way.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from lowrank_da.corpora.detectrl import Detectrl
from lowrank_da.corpora.outfox import Outfox
from lowrank_da.corpus import ID, OOD, SELECT, TRAIN, Corpus, Example, Splits, splits
from lowrank_da.errors import UserError

MACHINE = "machine"
COLLECTIONS: dict[str, Corpus] = {"detectrl": Detectrl(), "outfox": Outfox(by_prompt=True)}


@dataclass(frozen=True)
class MachineOrHuman(Corpus):
    """See the module. Empty `domains` or `generators` mean all of them."""

    labels = (MACHINE, Corpus.human)
    description = "texts by language models against texts by people, of detectrl or outfox"
    licence = "those of detectrl and outfox"
    citation = f"{Detectrl.citation}; {Outfox.citation}"

    collection: str = "detectrl"
    """Where the texts are from: `detectrl` or `outfox`."""
    domains: tuple[str, ...] = ()
    """Trained on."""
    generators: tuple[str, ...] = ()
    """Trained against."""
    elsewhere: bool = False
    """Also report on the other collection."""

    def __post_init__(self) -> None:
        if self.collection not in COLLECTIONS:
            raise UserError(f"collection={self.collection!r}: choose {' or '.join(COLLECTIONS)}")
        known = self._machines()
        for generator in self.generators:
            if generator not in known:
                raise UserError(f"generators: {generator!r} is not among {', '.join(known)}")

    def _machines(self) -> tuple[str, ...]:
        every = COLLECTIONS[self.collection].labels
        return tuple(label for label in every if label != self.human)

    def load(self) -> Splits:
        """The texts by role; `UserError` for an unknown domain, and as the collection."""
        whole = splits(COLLECTIONS[self.collection])
        texts = [(role, e) for role in (TRAIN, SELECT, ID) for e in whole[role]]
        every = tuple(sorted({e.domain for _, e in texts}))
        for domain in self.domains:
            if domain not in every:
                raise UserError(f"domains: {domain!r} is not among {', '.join(every)}")
        domains = self.domains or every
        generators = self.generators or self._machines()
        left_out = [g for g in self._machines() if g not in generators]
        roles: dict[str, list[Example]] = {TRAIN: [], SELECT: [], ID: []}
        roles |= {f"{OOD}{name}": [] for name in (*left_out, *every) if name not in domains}
        for role, e in texts:
            if e.label not in left_out:
                if e.domain not in domains:
                    roles[f"{OOD}{e.domain}"].append(e)
                elif role != ID:
                    roles[role].append(e)
        at_home = dict.fromkeys(generators, ID) | {name: f"{OOD}{name}" for name in left_out}
        for role, e in _dealt((e for e in whole[ID] if e.domain in domains), at_home):
            roles[role].append(e)
        for role, e in self._others():
            roles.setdefault(role, []).append(e)
        found = {role: tuple(map(self._as_ours, examples)) for role, examples in roles.items()}
        return Splits(self.name, self.labels, found, by_group=whole.by_group)

    def _others(self) -> Iterator[tuple[str, Example]]:
        for name, corpus in COLLECTIONS.items():
            if self.elsewhere and name != self.collection:
                machines = [label for label in corpus.labels if label != self.human]
                role_of = {label: f"{OOD}{name}/{label}" for label in machines}
                yield from _dealt(splits(corpus)[ID], role_of)

    def _as_ours(self, example: Example) -> Example:
        return example if example.label == self.human else replace(example, label=MACHINE)

    def get(self, folder: Path, source: str, accept_sha256: str | None = None) -> None:
        """Raises `UserError`: its texts are those of other corpora."""
        raise UserError(f"corpus {self.name} is made of {' and '.join(COLLECTIONS)}; get those")


def _dealt(texts: Iterable[Example], role_of: Mapping[str, str]) -> Iterator[tuple[str, Example]]:
    """Each machine text with its generator's role; human groups are dealt out to the roles in turn.

    What shares a group with a human text of another role is left out.
    """
    texts, roles = list(texts), list(dict.fromkeys(role_of.values()))
    human_groups = sorted({e.group for e in texts if e.label == Corpus.human})
    dealt = {group: roles[i % len(roles)] for i, group in enumerate(human_groups)}
    for e in texts:
        own = dealt[e.group] if e.label == Corpus.human else role_of[e.label]
        if dealt.get(e.group, own) == own:
            yield own, e
