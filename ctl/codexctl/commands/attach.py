"""codexctl attach: follow a turn that was asked for before."""

from __future__ import annotations

import click

from codexctl.completing import complete_turn
from codexctl.session import Session, starting_verb


@click.command("attach")
@click.argument("turn", shell_complete=complete_turn)
@click.option(
    "--final-only/--details", default=None, help="Show the final answer alone, or commands, files and commentary too."
)
@click.option("--stream", is_flag=True, help="In a pipe, write the text as it comes, also what is void later.")
@click.option("--after-seq", type=click.IntRange(min=0), default=0, help="Only events after this sequence number.")
@click.option(
    "--interactive/--no-interactive",
    default=None,
    help="Whether a person answers what Codex asks, here or with codexctl approve. Default: on a terminal.",
)
@starting_verb
def command(
    session: Session, turn: str, final_only: bool | None, stream: bool, after_seq: int, interactive: bool | None
) -> int:
    """Show TURN (its id or its request id) from its beginning to its end.

    Output, Ctrl-C and exit code are those of codexctl ask.
    """
    from codexctl.feed import TurnFeed
    from codexctl.follow import follow
    from codexctl.showing import Showing

    showing = Showing(final_only, stream, interactive if not session.json else bool(interactive))
    feed = TurnFeed(
        lambda start: session.client(start=start),
        turn_id=turn,
        interactive=showing.says_interactive,
        after_seq=after_seq,
    )
    return follow(session, feed, showing)
