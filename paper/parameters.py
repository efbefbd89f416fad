"""How many parameters LoRA trains: the published line, what it follows from, and our runs."""

from collections.abc import Sequence

from lowrank_da.backbone import DISTILROBERTA
from lowrank_da.methods.lora import LoRA
from paper.published import published
from paper.table import MISSING, Records, thousands
from paper.words import Text

THESIS_LORA = LoRA(rank=5, targets=("query", "value"))
"""The only rank on query and value in every layer whose counts are the published ones."""

PUBLISHED = Text(
    "Parameters, published: {trained} trained of {total} ({percent} %).",
    "Параметры, в работе: обучаются {trained} из {total} ({percent} %).",
)
PEFT = Text(
    "From the configuration of {backbone}, rank {rank} on query and value, in peft's accounting"
    " (the head counted twice, as frozen original and trained copy): {trained} of {total}"
    " ({percent} %).",
    "По конфигурации {backbone}, ранг {rank} на query и value, как считает peft (голова учтена"
    " дважды: замороженная и обучаемая копии): {trained} из {total} ({percent} %).",
)
OURS = Text(
    "The same with the head counted once: {trained} of {total} ({percent} %); total = body {body}"
    " + head {head} + adapter {adapter}.",
    "То же, голова учтена один раз: {trained} из {total} ({percent} %); всего = тело {body}"
    " + голова {head} + адаптер {adapter}.",
)
RUN = Text(
    "{name} here: {trained} trained of {total} ({percent} %): head {head}, adapter {adapter}"
    " ({adapter_percent} % of the total).",
    "{name} здесь: обучаются {trained} из {total} ({percent} %): голова {head}, адаптер {adapter}"
    " ({adapter_percent} % от всех).",
)
NO_RUN = Text("{name} here: {missing}.", "{name} здесь: {missing}.")


def parameter_notes(records: Records, names: Sequence[str]) -> list[str]:
    """One sentence for each way of counting, and one for each of our runs."""
    lang = records.lang
    line = published()["thesis"]["lora_parameters"]
    head = DISTILROBERTA.head_parameters(len(published()["thesis"]["classes"]))
    adapter, body = THESIS_LORA.added_parameters(DISTILROBERTA), DISTILROBERTA.body_parameters
    notes = [
        PUBLISHED.say(
            lang,
            trained=thousands(line["trainable"]),
            total=thousands(line["all"]),
            percent=line["percent"],
        ),
        PEFT.say(
            lang,
            backbone=DISTILROBERTA.name,
            rank=THESIS_LORA.rank,
            **_share(adapter + head, body + 2 * head + adapter),
        ),
        OURS.say(
            lang,
            body=thousands(body),
            head=thousands(head),
            adapter=thousands(adapter),
            **_share(adapter + head, body + head + adapter),
        ),
    ]
    return notes + [_of_run(records, name) for name in names]


def _share(trained: int, total: int) -> dict[str, str]:
    percent = f"{100 * trained / total:.4f}"
    return {"trained": thousands(trained), "total": thousands(total), "percent": percent}


def _of_run(records: Records, name: str) -> str:
    runs = records.get(name)
    if not runs:
        return NO_RUN.say(records.lang, name=name, missing=MISSING)
    p = runs[0].result["parameters"]
    total = p["backbone"] + p["head"] + p["adapter"]
    return RUN.say(
        records.lang,
        name=name,
        head=thousands(p["head"]),
        adapter=thousands(p["adapter"]),
        adapter_percent=f"{100 * p['adapter'] / total:.2f}",
        **_share(p["trained"], total),
    )
