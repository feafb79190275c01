"""`codex-gateway serve`: the gateway in the foreground, as the service unit starts it."""

from __future__ import annotations

import sys

import click

from codex_gateway.config.model import LogLevel
from codex_gateway.paths import GatewayPaths


@click.command()
@click.option("--demo", is_flag=True, help="With a built-in demo model (no AI), for a first try without a provider.")
@click.option("--port", type=click.IntRange(0, 65_535), help="In place of listen.port; 0 for any free one.")
@click.option("--log-level", type=click.Choice([level.value for level in LogLevel]), help="In place of log.level.")
def serve(demo: bool, port: int | None, log_level: str | None) -> int:
    """Run the gateway in the foreground until Ctrl-C or SIGTERM; SIGHUP reads the configuration again.

    With --demo the model `demo` answers, and any model where no other endpoint is enabled.
    """
    import msgspec
    from codex_control.errors import CodexError
    from codex_control.service.clock import SystemClock
    from codex_control.service.notify import Notifier

    from codex_gateway.config.model import Config
    from codex_gateway.gateway import serve as serve_gateway

    model = None
    if demo:
        from codex_gateway.demo.model import DemoModel

        model = DemoModel()
        if sys.stderr.isatty():
            click.echo("With the demo model, which is no AI. In another terminal: codex-gateway setup codex", err=True)

    def adapt(config: Config) -> Config:
        if port is not None:
            config = msgspec.structs.replace(config, listen=msgspec.structs.replace(config.listen, port=port))
        return config if model is None else model.add_to(config)

    try:
        return serve_gateway(GatewayPaths.from_environment(), log_level=log_level, adapt=adapt, beside=model)
    except CodexError as error:
        # Why it did not start stands in `systemctl status` and `codex-gateway status` then.
        notifier = Notifier(SystemClock())
        notifier.status(str(error))
        notifier.close()
        raise
