"""Checks of Codex: its binary, its own directory, its login or provider, its sandbox. Secrets are never read."""

from __future__ import annotations

import asyncio
import os
import stat
import sys
import tomllib
from contextlib import suppress
from pathlib import Path
from typing import Any

from codex_control.errors import BadConfig, CodexError
from codex_control.service.redaction import redact

from codex_supervisor.child.environment import DEFAULT_ALLOW, child_environment
from codex_supervisor.child.gateway import find_gateway
from codex_supervisor.child.identity import TOKEN_VARIABLE
from codex_supervisor.child.locate import codex_word, locate_codex
from codex_supervisor.child.providers import provider_variables
from codex_supervisor.codex_home import codex_home
from codex_supervisor.config.children import Provider
from codex_supervisor.config.choosing import all_profiles
from codex_supervisor.config.profiles import Sandbox
from codex_supervisor.doctor.check import CheckResult, Surroundings, error, ok, run_program, warning

PROBE_TIMEOUT_S = 15.0
"""`codex login status` and `codex sandbox true` take 60 to 90 ms (0.163.0); a cold disk has to read 300 MB first."""
_MAX_CONFIG_BYTES = 1024 * 1024
# What Docker and Podman put into their containers.
_CONTAINER_MARKS = ("/.dockerenv", "/run/.containerenv")
# Providers that Codex knows by itself and that need no login of its own.
_LOCAL_PROVIDERS = ("ollama", "lmstudio", "oss")
# What `codex-gateway setup codex` calls the gateway in Codex's config.toml.
_SETUP_PROVIDER = "codex-gateway"


def _environment(surroundings: Surroundings) -> dict[str, str]:
    """What a child would get, without the mark of a child."""
    codex = surroundings.config.codex
    home_path = str(codex_home(codex.home, surroundings.environ))
    environment = child_environment(
        surroundings.environ,
        allow=(*DEFAULT_ALLOW, *codex.environment_allow, *provider_variables(home_path)),
        extra={},
        token="",
        codex_home=home_path,
    )
    environment.pop(TOKEN_VARIABLE, None)
    return environment


def _overrides(surroundings: Surroundings) -> list[str]:
    return [part for override in surroundings.config.codex.overrides for part in ("-c", override)]


async def binary(surroundings: Surroundings) -> CheckResult:
    """Is there a Codex that is new enough?"""
    found = await locate_codex(surroundings.config.codex.binary, surroundings.environ)
    return ok("Codex", f"{found.version} at {found.path} (from {found.source})")


def home(surroundings: Surroundings) -> CheckResult:
    """Is Codex's own directory ours, private and writable?"""
    name = "CODEX_HOME"
    path = codex_home(surroundings.config.codex.home, surroundings.environ)
    try:
        status = path.stat()
    except FileNotFoundError:
        if surroundings.config.codex.home or surroundings.environ.get("CODEX_HOME"):
            return error(name, f"{path} does not exist", f"mkdir -m 700 -p {path}")
        return warning(name, f"{path} does not exist yet", f"run `{_codex_word(surroundings)} login`, which makes it")
    except OSError as problem:
        return error(name, f"{path} cannot be looked at: {problem.strerror}", "make its parent accessible")
    if not stat.S_ISDIR(status.st_mode):
        return error(name, f"{path} is not a directory", f"move {path} away")
    if status.st_uid != os.geteuid():
        return error(
            name, f"{path} belongs to uid {status.st_uid}, we are {os.geteuid()}", "set codex.home to your own"
        )
    if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
        return error(name, f"{path} is not writable", f"chmod u+rwx {path}")
    if status.st_mode & 0o022:
        return error(name, f"{path} can be written by other users", f"chmod go-w {path}")
    try:
        logins = (path / "auth.json").stat()
    except OSError:
        pass
    else:
        if logins.st_mode & 0o077:
            return error(name, f"{path / 'auth.json'} can be read by other users", f"chmod 600 {path / 'auth.json'}")
    if status.st_mode & 0o077:
        return warning(name, f"{path} can be read by other users, old threads too", f"chmod 700 {path}")
    return ok(name, str(path))


async def login(surroundings: Surroundings) -> CheckResult:
    """Will the model provider let us in? Looks at settings and asks Codex; the provider itself is not asked."""
    name = "login"
    if surroundings.config.codex.demo_model:
        return ok(name, "not needed: the built-in demo model answers")
    if surroundings.config.codex.provider is Provider.GATEWAY:
        return ok(name, "not needed: children use the gateway")
    settings = codex_settings(surroundings)
    provider = str(settings.get("model_provider", "openai"))
    if provider != "openai":
        return _provider(name, provider, settings, surroundings)
    try:
        found = await locate_codex(surroundings.config.codex.binary, surroundings.environ)
    except CodexError:
        return warning(name, "not looked at: there is no usable Codex", "put Codex right first")
    environment = _environment(surroundings)
    codex = _codex_word(surroundings)
    if not await asyncio.to_thread(Path(environment["CODEX_HOME"]).is_dir):
        return error(name, "not logged in", f"{codex} login")
    code, output = await run_program(
        [found.path, *_overrides(surroundings), "login", "status"], environment, timeout_s=PROBE_TIMEOUT_S
    )
    if code == 0:
        # Its text holds parts of the key.
        how = (
            "with an API key" if "api key" in output.lower() else "with ChatGPT" if "chatgpt" in output.lower() else ""
        )
        return ok(name, f"logged in {how}".strip())
    if "not logged in" in output.lower():
        for variable in ("OPENAI_API_KEY", "CODEX_API_KEY"):
            if environment.get(variable):
                # Measured with 0.163.0: account/read of the app-server finds no account with any of them.
                return error(
                    name,
                    f"not logged in; {variable} is set, but the app-server takes no key from the environment",
                    f"printenv {variable} | {codex} login --with-api-key",
                )
        return error(name, "not logged in", f"{codex} login")
    return error(
        name, f"`codex login status` failed: {_first_line(output)}", f"run `{codex} login status` to see all of it"
    )


def _codex_word(surroundings: Surroundings) -> str:
    return codex_word(surroundings.config.codex.binary, surroundings.environ)


def gateway(surroundings: Surroundings) -> CheckResult:
    """Does the gateway run, where children are to use it? Its endpoints are its own `codex-gateway status`'s."""
    name = "gateway"
    if surroundings.config.codex.provider is not Provider.GATEWAY:
        return ok(name, _gateway_of_codex(surroundings))
    if surroundings.config.codex.demo_model:
        return warning(name, "not used: codex.demo_model stands above codex.provider", "set one of them alone")
    url = find_gateway(surroundings.environ).url
    return ok(name, f"children that start now use {url}; one that runs keeps the address that it was started with")


def _gateway_of_codex(surroundings: Surroundings) -> str:
    """What there is to say of the gateway where it is no affair of ours; Codex's own settings may lead to it."""
    if not surroundings.config.codex.demo_model:
        with suppress(BadConfig):  # the check of the login tells of it
            if codex_settings(surroundings).get("model_provider") == _SETUP_PROVIDER:
                return "Codex's own settings lead to it (codex.provider is `codex`); `codex-gateway status` looks at it"
    return "not used: codex.provider is `codex`"


def _provider(name: str, provider: str, settings: dict[str, Any], surroundings: Surroundings) -> CheckResult:
    if provider in _LOCAL_PROVIDERS:
        return ok(name, f"not needed by the provider {provider!r}")
    known = settings.get("model_providers")
    entry = known.get(provider) if isinstance(known, dict) else None
    if not isinstance(entry, dict):
        return warning(name, f"the provider {provider!r} is not described in config.toml", "check model_provider there")
    variable = entry.get("env_key")
    if not isinstance(variable, str) or not variable:
        return ok(name, f"the provider {provider!r} needs no key from the environment")
    if not surroundings.environ.get(variable):
        return error(
            name,
            f"the provider {provider!r} wants the variable {variable}, which the service does not have",
            f"set it for the service (systemctl --user edit codex-supervisor: Environment={variable}=…)",
        )
    if variable not in _environment(surroundings):
        return error(
            name,
            f"the provider {provider!r} wants the variable {variable}, which children do not get",
            f"add {variable} to codex.environment_allow in config.yaml",
        )
    return ok(name, f"the provider {provider!r} has its key in {variable}")


def codex_settings(surroundings: Surroundings) -> dict[str, Any]:
    """Read what Codex's config.toml and the overrides say; raise `BadConfig` where the file is broken."""
    path = codex_home(surroundings.config.codex.home, surroundings.environ) / "config.toml"
    settings: dict[str, Any] = {}
    try:
        with path.open("rb") as file:
            settings = tomllib.loads(file.read(_MAX_CONFIG_BYTES).decode())
    except FileNotFoundError:
        pass
    except OSError as problem:
        raise BadConfig(
            f"{path} cannot be read", why=problem.strerror or "", next_step=f"run `chmod u+r {path}`"
        ) from problem
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as problem:
        raise BadConfig(
            f"{path} is broken", why=str(problem), next_step="correct it: Codex starts no thread with it"
        ) from problem
    for override in surroundings.config.codex.overrides:
        key, _, value = override.partition("=")
        try:
            settings[key] = tomllib.loads(f"value = {value}\n")["value"]
        except tomllib.TOMLDecodeError:  # Codex takes it as text then
            settings[key] = value
    return settings


async def sandbox(surroundings: Surroundings) -> CheckResult:
    """Can Codex's sandbox run a command here? It runs one in it."""
    name = "sandbox"
    if all(profile.sandbox is Sandbox.DANGER_FULL_ACCESS for profile in all_profiles(surroundings.config).values()):
        return warning(name, "every profile has sandbox danger-full-access", "use workspace-write where you can")
    try:
        found = await locate_codex(surroundings.config.codex.binary, surroundings.environ)
    except CodexError:
        return warning(name, "not tried: there is no usable Codex", "put Codex right first")
    environment = _environment(surroundings)
    if not await asyncio.to_thread(Path(environment["CODEX_HOME"]).is_dir):
        return warning(name, "not tried: CODEX_HOME does not exist", "put CODEX_HOME right first")
    code, output = await run_program(
        [found.path, "sandbox", *_overrides(surroundings), "--", "true"],
        environment,
        timeout_s=PROBE_TIMEOUT_S,
        cwd=Path(environment["CODEX_HOME"]),
    )
    if code == 0:
        return ok(name, "a command ran in it (Seatbelt)" if sys.platform == "darwin" else "a command ran in it")
    return error(name, f"no command can run in it: {_first_line(output)}", _sandbox_fix(output.lower()))


def _sandbox_fix(output: str) -> str:
    if "config.toml" in output:
        return "correct that file first"
    if "no system bwrap was found" in output or "bubblewrap is unavailable" in output:
        return (
            "install bubblewrap, which Codex keeps commands in: `sudo apt install bubblewrap` on Debian and Ubuntu, "
            "`sudo dnf install bubblewrap` on Fedora and RHEL"
        )
    if "namespace" in output or "uid map" in output or "rtm_new" in output:
        return _namespace_fix(Path("/proc/sys"), in_container=any(map(os.path.exists, _CONTAINER_MARKS)))
    return "run `codex sandbox -- true` to see all of it"


def _namespace_fix(settings: Path, *, in_container: bool) -> str:
    """How bubblewrap comes to the user namespace that it needs. `settings` is where the kernel shows its own."""
    if _read(settings / "kernel/apparmor_restrict_unprivileged_userns") == "1":
        # The profile is that of /usr/bin/bwrap, not of the bubblewrap that comes with Codex. From Ubuntu 25.04 on it
        # is in force by itself.
        return (
            "AppArmor forbids bubblewrap the user namespace that it needs. For bubblewrap alone: `sudo apt install "
            "bubblewrap apparmor-profiles && sudo cp /usr/share/apparmor/extra-profiles/bwrap-userns-restrict "
            "/etc/apparmor.d/ && sudo systemctl reload apparmor`. For all programs: `sudo sysctl -w "
            "kernel.apparmor_restrict_unprivileged_userns=0`"
        )
    for name, value in (("kernel.unprivileged_userns_clone", 1), ("user.max_user_namespaces", 10_000)):
        if _read(settings / name.replace(".", "/")) == "0":
            return f"the kernel allows no user namespaces, which bubblewrap needs: `sudo sysctl -w {name}={value}`"
    if in_container:
        return (
            "the container allows no user namespaces, which bubblewrap needs: start it with `--security-opt "
            "seccomp=unconfined --security-opt apparmor=unconfined`, or let the container be the sandbox: sandbox: "
            "danger-full-access in the profiles of config.yaml"
        )
    return (
        "something forbids the user namespaces that bubblewrap needs: `unshare --user true` has to work in this shell. "
        "Where Codex is kept in by something else, set sandbox: danger-full-access in the profiles of config.yaml"
    )


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def _first_line(output: str) -> str:
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    first = next((line for line in lines if not line.startswith("WARNING")), "no output")
    return redact("".join(character for character in first if character.isprintable())[:300])
