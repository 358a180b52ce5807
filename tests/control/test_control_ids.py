import pytest
from control_fakes import Clock
from hypothesis import given
from hypothesis import strategies as st

from tools.control.errors import Code, ControlError
from tools.control.ids import IdPool


def test_lowest_free_first_and_reuse_only_when_idle():
    clock, busy = Clock(), {1}
    pool = IdPool("things", 4, clock, idle=lambda number: number not in busy)
    assert [pool.acquire(name) for name in "abc"] == [0, 1, 2]
    pool.release("a", 0)
    pool.release("b", 1)
    clock.now += 2
    pool.reap()
    assert pool.retired == 1
    assert pool.acquire("d") == 0
    busy.clear()
    pool.reap()
    assert pool.acquire("e") == 1


def test_grace_keeps_an_idle_id_from_reuse():
    clock = Clock()
    pool = IdPool("things", 1, clock, grace=1.0)
    assert pool.acquire("a") == 0
    pool.release("a", 0)
    with pytest.raises(ControlError) as caught:
        pool.acquire("b")
    assert caught.value.code is Code.RESOURCE
    assert "all 1 things are in use, 1 of them removed" in caught.value.detail
    clock.now += 1.0
    assert pool.acquire("b") == 0


def test_the_same_key_comes_back_to_its_id():
    pool = IdPool("things", 4, Clock(), idle=lambda _: False)
    pool.acquire("a")
    assert pool.acquire("b") == 1
    pool.release("a", 0)
    pool.release("b", 1)
    assert pool.acquire("b") == 1
    assert pool.acquire("a") == 0


@given(st.lists(st.tuples(st.integers(0, 9), st.booleans())))
def test_no_id_has_two_owners(steps):
    clock = Clock()
    pool = IdPool("things", 6, clock, idle=lambda number: number % 2 == 0, grace=0.0)
    owned: dict[int, int] = {}
    for key, reap in steps:
        if key in owned:
            pool.release(key, owned.pop(key))
        else:
            try:
                owned[key] = pool.acquire(key)
            except ControlError:
                assert len(owned) + pool.retired == 6
        if reap:
            pool.reap()
        assert len(set(owned.values())) == len(owned)
        assert len(owned) + pool.retired + pool.free == 6
