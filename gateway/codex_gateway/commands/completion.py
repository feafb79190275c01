"""`codex-gateway completion`: a script that completes commands, options and choices."""

from __future__ import annotations

import click


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script of SHELL.

    \b
    bash: codex-gateway completion bash > ~/.local/share/bash-completion/completions/codex-gateway
    zsh:  codex-gateway completion zsh > DIRECTORY-IN-FPATH/_codex-gateway
    fish: codex-gateway completion fish > ~/.config/fish/completions/codex-gateway.fish
    """
    from click.shell_completion import get_completion_class

    found = get_completion_class(shell)
    assert found is not None  # noqa: S101 # click has all three
    root = click.get_current_context().find_root().command
    click.echo(found(root, {}, "codex-gateway", "_CODEX_GATEWAY_COMPLETE").source())
