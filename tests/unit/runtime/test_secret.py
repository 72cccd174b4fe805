import copy
import pickle

import msgspec
import pytest
from headgate.contract.secret import Secret


def test_prints_as_redacted_everywhere() -> None:
    secret = Secret("sk-1")
    assert f"{secret} {secret!s} {secret!r} {secret:>5}" == " ".join(["[redacted]"] * 4)
    assert repr((secret,)) == "([redacted],)"


def test_is_refused_by_encoders() -> None:
    with pytest.raises(TypeError):
        msgspec.json.encode({"key": Secret("sk-1")})
    with pytest.raises(TypeError):
        pickle.dumps(Secret("sk-1"))


def test_compares_by_value() -> None:
    assert Secret("a") == Secret("a") != Secret("b")
    assert len({Secret("a"), Secret("a")}) == 1
    assert copy.deepcopy(Secret("a")).reveal() == "a"
    assert not Secret("")
