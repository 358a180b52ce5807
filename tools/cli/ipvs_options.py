"""The options of ipvsadm and the scanner that reads them.

The grammar is that of the popt library, which no Python option parser reproduces: short options
bundle with the command letter (-Ln, -Lnc), `-p` takes the next word only if that is not an option,
long names are never abbreviated, and the first option must be the command. Hence a table and a
scanner of our own; click drives the program around it (entry.py).
"""

from dataclasses import dataclass
from enum import Enum

from tools.cli.session import UsageError

TRY_HELP = "Try `ipvsadm -h' or 'ipvsadm --help' for more information."
NO_COMMAND_STATUS = 255


class Takes(Enum):
    """What follows an option."""

    NOTHING = 0
    VALUE = 1
    OPTIONAL_VALUE = 2


@dataclass(frozen=True)
class Option:
    """One option: its long name, its letter (may be empty), and what it takes."""

    long: str
    short: str = ""
    takes: Takes = Takes.NOTHING


@dataclass
class Scanned:
    """A command line split into its command, its options in order, and the remaining words."""

    command: str
    command_value: str | None
    options: list[tuple[str, str | None]]
    words: list[str]


_FLAG, _VALUE = Takes.NOTHING, Takes.VALUE

COMMANDS = (
    Option("add-service", "A"),
    Option("edit-service", "E"),
    Option("delete-service", "D"),
    Option("clear", "C"),
    Option("list", "L"),
    Option("list", "l"),
    Option("zero", "Z"),
    Option("add-server", "a"),
    Option("edit-server", "e"),
    Option("delete-server", "d"),
    Option("add-laddr", "P"),
    Option("del-laddr", "Q"),
    Option("get-laddr", "G"),
    Option("add-blklst", "U"),
    Option("del-blklst", "V"),
    Option("get-blklst", "B"),
    Option("add-whtlst", "O"),
    Option("del-whtlst", "Y"),
    Option("get-whtlst", "W"),
    Option("save", "S"),
    Option("restore", "R"),
    Option("set"),
    Option("start-daemon", "", _VALUE),
    Option("stop-daemon", "", _VALUE),
    Option("help", "h"),
    Option("version", "v"),
)

OPTIONS = (
    Option("tcp-service", "t", _VALUE),
    Option("udp-service", "u", _VALUE),
    Option("sctp-service", "", _VALUE),
    Option("icmp-service", "q", _VALUE),
    Option("icmpv6-service", "1", _VALUE),
    Option("fwmark-service", "f", _VALUE),
    Option("match", "H", _VALUE),
    Option("ipv6", "6"),
    Option("scheduler", "s", _VALUE),
    Option("hash-target", "", _VALUE),
    Option("sched-flags", "", _VALUE),
    Option("slow-start", "", _VALUE),
    Option("persistent", "p", Takes.OPTIONAL_VALUE),
    Option("netmask", "M", _VALUE),
    Option("pe", "", _VALUE),
    Option("ops", "o"),
    Option("synproxy", "j", _VALUE),
    Option("expire-quiescent"),
    Option("quic"),
    Option("quic-lb", "", _VALUE),
    Option("server-id", "", _VALUE),
    Option("conn-timeout", "", _VALUE),
    Option("proxy-protocol", "", _VALUE),
    Option("dest-check", "", _VALUE),
    Option("real-server", "r", _VALUE),
    Option("gatewaying", "g"),
    Option("ipip", "i"),
    Option("masquerading", "m"),
    Option("fullnat", "b"),
    Option("snat", "J"),
    Option("weight", "w", _VALUE),
    Option("u-threshold", "x", _VALUE),
    Option("l-threshold", "y", _VALUE),
    Option("laddr", "z", _VALUE),
    Option("ifname", "F", _VALUE),
    Option("blklst", "k", _VALUE),
    Option("whtlst", "2", _VALUE),
    Option("numeric", "n"),
    Option("connection", "c"),
    Option("sockpair", "", _VALUE),
    Option("persistent-conn"),
    Option("stats"),
    Option("rate"),
    Option("thresholds"),
    Option("timeout"),
    Option("daemon"),
    Option("nosort"),
    Option("sort"),
    Option("exact", "X"),
    Option("cpu", "", _VALUE),
    Option("mcast-interface", "", _VALUE),
    Option("syncid", "", _VALUE),
)

_COMMAND_NAMES = frozenset(option.long for option in COMMANDS)
_BY_LONG = {option.long: option for option in COMMANDS + OPTIONS}
_BY_SHORT = {option.short: option for option in COMMANDS + OPTIONS if option.short}


def scan(argv: list[str]) -> Scanned:
    """Split the words after the program name; raises UsageError for what popt would refuse."""
    found, words = _walk(argv)
    if not found:
        raise UsageError(f"no command given. {TRY_HELP}", NO_COMMAND_STATUS)
    command, command_value, spelled = found[0]
    if command not in _COMMAND_NAMES:
        raise UsageError(f"`{spelled}' stands before the command. {TRY_HELP}", NO_COMMAND_STATUS)
    for name, _, _ in found[1:]:
        if name in _COMMAND_NAMES:
            raise UsageError("multiple commands specified")
    return Scanned(command, command_value, [(name, value) for name, value, _ in found[1:]], words)


def _walk(argv: list[str]) -> tuple[list[tuple[str, str | None, str]], list[str]]:
    """Options as (long name, value, as spelled) and the words that belong to none."""
    found: list[tuple[str, str | None, str]] = []
    words: list[str] = []
    rest = list(reversed(argv))
    while rest:
        word = rest.pop()
        if word == "--":
            words.extend(reversed(rest))
            break
        if word.startswith("--"):
            name, has_value, attached = word[2:].partition("=")
            option = _BY_LONG.get(name)
            value = _take(option, word, attached if has_value else None, rest, not found)
            found.append((option.long if option else name, value, word))
        elif word.startswith("-") and len(word) > 1:
            letters = word[1:]
            while letters:
                letter, letters = letters[0], letters[1:]
                spelled = f"-{letter}"
                option = _BY_SHORT.get(letter)
                attached_value = None
                if option and option.takes is not Takes.NOTHING and letters:
                    attached_value, letters = letters.removeprefix("="), ""
                value = _take(option, spelled, attached_value, rest, not found)
                found.append((option.long if option else letter, value, spelled))
        else:
            words.append(word)
    return found, words


def _take(
    option: Option | None, spelled: str, attached: str | None, rest: list[str], first: bool
) -> str | None:
    """The value of one option: attached to it, or the next word of `rest`, or none."""
    if option is None:
        # An unknown word in the command's place is the "command first" mistake.
        status = NO_COMMAND_STATUS if first else 2
        raise UsageError(f"invalid option `{spelled}'" + (f". {TRY_HELP}" if first else ""), status)
    if option.takes is Takes.NOTHING:
        if attached is not None:
            raise UsageError(f"option `--{option.long}' takes no value")
        return None
    if attached is not None:
        return attached
    if option.takes is Takes.OPTIONAL_VALUE:
        return rest.pop() if rest and not rest[-1].startswith("-") else None
    if not rest:
        raise UsageError(f"option `{spelled}' needs a value")
    return rest.pop()
