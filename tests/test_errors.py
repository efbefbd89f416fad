"""errors.py: one line that names the nearest thing."""

from lowrank_da.errors import UserError, unknown


def test_the_nearest_name_is_suggested_and_all_are_listed() -> None:
    error = unknown("corpus", "outfix", iter(["semeval", "outfox"]))
    assert isinstance(error, UserError)
    assert str(error) == (
        "unknown corpus 'outfix'; did you mean 'outfox'? (known: outfox, semeval)"
    )


def test_nothing_is_suggested_when_nothing_is_near() -> None:
    assert str(unknown("corpus", "zzz", ["outfox"])) == "unknown corpus 'zzz' (known: outfox)"
    assert str(unknown("method", "lora", [])) == "unknown method 'lora' (known: none)"
