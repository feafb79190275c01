"""codexctl completion: a script that completes verbs, options and instances."""

from __future__ import annotations

import click


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(shell: str) -> None:
    """Print the completion script of SHELL.

    \b
    codexctl completion bash > ~/.local/share/bash-completion/completions/codexctl
    codexctl completion zsh > DIRECTORY-IN-FPATH/_codexctl
    codexctl completion fish > ~/.config/fish/completions/codexctl.fish
    """
    from click.shell_completion import get_completion_class

    found = get_completion_class(shell)
    assert found is not None  # noqa: S101 # click has all three
    root = click.get_current_context().find_root().command
    click.echo(found(root, {}, "codexctl", "_CODEXCTL_COMPLETE").source())
