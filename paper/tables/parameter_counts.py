"""Parameters by formula: a lecture's counts beside ours, and those of every method there is.

A method's closed form and a backbone's facts suffice: nothing is trained, no weights are built. The
tables belong to a study that compares methods; one of LoRA with full fine-tuning needs neither.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from decimal import Decimal
from typing import Any

from lowrank_da import discover, methods
from lowrank_da.backbone import DISTILROBERTA, MINILM, Backbone
from lowrank_da.method import Method, method
from lowrank_da.methods.adapter import Adapter
from lowrank_da.methods.bitfit import BitFit
from lowrank_da.methods.lora import LoRA
from lowrank_da.methods.prompt import Prompt
from paper.published import published
from paper.table import Body, Built, Math, Records, Row, Runs, SettingFacts, Table, thousands
from paper.words import Text

METHOD = Text("method", "метод")
COUNTED = Text(
    "Counted by formula: the same for every corpus and seed.",
    "По формулам: одинаково для всех корпусов и начальных чисел.",
)


@dataclass(frozen=True, kw_only=True)
class Counted(Table):
    """A table without runs."""

    def applies(self, runs: Runs) -> bool:
        """Only where a method beside full fine-tuning and LoRA was trained."""
        every = (run.experiment.get("method") for seeds in runs.values() for run in seeds)
        return any(how and how["is"] not in ("full", "lora") for how in every)

    def build(self, runs: Runs, facts: SettingFacts, lang: str) -> Built:
        """The finished table; its caption names no corpus, for none is read."""
        caption = f"{self.title.say(lang)}. {COUNTED.say(lang)}"
        return replace(super().build(runs, facts, lang), caption=caption)


def _percent(count: int, total: int | Decimal) -> Decimal:
    return 100 * Decimal(count) / Decimal(total)


# --- The lecture's table ----------------------------------------------------------------------

LECTURE = Backbone(
    name="lecture",
    family="roberta",
    layers=24,
    width=1024,
    heads=16,
    ffn=4096,
    vocab=50265,
    positions=514,
    type_vocab=1,
    pooling="first",
    random=True,
)
"""The facts of RoBERTa-large, for what the lecture calls 350M parameters in 24 layers.

A layer with an FFN of 4d has `12 d^2 + 13 d` parameters. Among the widths that heads of 64 allow,
24 of them and a usual vocabulary come nearest to 350M at d = 1024, and from no other width do the
lecture's counts of LoRA and of adapters follow.
"""


@dataclass(frozen=True)
class Line:
    """Our side of a row of the lecture."""

    method: Callable[[Mapping[str, Any]], Method]
    """From the published row, which holds the method's size."""
    formula: Math
    """How much trains: L layers, width d, FFN f, p tokens, bottleneck m, rank r."""


LINES = {
    "prompt tuning": Line(lambda row: Prompt(tokens=row["length"]), Math("pd")),
    "adapters": Line(lambda row: Adapter(bottleneck=row["width"]), Math("2L(2dm + m + d) + 4Ld")),
    "LoRA": Line(lambda row: LoRA(rank=row["rank"], targets=("query", "value")), Math("4Ldr")),
    "BitFit": Line(lambda row: BitFit(), Math("L(7d + f)")),
}
"""By the name that the published row has."""

LECTURE_HEADER = (
    METHOD,
    Text("what trains", "что обучается"),
    Text("parameters, lecture", "параметров, в лекции"),
    Text("parameters", "параметров"),
    Text("of them new", "из них новых"),
    Text("follows?", "следует?"),
    Text("share, lecture, %", "доля, в лекции, %"),
    Text("share, %", "доля, %"),
    Text("follows?", "следует?"),
)
YES = Text("yes", "да")
NO = Text("no", "нет")
THOUSANDS = Text("{number}K", "{number} тыс.")
MILLIONS = Text("{number}M", "{number} млн")
MEANT = Text(
    "L = {layers}, d = {width}, f = {ffn}, as in RoBERTa-large, which has {body} parameters without"
    " pooler and head. Heads are not counted; LoRA adapts query and value; with adapters the norms"
    " train (4Ld). Shares are of the lecture's {total}. A number of the lecture follows when ours"
    " rounds to it.",
    "L = {layers}, d = {width}, f = {ffn}, как у RoBERTa-large, где {body} параметров без пулера и"
    " головы. Головы не учтены; LoRA на query и value; вместе с адаптерами обучаются нормализации"
    " (4Ld). Доли взяты от {total} из лекции. Число лекции следует, если наше округляется до него.",
)
WHY_PROMPT = Text(
    "Prompt tuning: the lecture's count is that of a base model's width, {tokens} x {width} ="
    " {count}; its share is that of width {own}.",
    "Prompt tuning: число в лекции отвечает ширине базовой модели, {tokens} x {width} = {count};"
    " доля отвечает ширине {own}.",
)
WHY_BITFIT = Text(
    "BitFit: by the lecture's equations biases alone train. With the gains of the norms as well,"
    " 13Ld, it would be {count} ({percent} %), and both of the lecture's numbers would follow.",
    "BitFit: по формулам лекции обучаются только сдвиги. Вместе с множителями нормализаций, 13Ld,"
    " было бы {count} ({percent} %), и оба числа лекции следовали бы.",
)


@dataclass(frozen=True, kw_only=True)
class LectureCounts(Counted):
    """The lecture's four methods, on the model that it means."""

    def body(self, records: Records) -> Body:
        """A row a method; below, why some of the lecture's numbers do not follow."""
        lang = records.lang
        meant = MEANT.say(
            lang,
            layers=LECTURE.layers,
            width=LECTURE.width,
            ffn=LECTURE.ffn,
            body=thousands(LECTURE.body_parameters),
            total=_printed(published()["lecture"]["model"]["parameters"], lang),
        )
        header = tuple(column.say(lang) for column in LECTURE_HEADER)
        rows = tuple(_lecture_row(row, lang) for row in published()["lecture"]["methods"])
        return Body(header, (rows,), (meant, *explanations(lang).values()))


def lecture_method(row: Mapping[str, Any]) -> Method:
    """Ours for a row of `lecture.methods`."""
    return LINES[row["method"]].method(row)


def lecture_share(count: int) -> Decimal:
    """Percent of the size that the lecture names."""
    return _percent(count, published()["lecture"]["model"]["parameters"])


def follows(printed: Decimal | int, exact: Decimal | int) -> bool:
    """Whether `exact` rounds to what is printed, at the digits printed."""
    return Decimal(exact).quantize(Decimal(printed)) == printed


def explanations(lang: str) -> dict[str, str]:
    """Why a number does not follow, by row of the lecture."""
    rows = {row["method"]: row for row in published()["lecture"]["methods"]}
    at_base_width = lecture_method(rows["prompt tuning"]).added_parameters(DISTILROBERTA)
    gains = LECTURE.norm_parameters // 2
    biases_and_gains = lecture_method(rows["BitFit"]).trained_parameters(LECTURE) + gains
    return {
        "prompt tuning": WHY_PROMPT.say(
            lang,
            tokens=rows["prompt tuning"]["length"],
            width=DISTILROBERTA.width,
            count=thousands(at_base_width),
            own=LECTURE.width,
        ),
        "BitFit": WHY_BITFIT.say(
            lang,
            count=thousands(biases_and_gains),
            percent=f"{lecture_share(biases_and_gains):.4f}",
        ),
    }


def _lecture_row(row: Mapping[str, Any], lang: str) -> Row:
    how = lecture_method(row)
    trained = how.trained_parameters(LECTURE)
    share = lecture_share(trained)
    sizes = [f"({size} {row[size]})" for size in ("length", "width", "rank") if size in row]
    return (
        " ".join([row["method"], *sizes]),
        LINES[row["method"]].formula,
        _printed(row["parameters"], lang),
        thousands(trained),
        thousands(how.added_parameters(LECTURE)),
        (YES if follows(row["parameters"], trained) else NO).say(lang),
        str(row["percent"]),
        f"{share:.4f}",
        (YES if follows(row["percent"], share) else NO).say(lang),
    )


def _printed(count: Decimal, lang: str) -> str:
    """`15K` or `0.32M`: the digits that the lecture prints."""
    unit, of = (MILLIONS, 10**6) if count >= 10**5 else (THOUSANDS, 10**3)
    return unit.say(lang, number=f"{count / of:f}")


# --- Every method -----------------------------------------------------------------------------

BACKBONES = (DISTILROBERTA, MINILM)
CLASSES = len(published()["thesis"]["classes"])
METHODS_HEADER = (
    Text("backbone", "модель"),
    METHOD,
    Text("new parameters", "новых параметров"),
    Text("trained, without head", "обучается, без головы"),
    Text("share, %", "доля, %"),
    Text("head, {classes} classes", "голова, классов: {classes}"),
    Text("share with head, %", "доля с головой, %"),
)
DEFAULTS = Text(
    "Each method with its default arguments. Shares are of all parameters: body, new ones, head.",
    "Каждый метод со значениями по умолчанию. Доли взяты от всех параметров: тело, новые, голова.",
)


@dataclass(frozen=True, kw_only=True)
class MethodCounts(Counted):
    """Every file of `lowrank_da/methods`, on two backbones."""

    def body(self, records: Records) -> Body:
        """A group a backbone, a row a method, the one that trains least first."""
        every = [method(name)() for name in discover.names(methods.__name__)]
        groups = tuple(
            tuple(
                _method_row(how, backbone)
                for how in sorted(every, key=lambda how: how.trained_parameters(backbone))
            )
            for backbone in BACKBONES
        )
        header = tuple(column.say(records.lang, classes=CLASSES) for column in METHODS_HEADER)
        return Body(header, groups, (DEFAULTS.say(records.lang),))


def _method_row(how: Method, backbone: Backbone) -> Row:
    new, trained = how.added_parameters(backbone), how.trained_parameters(backbone)
    head = backbone.head_parameters(CLASSES)
    total = backbone.body_parameters + new + head
    return (
        backbone.name,
        with_sizes(how),
        thousands(new),
        thousands(trained),
        f"{_percent(trained, total):.4f}",
        thousands(head),
        f"{_percent(trained + head, total):.4f}",
    )


def with_sizes(how: Any) -> str:
    """A method's name and its whole numbers: `both (prompt (tokens=20), bitfit)`."""
    said = []
    for field in fields(how):
        value = getattr(how, field.name)
        if isinstance(value, Method):
            said.append(with_sizes(value))
        elif type(value) is int:
            said.append(f"{field.name}={value}")
    return f"{how.name} ({', '.join(said)})" if said else str(how.name)


TABLES = (
    LectureCounts(
        id="lecture_parameters",
        title=Text(
            "Trained parameters of four methods, as a lecture counts them and as they are",
            "Обучаемые параметры четырёх методов: в лекции и на самом деле",
        ),
    ),
    MethodCounts(
        id="method_parameters",
        title=Text("Trained parameters of every method", "Обучаемые параметры всех методов"),
    ),
)
