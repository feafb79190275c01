"""codexctl config: what an instance remembers about how its turns run."""

from __future__ import annotations

import click
from codex_control.service.command_group import WholeHelpGroup

from codexctl.completing import complete_setting
from codexctl.session import Session, instance_option, starting_verb
from codexctl.setting_names import SETTINGS


@click.group("config", cls=WholeHelpGroup)
def command() -> None:
    """Get or set what an instance remembers.

    The settings: profile, show_reasoning, final_only, approval_policy, on_interrupted, cwd.

    Profiles are defined in the configuration file of the service; codexctl profiles lists them.
    """


@command.command("get")
@click.argument("key", required=False, shell_complete=complete_setting)
@instance_option
@starting_verb
def get(session: Session, key: str | None, instance: str | None) -> None:
    """Print all settings, or the value of KEY."""
    from codexctl.instance_ref import resolve_instance
    from codexctl.setting_values import known_key

    name = known_key(key) if key else None
    ref = resolve_instance(instance, session.environ)

    from codex_control.v1.instances_pb2 import GetInstanceRequest, GetInstanceResponse

    request = GetInstanceRequest(instance=ref.ref())
    found = session.client(start=True).call("Instances.Get", request, GetInstanceResponse).instance
    _put(session, found, (name,) if name else SETTINGS, bare=name is not None)


@command.command("set")
@click.argument("key", shell_complete=complete_setting)
@click.argument("value")
@instance_option
@starting_verb
def set_(session: Session, key: str, value: str, instance: str | None) -> None:
    """Set KEY to VALUE, from the next turn on; the instance is made where it does not exist."""
    from codexctl.instance_ref import resolve_instance
    from codexctl.setting_values import configure_request, known_key

    ref = resolve_instance(instance, session.environ)
    name = known_key(key)

    from codex_control.v1.instances_pb2 import ConfigureResponse

    request = configure_request(name, value)
    request.instance.CopyFrom(ref.ref())
    changed = session.client(start=True).call("Instances.Configure", request, ConfigureResponse).instance
    _put(session, changed, (name,), bare=False)


def _put(session: Session, instance: object, keys: tuple[str, ...], *, bare: bool) -> None:
    from codex_control.v1.instances_pb2 import Instance

    from codexctl.instance_table import setting_text
    from codexctl.output import put, put_message

    assert isinstance(instance, Instance)  # noqa: S101 # for the type checker: the messages are imported late
    if session.json:
        put_message(instance.settings)
        return
    for key in keys:
        text = setting_text(instance, key)
        put(text if bare else f"{key:<16} {text or '-'}")
