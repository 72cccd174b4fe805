"""The vendors that a policy may name are those that the translation knows."""

from typing import get_args

from headgate.compiler.resources.headgate import TranslationBackend
from headgate.llm.vendors import VENDORS


def test_a_policy_names_every_vendor() -> None:
    declared = get_args(TranslationBackend.__annotations__["vendor"])

    assert set(declared) == {"Auto", *(vendor.name for vendor in VENDORS)}
