"""The console side of a tool: which instance it talks to, standard streams, exit status.

click does this part. It passes every word it does not know on untouched, because the grammars of
the two tools (popt's and getopt's, with words that look like options in click's eyes) are older
than click and read by the tools themselves.
"""

import sys
from collections.abc import Callable
from typing import IO, Any

import click

from tools.client import DEFAULT_NAME, ControlClient, socket_path


class _OneLineError(click.ClickException):
    """An error in click's own part of the command line, shown the way the tools show theirs."""

    exit_code = 2

    def __init__(self, program: str, message: str) -> None:
        super().__init__(message)
        self._program = program

    def show(self, file: IO[Any] | None = None) -> None:
        click.echo(f"{self._program}: {self.message}", file=file, err=file is None)


class _PassingCommand(click.Command):
    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except click.UsageError as fault:
            raise _OneLineError(self.name or "", fault.format_message()) from fault


def console_command(program: str, run: Callable[..., int]) -> click.Command:
    """The program `program` as a command to be called without arguments.

    `run` gets the words after the program name, a connected transport, and the two streams.
    """

    @click.command(
        program,
        cls=_PassingCommand,
        add_help_option=False,
        context_settings={"ignore_unknown_options": True},
    )
    @click.option("--name", envvar="DPVS_NAME", default=DEFAULT_NAME)
    @click.argument("argv", nargs=-1, type=click.UNPROCESSED)
    @click.pass_context
    def command(ctx: click.Context, name: str, argv: tuple[str, ...]) -> None:
        try:
            path = socket_path(name)
        except ValueError as fault:
            raise _OneLineError(program, str(fault)) from fault
        with ControlClient(path) as transport:
            ctx.exit(run(list(argv), transport, sys.stdout, sys.stderr))

    return command
