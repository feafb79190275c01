"""The command `completion` of each program of ours."""

from __future__ import annotations

import click


def completion_command(program: str) -> click.Command:
    """Return the command that prints the script which completes the command line of `program`."""

    @click.command("completion", help=_HELP.replace("PROGRAM", program))
    @click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
    def completion(shell: str) -> None:
        from click.shell_completion import get_completion_class

        found = get_completion_class(shell)
        assert found is not None  # noqa: S101 # click has all three
        root = click.get_current_context().find_root().command
        variable = f"_{program.replace('-', '_').upper()}_COMPLETE"
        click.echo(found(root, {}, program, variable).source())

    return completion


_HELP = """Print the completion script of SHELL.

\b
bash, in ~/.local/share/bash-completion/completions:
  PROGRAM completion bash > PROGRAM
zsh, in a directory of $fpath:
  PROGRAM completion zsh > _PROGRAM
fish, in ~/.config/fish/completions:
  PROGRAM completion fish > PROGRAM.fish
"""
