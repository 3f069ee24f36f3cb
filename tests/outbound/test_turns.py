"""How deliveries to one endpoint take turns."""

from payonce.outbound.turns import AT_ONCE, AT_ONCE_FAILING, TURN_MAX_US, Turns

S = 1_000_000


def test_an_endpoint_has_so_many_places() -> None:
    """More while it works than while it fails; others have their own."""
    turns = Turns(100)
    assert [turns.enter("a", "m", failing=False) for _ in range(AT_ONCE + 1)] == [True] * AT_ONCE + [False]
    assert [turns.enter("b", "m", failing=True) for _ in range(AT_ONCE_FAILING + 1)] == [True] * AT_ONCE_FAILING + [False]
    turns.leave("a", "m", S, 0)
    assert turns.enter("a", "m", failing=False)


def test_turns_follow_each_other_at_the_endpoints_pace() -> None:
    """Denser for a fast one; never further off than a look that is worth it, however many ask."""
    turns = Turns(100)
    for _ in range(2):
        turns.enter("slow", "m", failing=False)
    turns.leave("slow", "m", 16 * S, 0)
    given = [turns.turn_us("slow", "m", 0, failing=False) for _ in range(1000)]
    assert given[:3] == [2 * S, 4 * S, 6 * S]
    assert max(given) <= TURN_MAX_US
    assert turns.turn_us("slow", "m", 10 * TURN_MAX_US, failing=False) > 10 * TURN_MAX_US
    fast = [turns.turn_us("fast", "m", 0, failing=True) for _ in range(3)]
    assert fast == sorted(set(fast))


def test_what_is_idle_is_forgotten() -> None:
    """A merchant's endpoints come and go; a process does not grow with them."""
    turns = Turns(100)
    for n in range(100):
        turns.enter(str(n), "m", failing=False)
        turns.turn_us(str(n), "m", 0, failing=False)
        turns.leave(str(n), "m", S, 10 * S)
    assert (turns._flying, turns._lasts_us, turns._last_us) == ({}, {}, {})


def test_a_merchant_has_so_many_places_over_all_endpoints() -> None:
    """Whatever the number of its endpoints; another merchant's are left alone, and turns are spread."""
    turns = Turns(8)
    assert sum(turns.enter(str(n), "hostile", failing=False) for n in range(100)) == 8
    assert turns.enter("other", "m", failing=False)
    given = [turns.turn_us(str(n), "hostile", 0, failing=False) for n in range(100)]
    assert given == sorted(set(given))
    turns.leave("0", "hostile", S, 0)
    assert turns.enter("50", "hostile", failing=False)
