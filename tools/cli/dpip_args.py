"""The command line of dpip: options anywhere, then an object, a command and its words.

getopt_long of the C library and `getopt` of Python read options alike (they permute, and accept
long names cut short), which click does not do.
"""

import getopt
from dataclasses import dataclass, field

from tools.cli.literals import FAMILIES, parse_address, parse_integer
from tools.cli.session import UsageError

OBJECTS = ("link", "addr", "route", "neigh")
ABSENT_OBJECTS = (
    "vlan",
    "tunnel",
    "qsch",
    "cls",
    "ipv6",
    "iftraf",
    "eal-mem",
    "ipset",
    "flow",
    "maddr",
    "lldp",
)
_COMMANDS = {
    "create": "create",
    "destroy": "destroy",
    "enable": "enable",
    "disable": "disable",
    "add": "add",
    "del": "del",
    "set": "set",
    "change": "set",
    "show": "show",
    "list": "show",
    "replace": "replace",
    "flush": "flush",
    "test": "test",
    "help": "help",
}
_LONGEST_INTERVAL = 86400
_MOST_SAMPLES = 2**31 - 1


@dataclass
class Invocation:
    """What one command line asks for. An empty `object` or `command` means none was given."""

    object: str = ""
    command: str = ""
    words: list[str] = field(default_factory=list)
    family: str | None = None
    verbose: bool = False
    stats: bool = False
    interval: int = 0
    count: int = 0
    color: bool = False
    force: bool = False
    help: bool = False
    version: bool = False


def read_invocation(argv: list[str]) -> Invocation:
    """Read a command line (without program name); raises UsageError."""
    try:
        options, words = getopt.gnu_getopt(
            argv,
            "vhV46f:si:c:CF",
            [
                "verbose",
                "help",
                "version",
                "family=",
                "stats",
                "statistics",
                "interval=",
                "count=",
                "color",
                "force",
            ],
        )
    except getopt.GetoptError as fault:
        raise UsageError(f"Invalid option: {fault.msg}", 1) from fault
    found = Invocation()
    for option, value in options:
        _apply(found, option, value)
    if found.count and not found.interval:
        raise UsageError("missing option '-i'", 1)
    if words:
        found.object = _object(words[0])
    if len(words) > 1 and found.object not in ABSENT_OBJECTS:
        if words[1] not in _COMMANDS:
            raise UsageError(f"invalid command {words[1]}", 1)
        found.command, found.words = _COMMANDS[words[1]], words[2:]
    return found


def _apply(found: Invocation, option: str, value: str) -> None:
    match option:
        case "-v" | "--verbose":
            found.verbose = True
        case "-h" | "--help":
            found.help = True
        case "-V" | "--version":
            found.version = True
        case "-4":
            found.family = "inet"
        case "-6":
            found.family = "inet6"
        case "-f" | "--family":
            if value not in FAMILIES:
                raise UsageError(f"invalid family: {value} (inet or inet6)", 1)
            found.family = value
        case "-s" | "--stats" | "--statistics":
            found.stats = True
        case "-i" | "--interval":
            found.interval = _number(value, _LONGEST_INTERVAL, "interval")
        case "-c" | "--count":
            found.count = _number(value, _MOST_SAMPLES, "count")
        case "-C" | "--color":
            found.color = True
        case "-F" | "--force":
            found.force = True


def _number(text: str, high: int, what: str) -> int:
    value = parse_integer(text, 0, high)
    if value is None:
        raise UsageError(f"invalid {what}: {text} (0 to {high})", 1)
    return value


def _object(name: str) -> str:
    if name not in OBJECTS + ABSENT_OBJECTS:
        raise UsageError("invalid object, use `-h' for help.", 1)
    return name


def bad(text: str) -> UsageError:
    """The error for words of a command that are wrong."""
    return UsageError(f"invalid parameter: {text}", 1)


def read_words(
    words: list[str], valued: tuple[str, ...], flags: tuple[str, ...] = ()
) -> tuple[dict[str, str], str | None]:
    """Read `KEYWORD VALUE` pairs and flags in any order, and at most one word beside them.

    Flags come back in the dictionary too, with themselves as value; a repeated keyword counts
    with its last value. Raises UsageError.
    """
    found: dict[str, str] = {}
    subject = None
    rest = iter(words)
    for word in rest:
        if word in valued:
            value = next(rest, None)
            if value is None:
                raise bad(f"missing argument for `{word}'")
            found[word] = value
        elif word in flags:
            found[word] = word
        elif subject is None:
            subject = word
        else:
            raise bad(f"too many arguments: {word}")
    return found, subject


def read_device(found: dict[str, str]) -> str:
    """The device, where a command cannot do without one."""
    if not found.get("dev"):
        raise bad("no device specified.")
    return found["dev"]


def read_only_device(words: list[str]) -> str | None:
    """The device of a command that takes nothing else, or None."""
    found, subject = read_words(words, ("dev",))
    if subject is not None:
        raise bad(f"too many arguments: {subject}")
    return found.get("dev")


def read_address(text: str, family: str | None) -> tuple[str, str]:
    """Family and canonical text of an address, of the given family if there is one."""
    address = parse_address(text, family)
    if address is None:
        raise bad(f"invalid ipaddress: {family or 'unspec'} {text}")
    return address


def read_integer(text: str, high: int, what: str) -> int:
    """A number from 0 to `high`."""
    value = parse_integer(text, 0, high)
    if value is None:
        raise bad(f"invalid {what}: {text} (0 to {high})")
    return value
