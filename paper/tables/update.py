"""The structure of an update, as formulas: full fine-tuning beside LoRA."""

from dataclasses import dataclass

from paper.table import Body, Math, OfThesis, Records
from paper.words import Text


@dataclass(frozen=True, kw_only=True)
class Update(OfThesis):
    """The three lines of the thesis; they hold for every W, A and B of fitting shapes."""

    def body(self, records: Records) -> Body:
        """The weights after the update, and the output written in two ways."""
        rows = tuple((Math(a), Math(b)) for a, b in FORMULAS)
        return Body(
            header=("Fine tuning", "LoRA fine tuning"),
            groups=(rows,),
            notes=(NOTE.say(records.lang),),
        )


FORMULAS = (
    (r"W_{upd} = W + \Delta W", "W_{upd} = W + AB"),
    (r"\hat{y} = xW_{upd} = x(W + \Delta W)", r"\hat{y} = xW_{upd} = x(W + AB)"),
    (r"\hat{y} = xW + x\Delta W", r"\hat{y} = xW + xAB"),
)
NOTE = Text(
    "Published and here the same; in practice AB is scaled by alpha / r.",
    "В работе и здесь одинаково; на практике AB умножается на alpha / r.",
)
TABLES = (
    Update(
        id="1",
        title=Text(
            "Structure of the weight update with a LoRA adapter",
            "Структура обновления весов при использовании LoRA адаптера",
        ),
    ),
)
