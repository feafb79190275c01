"""Reads config.yaml into the model, and says of every mistake where it is and how it is put right.

All mistakes are collected, so that a person corrects the file once.
"""

from __future__ import annotations

import difflib
import re
from pathlib import Path
from typing import Any

import msgspec
import yaml
from codex_control.service.config_key import Key
from codex_control.service.config_reader import ConfigReader, decode_config, place_of, read_config_file, short
from codex_control.service.yaml_nodes import Problems, Refused, compose, mark_of

from codex_supervisor.config.model import Config
from codex_supervisor.config.profiles import BUILT_IN_PROFILES, Profile
from codex_supervisor.config.tasks import TaskEngine

MAX_PROFILES = 200
PROFILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def load_config(path: Path) -> Config:
    """Read the configuration file; a missing one means the defaults.

    Raises `BadConfig` where it cannot be read or is wrong, `UnsafePath` where another user may write it.
    """
    read = read_config_file(path)
    return Config() if read is None else parse_config(read[0], str(path))


def parse_config(text: str | bytes, source: str) -> Config:
    """Read a configuration from text; `source` names it in errors.

    Raises `BadConfig` that names line, column, key and the nearest right name of every mistake, and nothing else.
    """
    text = decode_config(text, source)
    found = Problems(source)
    try:
        root = compose(text)
    except Refused as refused:
        found.add(refused.mark, refused.what, refused.fix)
        root = None
    found.raise_if_any()
    config = _Reader(found).config(root)
    found.raise_if_any()
    return config


class _Reader(ConfigReader):
    """Nodes to the model."""

    def __init__(self, problems: Problems) -> None:
        super().__init__(problems, Config)

    def config(self, root: yaml.Node | None) -> Config:
        values = self.section(root, Config, "")
        config = msgspec.convert(values, Config) if not self.problems.found else Config()
        if root is not None and not self.problems.found:
            self._check_together(root, config)
        return config

    def named(self, node: yaml.Node, key: Key, path: str) -> dict[str, Any]:  # noqa: ARG002 (it is `profiles`)
        """Read the profiles."""
        read: dict[str, Any] = {}
        for name, key_node, value in self.pairs(node, path):
            mark = mark_of(key_node.start_mark)
            if not PROFILE_NAME.fullmatch(name):
                self.problems.add(
                    mark,
                    f"{short(name)!r} cannot name a profile",
                    "use letters, digits, `.`, `_` and `-`; at most 64, the first a letter or digit",
                )
                continue
            if len(read) >= MAX_PROFILES:
                self.problems.add(mark, f"there are more than {MAX_PROFILES} profiles", "remove some")
                return read
            base = msgspec.to_builtins(BUILT_IN_PROFILES.get(name, Profile()))
            read[name] = base | self.section(value, Profile, f"{path}.{name}")
        return read

    def _check_together(self, root: yaml.Node, config: Config) -> None:
        """What no key can say by itself."""
        limits = config.instances
        if limits.backoff_initial > limits.backoff_max:
            self.problems.add(
                place_of(root, "instances", "backoff_initial"),
                "`instances.backoff_initial` is larger than `instances.backoff_max`",
                "make it smaller",
            )
        tasks = config.tasks
        sources = [name for name in ("dsn", "dsn_env", "dsn_file") if getattr(tasks, name)]
        if len(sources) > 1:
            self.problems.add(
                place_of(root, "tasks", sources[1]), f"`tasks` has {' and '.join(sources)}", "leave one of them"
            )
        if tasks.engine is TaskEngine.POSTGRESQL and not sources:
            self.problems.add(
                place_of(root, "tasks", "engine"),
                "the engine `postgresql` needs to know its database",
                "give tasks.dsn, tasks.dsn_env or tasks.dsn_file",
            )
        if 0 < tasks.stall_after <= tasks.heartbeat_interval:
            self.problems.add(
                place_of(root, "tasks", "stall_after"),
                "`tasks.stall_after` is not longer than `tasks.heartbeat_interval`",
                "make it several times as long",
            )
        profiles = {**BUILT_IN_PROFILES, **config.profiles}
        if config.defaults.profile not in profiles:
            near = difflib.get_close_matches(config.defaults.profile, profiles, n=1)
            self.problems.add(
                place_of(root, "defaults", "profile"),
                f"`defaults.profile` names {config.defaults.profile!r}, which is no profile",
                f"did you mean {near[0]!r}?" if near else f"expected one of {', '.join(profiles)}",
            )
