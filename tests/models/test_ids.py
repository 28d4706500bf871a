"""Primary keys carry their time: order, and bounds that are exact to the millisecond."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models import ids

MILLISECOND = timedelta(milliseconds=1)
CALLS = 1 << ids.CALL_BITS
LAST = ids.EPOCH + ((1 << 41) - 1) * MILLISECOND  # in 2093

offsets = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
# Any moment a client can write, and those next to the limits of the keys.
moments = st.one_of(
    st.datetimes(timezones=offsets),
    st.builds(
        lambda limit, away: limit + timedelta(microseconds=away),
        st.sampled_from([ids.EPOCH, LAST]),
        st.integers(-2000, 2000),
    ),
)
# One millisecond less than keys could hold: the very last key is the one that bounds after the end are cut to.
times = st.one_of(
    st.integers(0, (1 << 41) - 2).map(lambda milliseconds: ids.EPOCH + milliseconds * MILLISECOND),
    st.integers(0, 3).map(lambda milliseconds: ids.EPOCH + milliseconds * MILLISECOND),
)
calls = st.integers(0, (1 << 63) - 1)
rows = st.integers(0, ids.MAX_ROWS_PER_CALL - 1)


def key_of(time: datetime, call: int, row: int) -> int:
    return ids.keys(time, call, row + 1)[row]


def near(time: datetime) -> st.SearchStrategy[datetime]:
    return st.integers(-2000, 2000).map(lambda away: time + timedelta(microseconds=away))


@given(times, calls, st.integers(0, ids.MAX_ROWS_PER_CALL))
def test_keys_ascend_and_say_when_they_were_made(time: datetime, call: int, count: int) -> None:
    keys = list(ids.keys(time, call, count))
    assert len(keys) == count
    assert keys == sorted(set(keys))
    assert {ids.created_at(key) for key in keys} <= {time}


@given(calls, rows)
def test_keys_of_the_first_and_the_last_moment_fit_63_bits(call: int, row: int) -> None:
    assert 0 <= key_of(ids.EPOCH, call, row) < key_of(LAST, call, row) <= ids.LARGEST < 1 << 63


def test_largest_key_is_the_last_row_of_the_last_call_of_the_last_moment() -> None:
    assert key_of(LAST, CALLS - 1, ids.MAX_ROWS_PER_CALL - 1) == ids.LARGEST


@given(times, st.integers(0, 999), calls, rows)
def test_time_within_the_millisecond_is_dropped(time: datetime, microseconds: int, call: int, row: int) -> None:
    assert key_of(time + timedelta(microseconds=microseconds), call, row) == key_of(time, call, row)


@given(times, calls, rows, calls, rows, st.data())
def test_later_rows_have_larger_keys(
    time: datetime, call: int, row: int, other_call: int, other_row: int, data: st.DataObject
) -> None:
    later = data.draw(st.one_of(st.just(time + MILLISECOND), times.filter(lambda other: other > time)))
    assert key_of(time, call, row) < key_of(later, other_call, other_row)


@given(times, calls, st.integers(1, CALLS - 1), rows, rows)
def test_calls_of_one_millisecond_share_no_key_until_256_have_begun(
    time: datetime, call: int, apart: int, row: int, other_row: int
) -> None:
    assert key_of(time, call, row) != key_of(time, call + apart, other_row)
    assert key_of(time, call, row) == key_of(time, call + CALLS, row)


@given(times, calls, rows, st.data())
def test_rows_made_after_a_moment_are_those_from_its_bound(
    time: datetime, call: int, row: int, data: st.DataObject
) -> None:
    moment = data.draw(st.one_of(moments, near(time)))
    assert (key_of(time, call, row) >= ids.first_key_after(moment)) == (time > moment)


@given(times, calls, rows, st.data())
def test_rows_made_before_a_moment_are_those_below_its_bound(
    time: datetime, call: int, row: int, data: st.DataObject
) -> None:
    moment = data.draw(st.one_of(moments, near(time)))
    assert (key_of(time, call, row) < ids.first_key_from(moment)) == (time < moment)


@given(moments)
def test_bounds_of_any_moment_are_possible_keys(moment: datetime) -> None:
    assert 0 <= ids.first_key_from(moment) <= ids.first_key_after(moment) <= ids.LARGEST


def test_bounds_of_the_first_and_last_moments_there_are_do_not_overflow() -> None:
    for offset in (timedelta(hours=14), timedelta(0), timedelta(hours=-14)):
        assert ids.first_key_after(datetime.min.replace(tzinfo=timezone(offset))) == 0
        assert ids.first_key_from(datetime.max.replace(tzinfo=timezone(offset))) == ids.LARGEST


def test_more_rows_than_one_call_has_keys_for_are_refused() -> None:
    now = datetime(2026, 7, 1, tzinfo=UTC)
    assert len(ids.keys(now, 0, ids.MAX_ROWS_PER_CALL)) == ids.MAX_ROWS_PER_CALL
    with pytest.raises(ValueError, match="at most 16384 rows, not 16385"):
        ids.keys(now, 0, ids.MAX_ROWS_PER_CALL + 1)
