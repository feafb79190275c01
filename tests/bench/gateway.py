"""The gateway beside its rivals: nothing in between, nginx, LiteLLM's proxy. One worker each, one stub endpoint.

The load generator, the endpoint and the rival share the machine, as they would on a user's desk. Rivals run in turn,
all of them in each round.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from tests.bench.figures import Case, Goal, percentile
from tests.bench.http_load import Measured, Plan
from tests.support.codex_home import REPOSITORY

LITELLM = REPOSITORY / "build" / "litellm" / "bin" / "litellm"
"""`make bench` makes it: PyPI cannot be reached from where benches run."""
LITELLM_KEY = "sk-bench-0123456789abcdef0123456789abcdef"  # what it accepts as its master key: 32 characters at least
READY_TIMEOUT_S = 120.0
AT_ONCE = 50
MIB = 1024 * 1024


@dataclass(frozen=True)
class Rival:
    """Something that listens. `url` is its base URL."""

    name: str
    url: str
    headers: dict[str, str]
    pid: int = 0


@dataclass(frozen=True)
class Traffic:
    """One kind of request. The endpoint speaks Chat Completions alone."""

    name: str
    path: str
    stream: bool

    @property
    def converted(self) -> bool:
        """Whether somebody has to convert it."""
        return self.path != "/v1/chat/completions"

    @property
    def body(self) -> str:
        """The request."""
        text = "Say hello to me, please."
        return msgspec.json.encode(
            {"model": "stub", "max_tokens": 64, "stream": self.stream, "messages": [{"role": "user", "content": text}]}
        ).decode()


TRAFFIC = (
    Traffic("pass-through", "/v1/chat/completions", stream=False),
    Traffic("converted", "/v1/messages", stream=False),
    Traffic("pass-through, streaming", "/v1/chat/completions", stream=True),
    Traffic("converted, streaming", "/v1/messages", stream=True),
)


async def measure_gateway(rounds: int, seconds: float) -> list[Case]:
    """Requests a second, added latency and added time to first byte of every rival; memory when idle."""
    async with AsyncExitStack() as stack:
        rivals = await _rivals(stack)
        memory = [_idle_memory(rival) for rival in rivals if rival.name in ("gateway", "LiteLLM")]
        throughput: dict[tuple[str, str], Case] = {}
        added: dict[tuple[str, str], Case] = {}
        first: dict[tuple[str, str], Case] = {}
        for number in range(rounds):
            for traffic in TRAFFIC:
                # Nothing in between shows what the endpoint itself takes; converted, as if it spoke that dialect.
                direct: Measured | None = None
                for rival in rivals:
                    if rival.name == "nginx" and traffic.converted:
                        continue
                    key = (traffic.name, rival.name)
                    one = await _load(rival, traffic, 1, seconds / 2)
                    many = await _load(rival, traffic, AT_ONCE, seconds)
                    if number == 0:
                        throughput[key] = Case("gateway", f"{traffic.name}: {rival.name}", "req/s")
                        added[key] = Case("gateway", f"{traffic.name}: {rival.name} adds", "ms")
                        if traffic.stream:
                            first[key] = Case("gateway", f"{traffic.name}: {rival.name} adds to first byte", "ms")
                    throughput[key].add(many.requests / many.seconds)
                    direct = direct or one
                    if rival.name != "direct":
                        base = percentile(direct.whole_ms, 0.5)
                        added[key].samples += [whole - base for whole in one.whole_ms]
                        if traffic.stream:
                            base = percentile(direct.first_byte_ms, 0.5)
                            first[key].samples += [ms - base for ms in one.first_byte_ms]
        _set_goals(throughput, first)
        cases = [*throughput.values(), *added.values(), *first.values(), *memory]
        missing = [Case("gateway", f"{name}: {why}", "") for name, why in _missing()]
        return [case for case in cases if case.samples] + missing


def _set_goals(throughput: dict[tuple[str, str], Case], first: dict[tuple[str, str], Case]) -> None:
    for (traffic, rival), case in throughput.items():
        if rival == "gateway" and (litellm := throughput.get((traffic, "LiteLLM"))) is not None:
            case.against = litellm
            case.goal = Goal(20 if traffic.startswith("converted") else 40, at_least=True)
    for (_, rival), case in first.items():
        if rival == "gateway":
            case.goal = Goal(5)


async def measure_gateway_load(streams: int, seconds: float) -> list[Case]:
    """Many converted streams at once for some time: not one may fail, and memory stays bounded."""
    async with AsyncExitStack() as stack:
        stub = await _start_stub(stack, "--events", "50", "--gap-s", "0.2")
        gateway = await stack.enter_async_context(_gateway(stub, stack))
        traffic = TRAFFIC[3]
        running = asyncio.get_running_loop().create_task(_load(gateway, traffic, streams, seconds))
        memory = Case("gateway-load", f"memory with {streams} streams", "MiB")
        while not running.done():
            memory.add(resident_bytes(gateway.pid) / MIB)
            await asyncio.wait({running}, timeout=0.5)
        measured = running.result()
        errors = Case("gateway-load", f"errors of {streams} streams at once for {seconds:.0f} s", "", goal=Goal(0))
        errors.add(measured.errors)
        if measured.first_error:
            print(f"first error: {measured.first_error}", file=sys.stderr)
        first = Case("gateway-load", "time to first byte", "ms", samples=measured.first_byte_ms)
        done = Case("gateway-load", "streams that ended", "")
        done.add(measured.requests)
        return [errors, done, first, memory]


def resident_bytes(pid: int) -> int:
    """Memory of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _idle_memory(rival: Rival) -> Case:
    case = Case("gateway", f"idle memory: {rival.name}", "MiB", goal=Goal(80) if rival.name == "gateway" else None)
    case.add(resident_bytes(rival.pid) / MIB)
    return case


def _missing() -> Iterator[tuple[str, str]]:
    if shutil.which("nginx") is None:
        yield "nginx", "missing (apt-get install nginx)"
    if not LITELLM.exists():
        yield "LiteLLM", "missing (`make bench` installs it where PyPI can be reached)"


async def _load(rival: Rival, traffic: Traffic, connections: int, seconds: float) -> Measured:
    plan = Plan(rival.url + traffic.path, rival.headers, traffic.body, connections, seconds)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.bench.http_load",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        cwd=REPOSITORY,
    )
    out, _ = await process.communicate(msgspec.json.encode(plan))
    if process.returncode:
        raise AssertionError(f"{rival.name}, {traffic.name}: the load generator ended with {process.returncode}")
    measured = msgspec.json.decode(out, type=Measured)
    if measured.errors and connections <= AT_ONCE:
        raise AssertionError(f"{rival.name}, {traffic.name}: {measured.errors} errors, first: {measured.first_error}")
    return measured


# --- rivals -----------------------------------------------------------------------------------------------------------


async def _rivals(stack: AsyncExitStack) -> list[Rival]:
    stub = await _start_stub(stack)
    rivals = [Rival("direct", f"http://127.0.0.1:{stub}", _JSON)]
    if shutil.which("nginx") is not None:
        rivals.append(await stack.enter_async_context(_nginx(stub, stack)))
    rivals.append(await stack.enter_async_context(_gateway(stub, stack)))
    if LITELLM.exists():
        rivals.append(await stack.enter_async_context(_litellm(stub, stack)))
    return rivals


_JSON = {"Content-Type": "application/json"}


async def _start_stub(stack: AsyncExitStack, *knobs: str) -> int:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.support.stub_upstream", *knobs],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        text=True,
    )
    stack.callback(_end, process)
    assert process.stdout is not None
    return int(process.stdout.readline())


@asynccontextmanager
async def _nginx(stub: int, stack: AsyncExitStack) -> AsyncIterator[Rival]:
    home, port = stack.enter_context(_home()), _free_port()
    temporary = "".join(f"{kind}_temp_path {home}/{kind}; " for kind in ("proxy", "fastcgi", "uwsgi", "scgi"))
    (home / "nginx.conf").write_text(
        f"worker_processes 1; daemon off; pid {home}/pid; error_log {home}/error.log;\n"
        "events { worker_connections 4096; }\n"
        f"http {{ access_log off; keepalive_requests 1000000000; client_body_temp_path {home}/body; {temporary}\n"
        f"upstream stub {{ server 127.0.0.1:{stub}; keepalive 128; keepalive_requests 1000000000; }}\n"
        f"server {{ listen 127.0.0.1:{port} backlog=1024; location / {{ proxy_pass http://stub; "
        'proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off; } } }\n'
    )
    process = subprocess.Popen(
        ["nginx", "-c", str(home / "nginx.conf"), "-e", str(home / "error.log")], stderr=subprocess.DEVNULL
    )
    stack.callback(_end, process)
    url = f"http://127.0.0.1:{port}"
    await _wait_until_it_answers(f"{url}/v1/models")
    yield Rival("nginx", url, _JSON, process.pid)


@asynccontextmanager
async def _gateway(stub: int, stack: AsyncExitStack) -> AsyncIterator[Rival]:
    """As it comes, with its records on."""
    home = stack.enter_context(_home())
    (home / "config.yaml").write_text(
        "listen: {port: 0}\n"
        f"endpoints: [{{name: stub, url: 'http://127.0.0.1:{stub}/v1', dialects: [chat]}}]\n"
        "log: {level: warning}\n"
    )
    (home / "config.yaml").chmod(0o600)
    # What `codex-gateway serve` does.
    program = (
        "from codex_gateway.gateway import serve; from codex_gateway.paths import GatewayPaths; "
        "serve(GatewayPaths.from_environment())"
    )
    environment = {
        **os.environ,
        "CODEX_GATEWAY_CONFIG": str(home / "config.yaml"),
        "CODEX_GATEWAY_STATE_DIR": str(home / "state"),
        "CODEX_GATEWAY_RUNTIME_DIR": str(home / "run"),
    }
    process = subprocess.Popen([sys.executable, "-c", program], env=environment)
    stack.callback(_end, process)
    address = home / "run" / "address"
    deadline = time.monotonic() + READY_TIMEOUT_S
    while not address.exists():
        assert process.poll() is None, "the gateway ended"
        assert time.monotonic() < deadline, "the gateway does not start"
        await asyncio.sleep(0.05)
    token = (home / "state" / "tokens" / "other.token").read_text().strip()
    yield Rival("gateway", address.read_text().strip(), {**_JSON, "Authorization": f"Bearer {token}"}, process.pid)


@asynccontextmanager
async def _litellm(stub: int, stack: AsyncExitStack) -> AsyncIterator[Rival]:
    """Its proxy, with what its own guide says for production (less logging), and no database."""
    home, port = stack.enter_context(_home()), _free_port()
    (home / "config.yaml").write_text(
        "model_list:\n  - model_name: stub\n    litellm_params: "
        f"{{model: hosted_vllm/stub, api_base: 'http://127.0.0.1:{stub}/v1', api_key: sk-x}}\n"
        f"general_settings: {{master_key: {LITELLM_KEY}}}\n"
    )
    environment = {
        "PATH": f"{LITELLM.parent}:/usr/bin:/bin",
        "HOME": str(home),
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "LITELLM_LOG": "ERROR",
        "LITELLM_MODE": "PRODUCTION",
        "NO_PROXY": "*",
    }
    arguments = ("--host", "127.0.0.1", "--port", str(port), "--num_workers", "1", "--telemetry", "False")
    process = subprocess.Popen(
        [str(LITELLM), "--config", str(home / "config.yaml"), *arguments],
        env=environment,
        cwd=home,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    stack.callback(_end, process, group=True)
    url = f"http://127.0.0.1:{port}"
    await _wait_until_it_answers(f"{url}/health/liveliness")
    yield Rival("LiteLLM", url, {**_JSON, "Authorization": f"Bearer {LITELLM_KEY}"}, process.pid)


def _end(process: subprocess.Popen[str] | subprocess.Popen[bytes], *, group: bool = False) -> None:
    with contextlib.suppress(ProcessLookupError):
        if group:
            os.killpg(process.pid, signal.SIGTERM)
        else:
            process.terminate()
    try:
        process.wait(15)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout is not None:
        process.stdout.close()


@contextmanager
def _home() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="gateway-bench-") as made:
        yield Path(made)


def _free_port() -> int:
    with socket.socket() as made:
        made.bind(("127.0.0.1", 0))
        return int(made.getsockname()[1])


async def _wait_until_it_answers(url: str) -> None:
    deadline = time.monotonic() + READY_TIMEOUT_S
    while True:
        try:
            await asyncio.to_thread(lambda: urllib.request.urlopen(url, timeout=2).close())
        except urllib.error.HTTPError:
            return
        except OSError:
            assert time.monotonic() < deadline, f"nothing answers at {url}"
            await asyncio.sleep(0.2)
        else:
            return
