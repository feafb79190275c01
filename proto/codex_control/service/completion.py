"""The command `completion` of each program of ours."""

from __future__ import annotations

import click


def completion_command(program: str) -> click.Command:
    """Return the command that prints the script which completes the command line of `program`."""

    @click.command("completion", help=_HELP.replace("PROGRAM", program))
    @click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
    def completion(shell: str) -> None:
        click.echo(completion_script(program, shell))

    return completion


def completion_script(program: str, shell: str) -> str:
    """Return the script that completes the command line of `program` in bash, zsh or fish."""
    from click.shell_completion import get_completion_class

    found = get_completion_class(shell)
    assert found is not None  # noqa: S101 # click has all three
    variable = f"_{program.replace('-', '_').upper()}_COMPLETE"
    # The commands are looked at where the script runs, not here.
    return found(click.Command(program), {}, program, variable).source()


_HELP = """Print the completion script of SHELL.

\b
bash, in ~/.local/share/bash-completion/completions:
  PROGRAM completion bash > PROGRAM
zsh, in a directory of $fpath:
  PROGRAM completion zsh > _PROGRAM
fish, in ~/.config/fish/completions:
  PROGRAM completion fish > PROGRAM.fish
"""
