"""The arms of the study that classify all classes, in the order in which tables show them."""

from paper.table import SettingFacts

ALL_CLASSES = ("full", "lora_published", "lora", "binaries_average", "binaries_coupled", "tfidf")


def every_arm(facts: SettingFacts) -> tuple[str, ...]:
    """The classifiers of all classes, then the binaries."""
    return ALL_CLASSES + facts.binaries
