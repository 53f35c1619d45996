"""Time: one source, one text form that sorts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallygate.clock import (
    OFFSET_WIDTH,
    FixedClock,
    OffsetFileClock,
    SystemClock,
    clock_from,
    parse_rfc3339,
    rfc3339,
    write_offset,
)

offsets = st.integers(-23 * 60, 23 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
moments = st.datetimes(min_value=datetime(1000, 1, 3), max_value=datetime(9999, 12, 28), timezones=offsets)  # noqa: DTZ001 - hypothesis wants them naive


@given(moments)
def test_a_moment_survives_its_text(moment: datetime) -> None:
    assert parse_rfc3339(rfc3339(moment)) == moment


@given(moments, moments)
def test_texts_sort_as_moments_do(one: datetime, other: datetime) -> None:
    assert (rfc3339(one) < rfc3339(other)) == (one < other)


@given(moments)
def test_a_text_is_in_utc_with_microseconds(moment: datetime) -> None:
    text = rfc3339(moment)

    assert len(text) == len("2026-01-01T00:00:00.000000Z")
    assert text.endswith("Z")
    assert parse_rfc3339(text).tzinfo is UTC


@pytest.mark.parametrize("text", ["2026-01-01T00:00:00", "2026-01-01", "now", ""])
def test_a_text_without_offset_is_no_moment(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - any ValueError is the promise
        parse_rfc3339(text)


def test_a_fixed_clock_moves_only_when_told() -> None:
    clock = FixedClock(datetime(2026, 1, 1, tzinfo=UTC))
    clock.advance(hours=1, seconds=0.5)

    assert clock.now() == clock.now() == datetime(2026, 1, 1, 1, 0, 0, 500000, tzinfo=UTC)


@pytest.mark.parametrize("offset", [timedelta(days=400), timedelta(0), timedelta(microseconds=-1)])
def test_all_readers_of_an_offset_file_see_a_change_at_once(tmp_path: Path, offset: timedelta) -> None:
    path = tmp_path / "clock"
    write_offset(path, timedelta(days=-9999))
    clocks = [OffsetFileClock(path), clock_from(f"file:{path}")]

    write_offset(path, offset)

    for clock in clocks:
        assert abs(clock.now() - datetime.now(UTC) - offset) < timedelta(seconds=30)


def test_an_offset_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "clock"
    write_offset(path, timedelta(days=99999))
    write_offset(path, timedelta(microseconds=5))

    assert path.read_text() == "5".rjust(OFFSET_WIDTH)


def test_the_system_clock_is_in_utc() -> None:
    assert isinstance(clock_from("system"), SystemClock)
    assert clock_from("system").now().tzinfo is UTC


@pytest.mark.parametrize("setting", ["", "file:", "ntp:x"])
def test_another_setting_is_refused_with_what_to_write(setting: str) -> None:
    with pytest.raises(ValueError, match="must be 'system' or 'file:<path>'"):
        clock_from(setting)
