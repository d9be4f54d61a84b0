"""What the guard takes for a collapse, what it lets pass, and how long it waits."""

from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.training.guard import (
    CALM_KEPT,
    OVERTAKEN_TIMES,
    PATIENCE,
    WARM_UP,
    WINDOW,
    Guard,
    Head,
    Observation,
    Verdict,
)

HEALTHY_HEAD = Head("picture", critic_loss=-0.5, penalty=0.01, separation=1.0, gap=0.1)
HEALTHY = Observation(
    heads=(HEALTHY_HEAD,),
    generator_loss=0.3,
    wasserstein=0.5,
    spread=0.6,
    slope=0.0,
    distance=40.0,
    diversity=0.9,
    variety=0.8,
)
OF_HEAD = [field.name for field in fields(Head) if field.name != "name"]
OF_ALL = [field.name for field in fields(Observation) if field.name != "heads"]


def but(**changes: float) -> Observation:
    """A healthy observation but for these values, of its only head or of the whole."""
    head = {name: value for name, value in changes.items() if name in OF_HEAD}
    rest = {name: value for name, value in changes.items() if name not in OF_HEAD}
    return replace(HEALTHY, heads=(replace(HEALTHY_HEAD, **head),), **rest)  # type: ignore[arg-type]


def with_heads(*heads: dict[str, float]) -> Observation:
    """One of several heads, each healthy but for these values."""
    changed = (replace(HEALTHY_HEAD, name=f"head{k}", **each) for k, each in enumerate(heads))
    return replace(HEALTHY, heads=tuple(changed))


def warmed_up() -> Guard:
    guard = Guard()
    for _ in range(WARM_UP + 1):
        assert guard.look(HEALTHY) is None
    return guard


def looks(guard: Guard, seen: Observation, count: int) -> list[Verdict | None]:
    return [guard.look(seen) for _ in range(count)]


@pytest.mark.parametrize("name", [*OF_HEAD, *OF_ALL])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_value_that_is_no_number_counts_at_once(name: str, value: float) -> None:
    verdict = Guard().look(but(**{name: value}))
    assert verdict is not None
    assert verdict.sign == "not finite"
    assert name in verdict.explanation


@pytest.mark.parametrize(
    "changes",
    [
        {"penalty": 6.0, "critic_loss": 40.0},
        {"penalty": 6.0, "critic_loss": 0.5},
        {"slope": 31.0},
        {"critic_loss": 20_000.0},
        {"critic_loss": -20_000.0},
    ],
)
def test_an_explosion_counts_at_once(changes: dict[str, float]) -> None:
    guard = Guard()
    guard.look(HEALTHY)
    verdict = guard.look(but(**changes))
    assert verdict is not None
    assert verdict.sign == "exploding"
    assert "in the head" not in verdict.explanation, "it has but one"


def test_a_critic_as_it_was_drawn_may_be_steep() -> None:
    """Narrow networks are, at their first steps."""
    assert Guard().look(but(penalty=6.0, critic_loss=40.0)) is None


def test_a_critic_that_was_drawn_steep_takes_its_time_to_come_down() -> None:
    """Going back to the beginning draws it anew; it is no explosion there either."""
    guard = Guard()
    for _ in range(2):
        for penalty in (20.0, 24.0, 12.0, 6.0):
            assert guard.look(but(penalty=penalty, critic_loss=40.0)) is None
        guard.start_over(0)


def test_a_critic_that_was_drawn_steep_explodes_when_it_grows_from_there() -> None:
    guard = Guard()
    assert guard.look(but(penalty=20.0, critic_loss=40.0)) is None
    verdict = guard.look(but(penalty=41.0, critic_loss=80.0))
    assert verdict is not None
    assert verdict.sign == "exploding"


def test_going_back_to_a_later_step_remembers_that_the_critic_had_come_down() -> None:
    guard = warmed_up()
    guard.start_over(500)
    verdict = guard.look(but(penalty=6.0, critic_loss=40.0))
    assert verdict is not None
    assert verdict.sign == "exploding"


def test_a_steep_critic_that_gains_by_it_is_none() -> None:
    """At 256 px the first fakes are so far from photographs that the penalty's balance lies there."""
    assert Guard().look(but(penalty=17.0, critic_loss=-228.0, wasserstein=397.0)) is None


LASTING = [
    ("diversity", {"diversity": 0.1}),
    ("diversity", {"diversity": 2.0}),
    ("diversity", {"variety": 0.05}),
    ("distance", {"distance": 61.0}),
    ("overfitting", {"gap": 0.95}),
]


@pytest.mark.parametrize(("sign", "changes"), LASTING)
def test_a_sign_that_might_pass_has_to_last(sign: str, changes: dict[str, float]) -> None:
    bad = but(**changes)
    results = looks(warmed_up(), bad, PATIENCE)
    assert results[:-1] == [None] * (PATIENCE - 1)
    assert results[-1] is not None
    assert results[-1].sign == sign


@pytest.mark.parametrize(("sign", "changes"), LASTING)
def test_a_sign_that_passes_is_forgotten(sign: str, changes: dict[str, float]) -> None:
    guard, bad = warmed_up(), but(**changes)
    for _ in range(4):
        assert looks(guard, bad, PATIENCE - 1) == [None] * (PATIENCE - 1)
        assert guard.look(HEALTHY) is None, sign


@pytest.mark.parametrize(
    "changes",
    [{"separation": 0.001}, {"spread": 1e-9}, {"wasserstein": 1e-8}],
)
def test_a_critic_is_dead_when_its_last_looks_tell_nothing_apart(changes: dict[str, float]) -> None:
    guard, bad = warmed_up(), but(**changes)
    verdicts = looks(guard, bad, WINDOW)
    assert any(verdict is not None and verdict.sign == "dead critic" for verdict in verdicts)


def test_critic_and_generator_may_take_turns() -> None:
    """One look below zero between two above, or some near it, as healthy runs have them."""
    guard = warmed_up()
    for separation in (0.4, -0.1, 0.8, 0.3, -0.2, 0.6, 0.4, 0.05, 0.06, -0.04, 0.01, 0.3, 0.9):
        assert guard.look(but(separation=separation)) is None


def test_wide_swings_do_not_hide_a_critic_that_is_overtaken_again_and_again() -> None:
    """As with learning rates ×30: its mean lies well above."""
    guard = warmed_up()
    separations = [1.0, -0.4] * OVERTAKEN_TIMES
    verdicts = [guard.look(but(separation=separation)) for separation in separations]
    assert verdicts[:-1] == [None] * (len(separations) - 1)
    assert verdicts[-1] is not None
    assert verdicts[-1].sign == "overtaken critic"


def test_a_critic_that_has_only_begun_is_not_overtaken() -> None:
    assert looks(Guard(), but(separation=-0.5), WARM_UP + WINDOW // 2 - 1)[-1] is None


def test_at_first_all_fakes_may_look_alike() -> None:
    assert looks(Guard(), but(diversity=0.01, separation=0.0), WARM_UP) == [None] * WARM_UP


def test_the_best_distance_is_not_raised_by_worse_ones() -> None:
    guard = warmed_up()
    looks(guard, but(distance=55.0), 10)
    assert guard.best_distance == 40.0


def test_after_going_back_signs_are_counted_anew() -> None:
    guard, bad = warmed_up(), but(diversity=0.1)
    looks(guard, bad, PATIENCE)
    guard.start_over(0)
    assert looks(guard, bad, PATIENCE - 1) == [None] * (PATIENCE - 1)
    assert guard.look(bad) is not None


def test_the_best_distance_is_noted_in_the_warm_up_and_after_it() -> None:
    guard = Guard()
    looks(guard, but(distance=50.0), WARM_UP)
    assert guard.best_distance == 50.0
    guard.look(but(distance=45.0))
    assert guard.best_distance == 45.0


def test_after_going_back_a_critic_is_not_dead_by_what_was_given_up() -> None:
    guard = warmed_up()
    looks(guard, but(separation=-0.5), OVERTAKEN_TIMES + 1)
    guard.start_over(0)
    assert looks(guard, but(separation=-0.5), WINDOW // 2 - 1)[-1] is None
    verdict = guard.look(but(separation=-0.5))
    assert verdict is not None, "half a window is enough"
    assert verdict.sign == "overtaken critic"


@pytest.mark.parametrize(("wasserstein", "dead"), [(0.9, True), (1.1, False)])
def test_what_training_batches_tell_apart_counts_in_units_of_the_spread(
    wasserstein: float, dead: bool
) -> None:
    """A hundredth of it: scores of a critic that sees may be a hundred times as wide as another's."""
    verdicts = looks(warmed_up(), but(spread=100.0, wasserstein=wasserstein), WINDOW)
    assert any(verdict is not None for verdict in verdicts) is dead


def test_one_head_that_explodes_is_not_hidden_by_the_others() -> None:
    steep = {"penalty": 6.0, "critic_loss": 40.0}
    for seen in (with_heads({}, steep), with_heads({}, steep, {}, {}, {}, {})):
        verdict = warmed_up().look(seen)
        assert verdict is not None
        assert verdict.sign == "exploding"
        assert "head1" in verdict.explanation


@pytest.mark.parametrize(("memorised", "told"), [(3, False), (4, True)])
def test_memorising_is_a_sign_when_most_heads_do(memorised: int, told: bool) -> None:
    heads: list[dict[str, float]] = [{"gap": 0.95} if k < memorised else {} for k in range(6)]
    assert (looks(warmed_up(), with_heads(*heads), PATIENCE)[-1] is not None) is told


def test_a_gap_without_clear_separation_says_nothing() -> None:
    """A ratio of two small numbers."""
    assert looks(warmed_up(), but(gap=0.95, separation=0.4), PATIENCE) == [None] * PATIENCE


def test_a_head_that_has_nothing_to_teach_is_no_dead_critic() -> None:
    seen = with_heads({"separation": -0.1}, {"separation": 0.5})
    assert looks(warmed_up(), seen, 2 * WINDOW) == [None] * 2 * WINDOW


def test_it_is_not_calm_while_a_sign_shows() -> None:
    guard = warmed_up()
    calm = []
    for seen in (HEALTHY, but(diversity=0.1), HEALTHY):
        guard.look(seen)
        calm.append(guard.calm)
    assert calm == [True, False, True]


def test_the_state_to_go_back_to_is_recent_and_followed_by_calm_ones() -> None:
    """In a run however long, and whatever its luckiest figure was."""
    guard = Guard()
    trusted = [guard.trusted_step]
    for step in range(0, 300_001, 100):
        guard.note_calm(step)
        trusted.append(guard.trusted_step)
    wanted = 300_000 - 100 * (CALM_KEPT - 1)
    assert trusted[:CALM_KEPT] == [None, *[0] * (CALM_KEPT - 1)]
    assert trusted[-1] == wanted
    guard.start_over(wanted)
    assert guard.calm_steps == [wanted]


HEADS = st.builds(
    Head,
    name=st.just("picture"),
    critic_loss=st.floats(-20, 20),
    penalty=st.floats(0, 0.5),
    separation=st.floats(0.1, 5),
    gap=st.floats(-0.5, 0.8),
)


@given(
    st.lists(
        st.builds(
            Observation,
            heads=st.lists(HEADS, min_size=1, max_size=6).map(tuple),
            generator_loss=st.floats(-20, 20),
            wasserstein=st.floats(0.5, 25),
            spread=st.floats(1e-4, 5),
            slope=st.floats(0, 9),
            distance=st.one_of(st.none(), st.floats(40, 59)),
            diversity=st.one_of(st.none(), st.floats(0.4, 1.2)),
        ),
        max_size=30,
    )
)
def test_silent_within_healthy_bounds_and_the_same_after_a_resume(seen: list[Observation]) -> None:
    guard = Guard()
    for observation in seen:
        guard = Guard.from_json(guard.to_json())
        assert guard.look(observation) is None
