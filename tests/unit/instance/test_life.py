"""Any life of an instance, by Hypothesis: people, children and time do what they like; the promises hold throughout."""

from __future__ import annotations

from codex_supervisor.instance.budget import Policy
from codex_supervisor.instance.events import (
    CancelWanted,
    ChildAdopted,
    ChildDied,
    ChildFound,
    ChildReady,
    Event,
    HibernateWanted,
    ProbeAnswered,
    ProbeMissed,
    RecycleWanted,
    RestartWanted,
    StartDeferred,
    StartRefused,
    StartWanted,
    StopWanted,
    Tick,
    TreeGone,
    TurnAccepted,
    TurnFound,
)
from codex_supervisor.instance.states import (
    Backoff,
    Busy,
    Failed,
    Hibernated,
    Ready,
    Starting,
    Stopped,
    Stopping,
    child_generation,
    next_wake,
    running_turn,
)
from codex_supervisor.instance.step import step
from codex_supervisor.store.records import Cause
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.unit.instance.world import World

POLICIES = [
    Policy(),
    Policy(restart_burst=1, cool_down_s=0.0, idle_after_s=0.0, probe_misses=1),
    Policy(restart_burst=2, restart_refill_s=1000.0, cool_down_s=5.0, idle_after_s=0.3, start_timeout_s=0.1),
]
jitters = st.sampled_from([0.0, 0.5, 0.999])


class Life(RuleBasedStateMachine):
    """See the module. `wanted` is what the last wish leads to: down, up, or "up or asleep" where memory is short."""

    world: World
    wanted = "down"

    @initialize(
        policy=st.sampled_from(POLICIES),
        found=st.sampled_from(["nothing", "turn", "idle child", "busy child", "silent child"]),
    )
    def begin(self, policy: Policy, found: str) -> None:
        """A new instance, or one that an earlier supervisor left."""
        # Far from 0 and no round number, as a real monotonic clock is.
        self.world = World(policy, now=1234.567891)
        if found != "nothing":
            self.wanted = "up"
        if found in ("turn", "busy child", "silent child"):
            self.world.accepted.append("found")
            self.world.sent.append("found")
        match found:
            case "turn":
                self.world.tell(TurnFound("found"))
            case "idle child":
                self.world.ready = 7
                self.world.tell(ChildAdopted(7, None))
            case "busy child":
                self.world.ready = 7
                self.world.tell(ChildAdopted(7, "found"))
            case "silent child":
                self.world.starting = 7
                self.world.tell(ChildFound(7, "found"))
            case _:
                pass

    # --- people -----------------------------------------------------------------------------------------------------

    @rule(number=st.integers(1, 3))
    def ask(self, number: int) -> None:
        for _ in range(number):
            turn = f"turn-{len(self.world.accepted)}"
            self.world.accepted.append(turn)
            self.wanted = "up"
            self.world.tell(TurnAccepted(turn))

    @rule(steps=st.integers(1, 6))
    def things_go_well(self, steps: int) -> None:
        """Most of the time they do; the other rules alone would rarely let a turn come to its end."""
        for _ in range(steps):
            self.world.advance()

    @rule()
    def start(self) -> None:
        self.wanted = "up"
        self.world.tell(StartWanted())

    @rule(force=st.booleans())
    def stop(self, force: bool) -> None:
        self.wanted = "down"
        self.world.tell(StopWanted(force))
        if force:
            assert running_turn(self.world.state) is None
            assert isinstance(self.world.state, Stopped | Stopping)

    @rule(force=st.booleans())
    def restart(self, force: bool) -> None:
        self.wanted = "up"
        self.world.tell(RestartWanted(force))

    @precondition(lambda self: self.world.accepted)
    @rule(data=st.data(), cause=st.sampled_from([Cause.USER, Cause.TIMED_OUT]))
    def cancel(self, data: st.DataObject, cause: Cause) -> None:
        turn = data.draw(st.sampled_from(self.world.accepted))
        self.world.tell(CancelWanted(turn, cause))
        assert turn not in self.world.core.queue

    # --- children ---------------------------------------------------------------------------------------------------

    @precondition(lambda self: self.world.starting is not None)
    @rule()
    def child_comes_up(self) -> None:
        self.world.finish_start()

    @precondition(lambda self: self.world.starting is not None and not self.world.doomed)
    @rule()
    def start_is_refused(self) -> None:
        generation = self.world.starting or 0
        self.world.lose_child()
        self.world.tell(StartRefused(generation, "no Codex here"))
        # One that is wanted down is not tried again.
        assert isinstance(self.world.state, Stopping if self.wanted == "down" else Failed)

    @precondition(lambda self: self.world.starting is not None and not self.world.doomed)
    @rule(jitter=jitters)
    def start_is_put_off(self, jitter: float) -> None:
        generation, budget = self.world.starting or 0, self.world.core.budget
        self.world.lose_child()
        self.world.tell(StartDeferred(generation, "no gateway", jitter))
        assert isinstance(self.world.state, Backoff)
        assert self.world.core.budget == budget

    @precondition(lambda self: self.world.starting or self.world.ready)
    @rule(jitter=jitters, times=st.integers(1, 4))
    def child_dies(self, jitter: float, times: int) -> None:
        """And where the next one comes up at once, that one too."""
        world = self.world
        for _ in range(times):
            generation = world.starting or world.ready
            if generation is None:
                return
            world.lose_child()
            world.tell(ChildDied(generation, "it died", jitter))

    @precondition(lambda self: self.world.stopping is not None)
    @rule(jitter=jitters)
    def stopped_child_dies_before_its_tree(self, jitter: float) -> None:
        before = self.world.core
        self.world.tell(ChildDied(self.world.stopping or 0, "it was stopped", jitter))
        assert self.world.core == before

    @precondition(lambda self: self.world.ready is not None)
    @rule(answered=st.booleans())
    def probe(self, answered: bool) -> None:
        generation = self.world.ready or 0
        self.world.tell(ProbeAnswered(generation) if answered else ProbeMissed(generation))

    @precondition(lambda self: self.world.ready is not None)
    @rule()
    def memory_is_exceeded(self) -> None:
        self._may_sleep()
        self.world.tell(RecycleWanted(self.world.ready or 0))

    @rule()
    def memory_is_short(self) -> None:
        self._may_sleep()
        self.world.tell(HibernateWanted())

    def _may_sleep(self) -> None:
        if self.wanted == "up":
            self.wanted = "up or asleep"

    # --- turns ------------------------------------------------------------------------------------------------------

    @precondition(lambda self: self.world.running is not None)
    @rule()
    def turn_is_finished_and_not_recorded_yet(self) -> None:
        self.world.finish_running()

    # --- time -------------------------------------------------------------------------------------------------------

    @rule(seconds=st.sampled_from([0.01, 0.1, 1.0, 61.0, 3600.0]))
    def time_passes(self, seconds: float) -> None:
        """The event loop is late: the tick comes after its time."""
        self.world.now += seconds
        if (due := next_wake(self.world.core, self.world.policy.idle_after_s)) is not None and self.world.now >= due:
            self._may_sleep()
            self.world.tell(Tick())

    @precondition(lambda self: next_wake(self.world.core, self.world.policy.idle_after_s) is not None)
    @rule()
    def timer_fires(self) -> None:
        self._may_sleep()
        self.world.tick()

    @rule(data=st.data(), age=st.integers(1, 3))
    def earlier_child_is_heard_of_late(self, data: st.DataObject, age: int) -> None:
        core = self.world.core
        earlier = core.generation - age
        late: list[Event] = [
            ChildReady(earlier),
            ChildDied(earlier, "late", 0.5),
            StartDeferred(earlier, "late", 0.5),
            StartRefused(earlier, "late"),
            TreeGone(earlier),
            ProbeAnswered(earlier),
            ProbeMissed(earlier),
            RecycleWanted(earlier),
        ]
        event = data.draw(st.sampled_from(late))
        assert step(core, event, self.world.now, self.world.policy) == (core, ())

    # --- promises ---------------------------------------------------------------------------------------------------

    @invariant()
    def every_turn_is_in_exactly_one_place(self) -> None:
        world = self.world
        held = [*world.core.queue, *filter(None, [running_turn(world.state)])]
        assert len(held) == len(set(held))
        for turn in world.accepted:
            places = [turn in held, turn in world.commanded_ends, turn in world.ended - world.commanded_ends]
            assert sum(places) == 1, f"{turn} is nowhere or in two places: {places}"

    @invariant()
    def turns_wait_and_run_in_the_order_of_their_acceptance(self) -> None:
        order = self.world.accepted.index
        for turns in (self.world.core.queue, self.world.sent):
            assert list(turns) == sorted(turns, key=order)

    @invariant()
    def the_core_knows_the_child_that_there_is(self) -> None:
        world = self.world
        there = {number for number in (world.starting, world.ready, world.stopping) if number is not None}
        assert there == ({child_generation(world.state)} - {None})

    @invariant()
    def the_child_has_the_turn_that_the_core_thinks_it_has(self) -> None:
        world = self.world
        if isinstance(world.state, Busy):
            assert world.state.turn == world.running or world.state.turn in world.recording
        else:
            assert world.running is None

    @invariant()
    def nothing_waits_where_nothing_would_come(self) -> None:
        if isinstance(self.world.state, Stopped | Hibernated | Failed | Ready):
            assert self.world.core.queue == ()

    @invariant()
    def a_tick_at_the_named_time_leads_on(self) -> None:
        core, policy = self.world.core, self.world.policy
        due = next_wake(core, policy.idle_after_s)
        if due is None:
            # Then somebody else's word is on its way, or rest is right.
            assert step(core, Tick(), self.world.now + 1e9, policy) == (core, ())
            return
        now = max(due, self.world.now)
        after, _ = step(core, Tick(), now, policy)
        assert after != core, "a timer that fires for ever"
        again = next_wake(after, policy.idle_after_s)
        assert again is None or again > now

    def teardown(self) -> None:
        """Everything that is under way ends well: every turn has its outcome, and the last wish is fulfilled."""
        if not hasattr(self, "world"):
            return
        self.world.settle()
        assert self.world.ended == set(self.world.accepted)
        state = self.world.state
        assert not isinstance(state, Starting | Busy | Backoff | Stopping)
        match self.wanted:
            case "down":
                assert isinstance(state, Stopped)
            case "up":
                assert isinstance(state, Ready | Failed)
            case _:
                assert isinstance(state, Ready | Failed | Hibernated)


class TestLife(Life.TestCase):  # type: ignore[misc, valid-type]
    """The machine as a test."""

    settings = settings(max_examples=200, stateful_step_count=40, deadline=None)
