"""codexctl doctor: what is wrong, and what to do about it."""

from __future__ import annotations

import click

from codexctl.session import Session, verb


@click.command("doctor")
@verb
def command(session: Session) -> int:
    """Check the surroundings as the service sees them; each line with its fix.

    Does not start the service. Exit code 0 where nothing is an error, 9 where something is, 3 where the service does
    not run.
    """
    from codex_control.errors import CodexError, Exit, ServiceUnavailable

    from codexctl.output import put_json

    try:
        client = session.client(start=False)
    except CodexError as error:
        if not isinstance(error, ServiceUnavailable):
            raise
        # What the service would see it cannot say now; the way to it is checked from here.
        from codexctl.local_checks import local_checks

        checks = [*local_checks(session), ("service", "error", error.why or error.what, error.next_step)]
        code = Exit.UNAVAILABLE
    else:
        from codex_control.v1.admin_pb2 import CheckStatus, DoctorRequest, DoctorResponse

        found = client.call("Admin.Doctor", DoctorRequest(), DoctorResponse, timeout_s=60).checks
        checks = [
            (one.name, CheckStatus.Name(one.status).removeprefix("CHECK_STATUS_").lower(), one.found, one.fix)
            for one in found
        ]
        from codexctl.last_failure import last_failure, log_hint

        if failure := last_failure(session.paths, of_the_one_before=True):
            fix = f"look for the reason, and report it where it is none of yours{log_hint(session.paths)}"
            checks.append(("earlier service", "warning", failure, fix))
        code = Exit.CONFIG if any(check[1] == "error" for check in checks) else Exit.OK
    if session.json:
        put_json([dict(zip(("name", "status", "found", "fix"), check, strict=True)) for check in checks])
    else:
        _put_checks(checks)
    return code


_COLOURS = {"ok": "green", "warning": "yellow", "error": "red"}


def _put_checks(checks: list[tuple[str, str, str, str]]) -> None:
    from codex_control.safe_text import one_line

    width = max((len(name) for name, *_ in checks), default=0)
    for name, status, found, fix in checks:
        # click leaves the colour out where stdout is no terminal.
        click.echo(f"{click.style(f'{status:<7}', fg=_COLOURS.get(status))}  {name:<{width}}  {one_line(found, 500)}")
        if fix:
            click.echo(f"{'':9}{'':<{width}}  fix: {one_line(fix, 500)}")
