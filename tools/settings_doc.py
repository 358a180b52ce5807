"""The page docs/configuration.md: an introduction and the tables of the schema.

`python -m tools.settings_doc > docs/configuration.md` writes it anew after a change of the schema.
"""

import sys

from runtime.config_doc import tables
from tools.settings_model import Settings

_INTRODUCTION = """\
# Configuration file

<!-- Written by `python -m tools.settings_doc`; change tools/settings_*.py instead. -->

`dpvs` reads one file, `/etc/dpvs.conf` unless told otherwise. Files written for the C program
work: what this release does not do yet is read, checked and named in a warning at start.

A small complete file:

    netif_defs {
        device dpdk0 {
            port pci 0000:01:00.0
            rx {
                queue_number 2
                rss all
            }
        }
    }
    commands {
        dpip addr add 192.0.2.1/24 dev dpdk0
        ipvsadm -A -t 192.0.2.10:80 -s rr
    }

`dpvs doctor --config FILE` reads a file, lists everything that is wrong with it, and compares it
with the host.

## Syntax

- A line is a keyword and its values. `keyword {` or `keyword NAME {` opens a block that a `}` on a
  line of its own closes. `{` may stand on the next line. Keywords are case sensitive, values like
  `on` are not.
- `!` or `#` at the start of a word makes the rest of the line a comment.
- A word that starts with `<` is decoration up to the next `>`: `<init>`, `<256, 16-8192>`.
- A value with blanks stands in double quotes. There is no escape character.
- `include PATTERN` reads other files in its place. A relative pattern starts in the folder of the
  file it stands in; files are read in alphabetical order; a pattern that matches nothing is an
  error. A block ends in the file it begins in.
- A section may stand several times: its statements add up. A value given twice is a warning, and
  the last one counts.
- Lines of the `commands` block are kept as they are, apart from comments and `include`.

## Errors and warnings

Unknown keywords, missing values, values of the wrong type or out of range, braces that are missing
or surplus and contradictions between blocks are errors. All of them are listed with file and line,
and the file is not used at all:

    dpvs.conf:12: netif_defs/device dpdk0: unknown keyword 'mut' (did you mean 'mtu'?)

Warnings name keywords that are read but have no effect, keywords of former versions, and text
behind a value. The daemon starts.

## Reload

On SIGHUP the file is read again. If it has an error, everything stays as it is. Otherwise the
keywords marked "yes" in the column *reload* take their new value at once; one that was removed
returns to its default. All others need a restart, and a change of theirs is logged.

## Devices and cards

Every device says with `port` what stands behind it:

| port | what it is |
|---|---|
| `pci 0000:01:00.0` | a network card |
| `tap [iface=NAME] [mac=MAC]` | a kernel tap interface, created at start |
| `pcap rx=FILE tx=FILE [infinite]` | frames of one capture file, sent ones to another |
| `null [size=N] [copy=0\\|1]` | empty frames without end, for measurements |
| `ring` | receives what it sends |
| `memif [socket=PATH] [id=N] [role=server\\|client]` | shared memory with another process |
| `vdev DPDK_VDEV` | any virtual device of DPDK, in the form of its `--vdev` option |

`infinite` replays a capture file for ever.

A device without `port` takes a card: those of the command line (`-- -a ADDRESS`) and of
`pci_allow`, in this order, without cards that a `port` names. Cards that are named nowhere are
never touched.

A bond runs on its primary member alone in this release.

## Workers

`worker_defs` gives each core its queues. Exactly one worker is the master; each slave that has
ports lists all devices, with at least one transmit queue each; queue ids of a device count from 0
without gaps. Two slaves share a cpu only with `cpu_isolation off`; a slave may share the master's.

Without `worker_defs` there are a master and as many workers as the largest `rx queue_number` (1 if
none is given). Worker *i* has queue *i* of every device. The master takes the lowest cpu, the
workers the next ones; if just one cpu is missing, the last worker shares the master's.

## Size of the connection table

`conn_pool_size` is the number of connections a worker can hold: every worker has its own table.
(The C program counts per NUMA node.) It is rounded to 2^n-1 and at least 65535. `conn_table_size`
says the same without rounding and also allows small tables; where both are given it wins. A
connection takes about 155 bytes; one with an IPv6 address counts as two.

"""


def page() -> str:
    """Return the whole page."""
    return _INTRODUCTION + "## Keywords\n\n" + tables(Settings).rstrip() + "\n"


if __name__ == "__main__":
    sys.stdout.write(page())
