"""How often a child may be restarted, and how long each restart waits. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Policy:
    """The limits of an instance's life, from the configuration. Times are seconds."""

    restart_burst: int = 5
    """Restarts that may follow each other at once."""
    restart_refill_s: float = 60.0
    """Time in which one restart is regained."""
    backoff_initial_s: float = 0.25
    """Upper bound of the second restart's wait; it doubles with every further one."""
    backoff_max_s: float = 30.0
    """Cap of that bound."""
    cool_down_s: float = 600.0
    """Time after which a failed instance is tried again; 0 for never."""
    start_timeout_s: float = 30.0
    """Time in which a child must be ready."""
    idle_after_s: float = 900.0
    """Time after which an idle child hibernates; 0 for never."""
    probe_misses: int = 3
    """Unanswered probes in a row after which a child counts as dead."""


@dataclass(frozen=True, slots=True)
class RestartBudget:
    """A token bucket: each restart after a death spends one token, and time alone gives tokens back.

    It is refilled by time and not by "it was ready once", so that a child that dies one second after every start
    still ends in Failed.
    """

    tokens: float
    refilled_at: float

    @classmethod
    def full(cls, policy: Policy, now: float) -> RestartBudget:
        """Return an unspent budget."""
        return cls(float(policy.restart_burst), now)

    def refilled(self, policy: Policy, now: float) -> RestartBudget:
        """Return the budget as it stands at `now`."""
        gained = max(0.0, now - self.refilled_at) / policy.restart_refill_s
        return RestartBudget(min(float(policy.restart_burst), self.tokens + gained), now)

    def spend(self, policy: Policy, now: float) -> RestartBudget | None:
        """Return the budget after one restart, or None where it is spent."""
        budget = self.refilled(policy, now)
        return replace(budget, tokens=budget.tokens - 1.0) if budget.tokens >= 1.0 else None

    def recent_restarts(self, policy: Policy) -> int:
        """Return how many restarts are spent and not regained yet, rounded up."""
        missing = policy.restart_burst - self.tokens
        return int(missing) + (missing % 1 > 0)


def backoff_s(policy: Policy, recent_restarts: int, jitter: float) -> float:
    """Return the wait before a restart: none for the first, then exponential with full jitter and a cap.

    `jitter` is a random number in [0, 1). Full jitter: Marc Brooker, "Exponential Backoff And Jitter" (AWS
    Architecture Blog, 2015). The first restart waits for nothing: a person looks at a broken answer.
    """
    if recent_restarts <= 1:
        return 0.0
    # 2 ** 64 seconds is past any cap; the bound on the exponent keeps the float finite.
    bound = min(policy.backoff_max_s, policy.backoff_initial_s * 2.0 ** min(recent_restarts - 2, 64))
    return bound * jitter
