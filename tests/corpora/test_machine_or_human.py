from collections.abc import Iterator
from typing import Any

import pytest

from lowrank_da.corpora import machine_or_human
from lowrank_da.corpora.detectrl import Detectrl
from lowrank_da.corpora.machine_or_human import MachineOrHuman
from lowrank_da.corpora.outfox import Outfox
from lowrank_da.corpus import ID, SELECT, TRAIN, Corpus, Example, Splits
from lowrank_da.errors import UserError

ROLES = (TRAIN, SELECT, ID)


def invented(corpus: Corpus) -> Splits:
    """24 groups a role; in outfox a group is answered by all, in detectrl each text is one."""
    together = isinstance(corpus, Outfox)
    domains = ("essays",) if together else ("arxiv", "xsum")

    def texts(role: str) -> Iterator[Example]:
        for domain in domains:
            for label in corpus.labels:
                for n in range(24):
                    place = f"{role}-{domain}-{n}"
                    group = place if together else f"{place}-{label}"
                    uid = f"{corpus.name}-{place}-{label}"
                    yield Example(uid, f"Text {uid}.", label, f"{corpus.name}-{group}", domain)

    roles = {role: tuple(texts(role)) for role in ROLES}
    return Splits(corpus.name, corpus.labels, roles, by_group=together)


@pytest.fixture(autouse=True)
def collections(monkeypatch: pytest.MonkeyPatch) -> None:
    made = {corpus: invented(corpus) for corpus in machine_or_human.COLLECTIONS.values()}
    monkeypatch.setattr(machine_or_human, "splits", lambda corpus: made[corpus])


def counts(**recipe: Any) -> dict[str, tuple[int, int]]:
    """Machine and human texts of every role."""
    splits = MachineOrHuman(**recipe).load()
    found = {role: splits.counts(role) for role in splits.roles}
    return {role: (n["machine"], n["human"]) for role, n in found.items()}


def test_all_of_it() -> None:
    assert counts() == dict.fromkeys(ROLES, (192, 48))
    assert counts(collection="outfox") == dict.fromkeys(ROLES, (72, 24))


def test_a_domain_is_left_out() -> None:
    assert counts(domains=("arxiv",)) == dict.fromkeys(ROLES, (96, 24)) | {"ood/xsum": (288, 72)}
    texts = MachineOrHuman(domains=("arxiv",)).load()
    assert {e.domain for role in ROLES for e in texts[role]} == {"arxiv"}
    assert {e.domain for e in texts["ood/xsum"]} == {"xsum"}


def test_a_domain_is_left_out_and_generators_too() -> None:
    found = counts(domains=("arxiv",), generators=("ChatGPT", "Google-PaLM"))
    assert found == {
        TRAIN: (48, 24),
        SELECT: (48, 24),
        ID: (48, 8),
        "ood/Claude-instant": (24, 8),
        "ood/Llama-2-70b": (24, 8),
        "ood/xsum": (144, 72),
    }


def test_generators_of_one_prompt_share_its_role() -> None:
    """Where a human text and machines' answer one prompt, none of them is in another role."""
    found = counts(collection="outfox", generators=("chatGPT",), elsewhere=True)
    assert found == {
        TRAIN: (24, 24),
        SELECT: (24, 24),
        ID: (8, 8),
        "ood/flan_t5": (8, 8),
        "ood/davinci": (8, 8),
        **{f"ood/detectrl/{generator}": (48, 12) for generator in Detectrl.labels[:-1]},
    }


def test_each_generator_of_the_other_collection_has_a_role_of_its_own() -> None:
    splits = MachineOrHuman(generators=("ChatGPT",), elsewhere=True).load()
    for generator in Outfox.labels[:-1]:
        texts = splits[f"ood/outfox/{generator}"]
        assert splits.counts(f"ood/outfox/{generator}") == {"machine": 8, "human": 8}
        assert {e.uid.rpartition("-")[2] for e in texts} == {generator, "human"}
        assert len({e.group for e in texts}) == 8, "the machine answers what the humans answered"


def test_a_part_of_the_essays_is_one_of_prompts() -> None:
    splits = MachineOrHuman(collection="outfox", generators=("chatGPT",)).load()
    few = splits.take({TRAIN: 5})
    by_class = [{e.group for e in few[TRAIN] if e.label == c} for c in ("machine", "human")]
    assert by_class[0] == by_class[1]
    assert not MachineOrHuman().load().by_group


def test_no_text_by_a_left_out_generator_is_learned() -> None:
    splits = MachineOrHuman(generators=("ChatGPT",)).load()
    for role in ROLES:
        assert {e.uid.rpartition("-")[2] for e in splits[role] if e.label == "machine"} == {
            "ChatGPT"
        }
    assert {e.uid.rpartition("-")[2] for e in splits["ood/Google-PaLM"]} == {"PaLM", "human"}


@pytest.mark.parametrize(
    ("recipe", "said"),
    [
        ({"collection": "raid"}, "collection='raid': choose detectrl or outfox"),
        ({"generators": ("chatGPT",)}, "generators: 'chatGPT' is not among ChatGPT, Claude"),
        ({"domains": ("news",)}, "domains: 'news' is not among arxiv, xsum"),
    ],
)
def test_what_is_unknown_is_named(recipe: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        MachineOrHuman(**recipe).load()


def test_there_is_nothing_of_its_own_to_fetch() -> None:
    with pytest.raises(UserError, match="made of detectrl and outfox; get those"):
        MachineOrHuman().get(MachineOrHuman().folder, "")
