"""A small model of everything around the core: one child at most, turns that run, time that passes.

It performs what the core commands, slowly: each command becomes something that is under way, and a rule of the test
decides when and how it comes to its end. What the core may never command is asserted here.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from codex_supervisor.instance.budget import Policy, RestartBudget
from codex_supervisor.instance.events import (
    ChildDied,
    ChildReady,
    Command,
    EndTurn,
    Event,
    InterruptTurn,
    KillChild,
    RunTurn,
    Spawn,
    StopChild,
    Tick,
    TreeGone,
    TurnOver,
)
from codex_supervisor.instance.states import Backoff, Core, State, Stopping, child_generation, next_wake
from codex_supervisor.instance.step import step


@dataclass
class World:
    """The core and what is around it."""

    policy: Policy
    now: float = 0.0
    core: Core = field(init=False)
    starting: int | None = None
    """The child that is being spawned or initialised."""
    ready: int | None = None
    """The child that is connected."""
    stopping: int | None = None
    """The child whose tree is being ended on command."""
    doomed: bool = False
    """The child was killed on command, and has yet to die."""
    running: str | None = None
    """The turn that the child has."""
    recording: list[str] = field(default_factory=list)
    """Turns whose outcome is decided and not yet told to the core."""
    accepted: list[str] = field(default_factory=list)
    sent: list[str] = field(default_factory=list)
    """Turns that were given to a child for the first time, in that order."""
    ended: set[str] = field(default_factory=set)
    commanded_ends: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.core = Core(RestartBudget.full(self.policy, self.now))

    @property
    def state(self) -> State:
        """The core's state."""
        return self.core.state

    def tell(self, event: Event) -> None:
        """Let `event` reach the core, and begin what it commands."""
        before = self.core.state
        self.core, commands = step(self.core, event, self.now, self.policy)
        if isinstance(before, Stopping) and not isinstance(self.core.state, Stopping):
            assert event == TreeGone(before.generation), "Stopping ends only when the tree is gone"
        for command in commands:
            self._begin(command)

    def _begin(self, command: Command) -> None:
        match command:
            case Spawn(generation=generation):
                assert (self.starting, self.ready, self.stopping) == (None, None, None), "two children at a time"
                assert generation == child_generation(self.state)
                self.starting = generation
            case StopChild(generation=generation):
                assert self.stopping is None, "it is being stopped already"
                # The leader may have died a moment ago: what it started is to be ended all the same.
                assert {self.starting, self.ready} <= {None, generation}
                self.lose_child()
                self.stopping = generation
            case KillChild(generation=generation):
                assert generation in (self.starting, self.ready)
                self.doomed = True
            case RunTurn(generation=generation, turn=turn):
                if turn not in self.sent:
                    self.sent.append(turn)
                self._take(generation, turn)
            case InterruptTurn(generation=generation, turn=turn):
                assert (generation, turn) == (self.ready, self.running) or turn in self.recording
            case EndTurn(turn=turn):
                assert turn not in self.commanded_ends, "ended twice"
                assert turn not in self.ended, "ended after its outcome was told"
                self.commanded_ends.add(turn)
                # The first outcome counts: one that the child has just brought stays.
                if turn not in self.recording:
                    self.recording.append(turn)

    def _take(self, generation: int, turn: str) -> None:
        assert generation == self.ready, "no such child"
        assert self.running is None, "one turn at a time"
        assert turn not in self.ended
        if turn not in self.recording:
            self.running = turn

    def lose_child(self) -> None:
        """The child is gone, whether it was up or on its way."""
        self.starting = self.ready = self.running = None
        self.doomed = False

    def finish_running(self) -> None:
        """The child ends its turn; the core hears of it when that is recorded."""
        assert self.running is not None
        self.recording.append(self.running)
        self.running = None

    def record_oldest(self) -> None:
        """The oldest decided outcome is in the journal."""
        turn = self.recording.pop(0)
        assert turn not in self.ended
        self.ended.add(turn)
        if self.running == turn:
            self.running = None
        self.tell(TurnOver(turn))

    def tick(self) -> None:
        """Let the time come that `next_wake` names."""
        due = next_wake(self.core, self.policy.idle_after_s)
        assert due is not None
        self.now = max(self.now, due)
        self.tell(Tick())

    def finish_start(self) -> None:
        """The child is initialised."""
        self.starting, self.ready = None, self.starting
        assert self.ready is not None
        self.tell(ChildReady(self.ready))

    def advance(self) -> bool:
        """Let one thing that is under way end well; False where nothing is under way."""
        if self.recording:
            self.record_oldest()
        elif self.stopping is not None:
            gone, self.stopping = self.stopping, None
            self.tell(TreeGone(gone))
        elif self.doomed:
            generation = self.starting or self.ready
            assert generation is not None
            self.lose_child()
            self.tell(ChildDied(generation, "it was killed", 0.5))
        elif self.starting is not None:
            self.finish_start()
        elif self.running is not None:
            self.finish_running()
        elif isinstance(self.state, Backoff):
            self.tick()
        else:
            return False
        return True

    def settle(self) -> None:
        """Let everything that is under way end well, until nothing is under way."""
        for _ in range(10_000):
            if not self.advance():
                return
        raise AssertionError(f"it never comes to rest: {self.core}")
