"""What the published numbers say when they are held against the claims, digit by digit.

Each function gives findings in words with their truth, which a claim takes up as steps of its
proof. A published number stands for every number that rounds to it.
"""

from decimal import Decimal
from fractions import Fraction
from typing import Any

from lowrank_da.cost import Limit, training_flops
from lowrank_da.methods.full import Full
from lowrank_da.methods.lora import LoRA
from proofs import facts


def f1(precision: Any, recall: Any) -> Any:
    """The harmonic mean."""
    return 2 * precision * recall / (precision + recall)


def mix(P: Any, R: Any, M: Any) -> Any:
    """Machine texts over human ones: human's precision and recall, the machine's recall."""
    return R * (1 - P) / (P * (1 - M))


def low(share: Decimal) -> Fraction:
    """The least that rounds to it."""
    return facts.share_bounds(share)[0]


def high(share: Decimal) -> Fraction:
    """The greatest that rounds to it."""
    return facts.share_bounds(share)[1]


def averages() -> dict[str, bool]:
    """Tables 4 and 6 to 12 of the thesis."""
    full, averaged = facts.full_scores().value, facts.averaged_scores().value
    binaries = {machine: fact.value for machine, fact in facts.binary_scores().items()}
    tables = {"full": full, "LoRA": facts.lora_scores().value} | binaries
    rows = [(table, name, *row) for table, of in tables.items() for name, row in of.items()]
    impossible = [
        (table, name)
        for table, name, p, r, f in rows
        if f1(high(p), high(r)) < low(f) or f1(low(p), low(r)) > high(f)
    ]
    mixes, texts = {}, facts.texts().value
    for machine, of in binaries.items():
        (P, R, _), (_, M, _) = of[facts.HUMAN], of[machine]
        mixes[machine] = mix(high(P), low(R), low(M)), mix(low(P), high(R), high(M))
    corpus = {name: Fraction(n, texts[facts.HUMAN]) for name, n in texts.items()}
    strange = [name for name, (a, b) in mixes.items() if not a <= corpus[name] <= b]
    human = min(high(of[facts.HUMAN].recall) for of in binaries.values())
    macro = (sum(high(of[machine].recall) for machine, of in binaries.items()) + human) / 4
    grown = {name for name in full if averaged[name].precision > full[name].precision}
    seconds = sum(fact.value for fact in facts.binary_seconds().values())
    return {
        "one F1 of 14 does not follow: table 8, human": len(rows) == 14
        and impossible == [("chatGPT", "human")],
        "table 9 alone is of another mix than the corpus": strange == ["cohere"],
        "cohere / human is 1.048 to 1.064 in it, 0.945 in the corpus": [
            round(1000 * x) for x in (*mixes["cohere"], corpus["cohere"])
        ]
        == [1048, 1064, 945],
        "any such rule's macro recall is below that of full fine-tuning": macro
        < sum(low(row.recall) for row in full.values()) / 4,
        "which is at most 0.8945": macro == Fraction(8945, 10000),
        "three binaries, 4849.8 s, take longer than full, 4041.3 s": seconds
        > facts.seconds().value.full,
        "'precision grew' for all but human: not for chatGPT": grown == {"cohere", "davinci"},
        "'quality grew': every F1 fell": all(high(averaged[c].f1) < low(full[c].f1) for c in full),
    }


def lecture(trained: dict[str, int]) -> dict[str, bool]:
    """The lecture's counts against these, at the width of 1024."""
    printed = {name: fact.value for name, fact in facts.lecture_methods().items()}
    total = facts.lecture_size().value[0]

    def follows(name: str, count: int) -> tuple[bool, bool]:
        share = Fraction(100 * count, total)
        count_fits = facts.rounds_to(count, printed[name].parameters)
        return count_fits, facts.rounds_to(share, printed[name].percent)

    gains = trained["norms"] // 2
    return {
        "adapters and LoRA follow": {follows(n, trained[n]) for n in ("adapters", "LoRA")}
        == {(True, True)},
        "adapters do with the norms too": follows("adapters", trained["adapters"] + 2 * gains)
        == (True, True),
        "the prompt's share follows, its count does not": follows(
            "prompt tuning", trained["prompt tuning"]
        )
        == (False, True),
        "its count is that of width 768, of which the share is not": follows(
            "prompt tuning", 20 * 768
        )
        == (True, False),
        "neither number of BitFit follows": follows("BitFit", trained["BitFit"]) == (False, False),
        "both are those of biases and gains": follows("BitFit", trained["BitFit"] + gains)
        == (True, True),
    }


def speed_ups(full: int, lora: int, limit: Fraction) -> dict[str, bool]:
    """Published ratios; a 512-token text's operations, and the bound on DistilRoBERTa."""
    shape = facts.distilroberta().value
    count = Limit(first_token=False, lowest_inputs=True, merged=False)
    counted = [training_flops(shape, method, [512], limit=count) for method in (Full(), LoRA(5))]
    seconds, minutes = facts.seconds().value, facts.watson_minutes().value
    slow, fast = facts.bounds(minutes.full), facts.bounds(minutes.lora)
    hours = [
        [cards * h for h in facts.bounds(printed)]
        for cards, printed in facts.gpu_hours().value.values()
    ]
    return {
        "the project's counter agrees": counted == [full, lora],
        "DistilRoBERTa, every map, 512 tokens: below 1.455": round(1000 * limit) == 1455,
        "the thesis' speed-up is possible": 1
        < Fraction(seconds.full) / Fraction(seconds.lora)
        < limit,
        "multilingual inference's is not": Fraction(3, 2) * fast[1] < slow[0],
        "nor is it the 8 it is called": slow[1] / fast[0]
        < facts.bounds(Decimal(facts.watson_time_ratio().value))[0],
        "nor are the card hours of P-tuning, with or without bias": all(
            Fraction(3, 2) * most < hours[0][0] for _, most in hours[1:]
        ),
    }


def memory() -> dict[str, bool]:
    """12.8 GB and 3.2 GB, of multilingual inference, if activations quarter."""
    shape, printed = facts.mbert().value, facts.watson_memory().value
    adapters = LoRA(facts.watson_rank().value, targets=("query", "value")).added_parameters(shape)
    weights = Fraction(shape.body_parameters, 10**9)
    activations = Fraction(printed.full) - 16 * weights
    modelled = 4 * weights + Fraction(16 * adapters, 10**9) + activations / 4
    return {
        "half precision, half batch and frozen weights give the 3.2 GB": facts.rounds_to(
            modelled, printed.lora
        ),
        "of 9.6 GB saved 2.1 are frozen weights'": (
            printed.full - printed.lora == Decimal("9.6") and round(120 * weights) == 21
        ),
    }
