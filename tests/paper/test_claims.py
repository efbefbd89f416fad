"""The paper says of a claim what the proofs show, and no more."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from paper import claims
from proofs.__main__ import load
from proofs.claim import Scope, Step, Verdict, verify

C03, C14 = verify(load("c03_rank")), verify(load("c14_no_label"))
SHAKY = verify(replace(C14.claim, prove=lambda: [Step("cases", Scope.SAMPLED, True)]))
VERDICTS: Mapping[str, Verdict] = {"C03": C03, "C14": C14, "C15": SHAKY}
PAPER = Path(claims.__file__).parent


def faults(text: str) -> list[str]:
    return list(claims.faults(text, VERDICTS))


def test_a_claim_without_reservations_may_be_called_proved() -> None:
    assert C03.claim.cited
    assert not C14.claim.cited
    assert faults(r"That is proved in \claim{C14}, see \claim{C03}. It is.") == [
        r"C03 is proved with reservations, which \claim prints:"
        r" That is proved in \claim{C14}, see \claim{C03}."
    ]
    assert faults(r"That is proved in \claim{C14}. See \claim{C03}.") == []
    assert faults(r"Это доказано, см. \claim{C14}.") == []


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (r"See \claim{C99}.", "there is no claim 'C99': See"),
        (r"See \claim{}.", "there is no claim ''"),
        (r"See \claim{C15}.", "C15 does not hold: See"),
        (r"\claim{C03} proves it.", "C03 is proved with reservations"),
        ("Доказано в\n\\claim{C03}.", "C03 is proved with reservations"),
        (r"This is proved, cf. \claim{C03}.", "C03 is proved with reservations"),
        ("It is proved\n% a note\nin \\claim{C03}.", "C03 is proved with reservations"),
        (r"\claim{C03} & proved \\ \addlinespace", "C03 is proved with reservations"),
        (r"proved\\ in \claim{C03}", "C03 is proved with reservations"),
        (r"\claim {C03} is proved", "C03 is proved with reservations"),
        (r"We prove this in \claim{ C03 }.", "C03 is proved with reservations"),
        (r"Мы доказали это, см. \claim{C03}.", "C03 is proved with reservations"),
        ("We have proved it.", "no claim is named"),
        ("Доказаны две теоремы.", "no claim is named"),
        (r"It is Proven without 1\% of doubt: \claim{C03}", "C03 is proved with reservations"),
    ],
)
def test_what_is_not_shown_is_found(text: str, fault: str) -> None:
    (found,) = faults(text)
    assert found.startswith(fault)


def test_comments_are_not_read() -> None:
    assert faults("% \\claim{C99}\nWell.") == []


def test_quoted_words_are_not_ours() -> None:
    assert faults("It ``was proved'' there, and <<доказано>>.") == []


def test_a_row_of_a_table_is_a_sentence() -> None:
    assert faults(r"``it is proved'' & \claim{C03} \\ \addlinespace \claim{C14} & proved") == []


def test_our_own_texts_say_no_more_than_if_all_steps_held() -> None:
    """Whether they do is verified by `python -m paper.claims`."""
    held = (Step("taken for true", Scope.SYMBOLIC, True),)
    verdicts = {id: Verdict(load(name), held, ()) for id, name in claims.files().items()}
    there = claims.texts(PAPER)
    assert PAPER / "theory.tex" in there
    for path in there:
        assert list(claims.faults(path.read_text(), verdicts)) == []


def test_a_text_that_claims_too_much_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(claims, "files", lambda: {"C03": "c03_rank"})
    text = tmp_path / "theory.tex"
    text.write_text(r"See \claim{C03}.")
    assert claims.main(tmp_path) == 0
    assert r"\def\csname claimC03" in (tmp_path / "generated" / "claims.tex").read_text()
    text.write_text(r"See \claim{C03} and \claim{C04}.")
    assert claims.main(tmp_path) == 1
    assert "theory.tex: there is no claim 'C04'" in capsys.readouterr().err
