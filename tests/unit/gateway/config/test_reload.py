"""What a new configuration changes."""

from __future__ import annotations

from codex_gateway.config.endpoint import Auth, Endpoint, Timeouts
from codex_gateway.config.model import Config, ListenConfig, LogConfig, Price, RetryConfig
from codex_gateway.config.reload import Changes, changes, in_force

A = Endpoint(name="a", url="http://a")
B = Endpoint(name="b", url="http://b", auth=Auth(api_key="sk-1"))


def test_nothing_changes_nothing() -> None:
    assert changes(Config(endpoints=(A, B)), Config(endpoints=(A, B))) == Changes()
    assert not changes(Config(), Config())


def test_endpoints_by_what_becomes_of_them() -> None:
    other_key = Endpoint(name="b", url="http://b", auth=Auth(api_key="sk-2"))
    heavier = Endpoint(name="b", url="http://b", auth=Auth(api_key="sk-1"), weight=2)
    new = Endpoint(name="c", url="http://c")
    difference = changes(Config(endpoints=(A, B)), Config(endpoints=(other_key, new)))
    assert (difference.added, difference.removed, difference.changed, difference.reconnect) == (
        ("c",),
        ("a",),
        ("b",),
        ("b",),
    )
    difference = changes(Config(endpoints=(A, B)), Config(endpoints=(A, heavier)))
    assert (difference.changed, difference.reconnect) == (("b",), ())
    slower = Endpoint(name="a", url="http://a", timeouts=Timeouts(connect=1))
    assert changes(Config(endpoints=(A,)), Config(endpoints=(slower,))).reconnect == ("a",)
    assert "sk-" not in " ".join(difference.sentences())


def test_keys_by_when_they_apply() -> None:
    new = Config(
        listen=ListenConfig(port=1),
        retries=RetryConfig(attempts=1),
        prices=(Price(model="x"),),
        log=LogConfig(files_kept=1),
    )
    difference = changes(Config(), new)
    assert difference.applied == ("retries.attempts", "prices")
    assert difference.waiting == ("listen.port", "log.files_kept")
    now = in_force(Config(), new)
    assert (now.listen, now.log, now.retries, now.prices) == (ListenConfig(), LogConfig(), new.retries, new.prices)


def test_another_order_is_a_change() -> None:
    assert changes(Config(endpoints=(A, B)), Config(endpoints=(B, A))).applied == ("endpoints (their order)",)
