"""E3: do errors of an endpoint reach a client of another dialect so that its own back-off works?"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import anthropic
import openai
from codex_gateway.dialect.convert import Dialect, Facts, convert_request, error_answer, read_error

from tests.experiments.report import Report
from tests.support.dialect_streams import completion, message, output_message, response

PATHS = {"/v1/messages": Dialect.MESSAGES, "/v1/chat/completions": Dialect.CHAT, "/v1/responses": Dialect.RESPONSES}
ANSWERS: dict[Dialect, dict[str, Any]] = {
    Dialect.MESSAGES: message({"type": "text", "text": "At last."}),
    Dialect.CHAT: completion("At last."),
    Dialect.RESPONSES: response(output_message("At last.")),
}
RATE_LIMITED: dict[Dialect, dict[str, Any]] = {
    Dialect.MESSAGES: {"type": "error", "error": {"type": "rate_limit_error", "message": "Slow down."}},
    Dialect.CHAT: {"error": {"message": "Slow down.", "type": "requests", "code": "rate_limit_exceeded"}},
    Dialect.RESPONSES: {"error": {"message": "Slow down.", "type": "tokens", "code": "rate_limit_exceeded"}},
}
NO_CREDIT: dict[Dialect, tuple[int, dict[str, Any]]] = {
    Dialect.MESSAGES: (400, {"error": {"type": "invalid_request_error", "message": "Your credit balance is too low."}}),
    Dialect.CHAT: (429, {"error": {"message": "You exceeded your current quota.", "code": "insufficient_quota"}}),
    Dialect.RESPONSES: (429, {"error": {"message": "You exceeded your current quota.", "code": "insufficient_quota"}}),
}


@dataclass
class Endpoint:
    """What the endpoint behind the loopback server says: these errors, then an answer."""

    dialect: Dialect
    errors: list[tuple[int, dict[str, str], dict[str, Any]]]
    seen_at_s: list[float] = field(default_factory=list)


@contextmanager
def gateway(endpoint: Endpoint) -> Iterator[str]:
    """A loopback server that is nothing but the conversion; its address."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            endpoint.seen_at_s.append(time.monotonic())
            client = PATHS[self.path]
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            made = convert_request(body, client, Facts(dialect=endpoint.dialect, model="up"))
            if endpoint.errors:
                status, headers, error = endpoint.errors.pop(0)
                read = read_error(endpoint.dialect, status, headers, json.dumps(error).encode())
                self._answer(*error_answer(client, 0, read))
            else:
                self._answer(200, {"content-type": "application/json"}, made.answer(ANSWERS[endpoint.dialect]))

        def _answer(self, status: int, headers: dict[str, str], body: dict[str, Any]) -> None:
            raw = json.dumps(body).encode()
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def ask(client: Dialect, address: str) -> str:
    """One question by the client's own SDK with its own back-off; what it got, or its error's name."""
    try:
        match client:
            case Dialect.MESSAGES:
                with anthropic.Anthropic(api_key="x", base_url=address) as sdk:
                    block = sdk.messages.create(
                        model="m", max_tokens=9, messages=[{"role": "user", "content": "hi"}]
                    ).content[0]
                    return block.text if block.type == "text" else block.type
            case Dialect.CHAT:
                with openai.OpenAI(api_key="x", base_url=f"{address}/v1") as sdk_o:
                    chat = sdk_o.chat.completions.create(model="m", messages=[{"role": "user", "content": "hi"}])
                    return chat.choices[0].message.content or ""
            case Dialect.RESPONSES:
                with openai.OpenAI(api_key="x", base_url=f"{address}/v1") as sdk_o:
                    return sdk_o.responses.create(model="m", input="hi").output_text
    except (openai.APIStatusError, anthropic.APIStatusError) as error:
        return type(error).__name__


def run() -> Report:
    """The experiment."""
    report = Report(
        "E3: errors with retry headers",
        "The real clients ask a loopback server that only converts; the endpoint behind it fails first. Do they wait "
        "as long as the endpoint said, and give up where no wait helps?",
    )
    rows = []
    for upstream in Dialect:
        for client in Dialect:
            for asked_s, headers in ((1.0, {"retry-after": "1"}), (0.3, {"retry-after-ms": "300"})):
                endpoint = Endpoint(upstream, [(429, headers, RATE_LIMITED[upstream])])
                with gateway(endpoint) as address:
                    got = ask(client, address)
                waited_s = endpoint.seen_at_s[-1] - endpoint.seen_at_s[0]
                kept = got == "At last." and len(endpoint.seen_at_s) == 2 and asked_s <= waited_s < asked_s + 0.5
                rows.append(
                    (
                        upstream.value,
                        client.value,
                        f"429, {next(iter(headers))} {asked_s:g} s",
                        len(endpoint.seen_at_s),
                        f"{waited_s:.2f} s",
                        got,
                        report.check(kept, f"{upstream} to {client}: waited {waited_s:.2f} s of {asked_s:g} s"),
                    )
                )
            status, body = NO_CREDIT[upstream]
            endpoint = Endpoint(upstream, [(status, {"retry-after": "1"}, body)] * 5)
            with gateway(endpoint) as address:
                got = ask(client, address)
            kept = len(endpoint.seen_at_s) == 1
            rows.append(
                (
                    upstream.value,
                    client.value,
                    f"{status}, no credit",
                    len(endpoint.seen_at_s),
                    "-",
                    got,
                    report.check(kept, f"{upstream} to {client}: {len(endpoint.seen_at_s)} requests without credit"),
                )
            )
    report.table(("endpoint", "client", "endpoint says", "requests", "waited", "client got", "as it should"), rows)
    return report
