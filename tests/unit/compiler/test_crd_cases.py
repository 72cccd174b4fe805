"""The reader of files says of an object what an API server with our CRDs says (`tests/cluster/test_crds.py`)."""

import pytest
from headgate.compiler.conditions import Severity
from headgate.compiler.reading import read_object
from headgate.compiler.resources.metadata import NOWHERE
from support.crd_cases import READ, UNREAD, Case

NOT_IMPLEMENTED = ("not supported, and not safe to ignore", "is not supported yet")
"""What the reader refuses although it is right: it would have to do something that it does not do."""


@pytest.mark.parametrize("case", READ, ids=lambda case: case.name)
def test_files_are_held_to_the_same_rules(case: Case) -> None:
    reading = read_object(case.object("default"), NOWHERE)
    errors = [each.message for each in reading.diagnostics if each.severity is Severity.ERROR]
    if any(part in error for error in errors for part in NOT_IMPLEMENTED):
        assert reading.resource is None
        return
    if case.refused:
        said = (case.reader or case.refused).casefold()
        assert any(said in error.casefold() for error in errors), errors
    else:
        assert not errors


@pytest.mark.parametrize("case", [case for case in UNREAD if not case.refused], ids=lambda case: case.name)
def test_what_is_not_read_is_told(case: Case) -> None:
    reading = read_object(case.object("default"), NOWHERE)
    assert [each for each in reading.diagnostics if "not supported" in each.message]
    assert all(each.severity is Severity.WARNING for each in reading.diagnostics)
