"""codexctl doctor: what is wrong, and what to do about it."""

from __future__ import annotations

import click

from codexctl.session import Session, verb


@click.command("doctor")
@verb
def command(session: Session) -> int:
    """Check the surroundings as the service sees them; each line with its fix.

    Where the service does not run, the way to it is checked; it is not started. Ends with 0, or with 9 where something
    is an error, as codex-supervisor doctor does, which sees what this shell sees.
    """
    from codex_control.errors import CodexError
    from codex_control.service.doctor_report import Finding, tell

    try:
        client = session.client(start=False)
    except CodexError as error:
        from codexctl.local_checks import local_checks

        findings = [*local_checks(session), Finding("service", "error", error.why or error.what, error.next_step)]
        unseen = "whether Codex works, its login and its sandbox: `codex-supervisor doctor` looks at them from here"
        return tell(findings, not_looked_at=unseen, as_json=session.json)

    from codex_control.v1.admin_pb2 import CheckStatus, DoctorRequest, DoctorResponse

    findings = [
        Finding(one.name, CheckStatus.Name(one.status).removeprefix("CHECK_STATUS_").lower(), one.found, one.fix)
        for one in client.call("Admin.Doctor", DoctorRequest(), DoctorResponse, timeout_s=60).checks
    ]
    from codexctl.last_failure import last_failure, log_hint

    if failure := last_failure(session.paths, of_the_one_before=True):
        fix = f"look for the reason, and report it where it is none of yours{log_hint(session.paths)}"
        findings.append(Finding("earlier service", "warning", failure, fix))
    unseen = "the model provider; the gateway's endpoints (codex-gateway status); the plugin (codexctl claude status)"
    return tell(findings, not_looked_at=unseen, as_json=session.json)
