"""Settings: all problems in one error."""

from __future__ import annotations

import pytest

from tallygate.schemas import ConfigurationError
from tallygate.settings import Environment


def test_values_are_read_and_defaults_taken() -> None:
    environment = Environment({"NAME": "x", "ON": "true", "COUNT": "7", "EMPTY": ""})

    assert environment.text("NAME") == "x"
    assert environment.text("OTHER", default="d") == "d"
    assert environment.text("EMPTY", default="d") == "d"
    assert environment.flag("ON", default=False) is True
    assert environment.flag("OFF", default=False) is False
    assert environment.number("COUNT") == 7
    assert environment.number("NONE", default=3) == 3
    environment.check()


def test_all_problems_come_in_one_error() -> None:
    environment = Environment({"ON": "yes", "COUNT": "many", "SMALL": "0", "LARGE": "11", "PARSED": "x"})

    def refuse(text: str) -> str:
        raise ValueError(f"no {text} please")

    environment.text("NAME")
    environment.flag("ON", default=True)
    environment.number("COUNT")
    environment.number("SMALL", minimum=1)
    environment.number("LARGE", maximum=10)
    environment.parsed("PARSED", refuse, empty="")
    environment.add_problems(["file: is wrong"])

    with pytest.raises(ConfigurationError) as raised:
        environment.check()

    assert raised.value.problems == [
        "NAME: is missing: set it",
        "ON: must be 'true' or 'false', not 'yes'",
        "COUNT: invalid literal for int() with base 10: 'many'",
        "SMALL: must be between 1 and 9007199254740992",
        "LARGE: must be between 0 and 10",
        "PARSED: no x please",
        "file: is wrong",
    ]
    assert str(raised.value) == "\n".join(raised.value.problems)


def test_the_process_s_environment_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TALLYGATE_EXAMPLE", "here")

    assert Environment().text("TALLYGATE_EXAMPLE") == "here"
