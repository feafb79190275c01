"""`codexctl mcp` in a process of its own."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from .conftest import Ctl


class Server:
    """The server in a process of its own, and the client's side of the protocol."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.notifications: list[Any] = []
        self._last_id = 0

    def send(self, method: str, **params: Any) -> int:
        """Send a request, and return its id."""
        self._last_id += 1
        self._write({"jsonrpc": "2.0", "id": self._last_id, "method": method, "params": params})
        return self._last_id

    def notify(self, method: str, **params: Any) -> None:
        self._write({"jsonrpc": "2.0", "method": method, "params": params})

    def _write(self, message: dict[str, Any]) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(message) + "\n")
        self.process.stdin.flush()

    def result(self, request_id: int) -> Any:
        """Read until the answer to a request; what is told meanwhile is kept."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            message = json.loads(line)
            if message.get("id") == request_id:
                return message["result"]
            self.notifications.append(message)
        raise AssertionError("the server ended")

    def call(self, tool: str, **arguments: Any) -> tuple[str, bool]:
        """Call a tool; its text, and whether it is an error."""
        result = self.result(self.send("tools/call", name=tool, arguments=arguments, _meta={"progressToken": 7}))
        return result["content"][0]["text"], result["isError"]


@contextmanager
def serving(ctl: Ctl) -> Iterator[Server]:
    """A server after its handshake, as Claude Code of session s-1 would have started it."""
    ctl.environment["CLAUDE_CODE_SESSION_ID"] = "s-1"
    with ctl.process("mcp", stdin=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        made = Server(process)
        client = {"name": "test", "version": "1"}
        made.result(made.send("initialize", protocolVersion="2025-11-25", capabilities={}, clientInfo=client))
        made.notify("notifications/initialized")
        try:
            yield made
        finally:
            process.stdin.close()  # type: ignore[union-attr] # it is a pipe
            process.wait(20)
