"""Where the turns of an instance run that was named by itself, not by its workspace."""

from __future__ import annotations

from codex_control.errors import NotFound
from codex_control.v1.instances_pb2 import GetInstanceRequest, GetInstanceResponse

from codexctl.client import Client
from codexctl.instance_ref import Named, git_root, working_directory


def fallback_directory(named: Named) -> str:
    """The directory that the turn runs in where the instance has none: a new one keeps to it. Costs no call."""
    return "" if named.kind == "workspace" else str(git_root(working_directory()))


def missing_directory(client: Client, named: Named) -> str:
    """The directory that an ask has to name: ours for an instance that is new or has none, empty for all others.

    An instance that was made for a workspace, or that has a `cwd` of its own, keeps to that wherever it is asked from.
    """
    if named.kind == "workspace":
        return ""
    try:
        request = GetInstanceRequest(instance=named.ref())
        known = client.call("Instances.Get", request, GetInstanceResponse).instance
    except NotFound:
        return str(git_root(working_directory()))
    return "" if known.settings.cwd or known.workspace else str(git_root(working_directory()))
