"""Click commands whose mistakes are told in one line, as those of ipvsadm and dpip are."""

from __future__ import annotations

import sys
from typing import Any, NoReturn

import click

# Raised from click 8.2 on instead of printing the help at once.
NO_ARGUMENTS: Any = getattr(click.exceptions, "NoArgsIsHelpError", ())


class OneLineGroup(click.Group):
    """A group that answers a wrong command line with one line on stderr and exit status 2."""

    def main(self, *args: Any, **extra: Any) -> Any:
        """As click.Group, which would print usage and a hint as well."""
        parent: Any = super()
        if not extra.pop("standalone_mode", True):
            return parent.main(*args, standalone_mode=False, **extra)
        try:
            status = parent.main(*args, standalone_mode=False, **extra)
        except NO_ARGUMENTS as problem:
            problem.show()
            sys.exit(problem.exit_code)
        except click.ClickException as problem:
            self._fail(problem.format_message(), problem.exit_code)
        except click.Abort:
            self._fail("aborted", 1)
        sys.exit(status if isinstance(status, int) else 0)

    def _fail(self, text: str, status: int) -> NoReturn:
        click.echo(f"{self.name}: {' '.join(text.split())}", err=True)
        sys.exit(status)
