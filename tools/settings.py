"""Reading dpvs.conf: text or file in, checked and complete settings out.

    loaded = load("/etc/dpvs.conf", cpus=os.sched_getaffinity(0))
    for warning in loaded.warnings: ...
    loaded.settings.neigh_defs.timeout

Every error of a file is found before anything is used: `load` either returns settings that are
complete and consistent or raises ConfigError, which names file and line of each problem.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from runtime.config import Node, parse_file, parse_text
from runtime.config_build import build
from runtime.config_report import Problem, Report, in_file_order
from runtime.config_schema import keywords, raw_sections
from tools.settings_check import check
from tools.settings_derive import complete
from tools.settings_model import Settings

__all__ = ["Loaded", "Settings", "load", "loads", "read_text"]

_SECTIONS = tuple(keywords(Settings))
_RAW = tuple(raw_sections(Settings))
_COMPARED = ("", "global_defs", "netif_defs", "worker_defs")  # blocks that refer to each other


@dataclass(frozen=True)
class Loaded:
    """Settings that are ready to use, and what the operator should be told about them."""

    settings: Settings
    warnings: tuple[Problem, ...]


def read_text(text: str, file: str = "dpvs.conf", report: Report | None = None) -> Settings:
    """Settings exactly as a text says them: nothing derived, sections not compared.

    Raises ConfigError, unless a report takes the problems.
    """
    found = report if report is not None else Report()
    settings = _settings(parse_text(text, file, found, _SECTIONS, _RAW), found)
    if report is None:
        found.raise_errors()
    return settings


def load(
    path: str, *, cpus: Collection[int] | None = None, pci_allow: Sequence[str] = ()
) -> Loaded:
    """Read, complete and check a configuration file (or several, for a glob pattern).

    `cpus` are the cpus the host offers (None: not checked); `pci_allow` are cards allowed on the
    command line, before those of the file. Raises ConfigError with every error of the file.
    """
    report = Report()
    return _finish(
        _settings(parse_file(path, report, _SECTIONS, _RAW), report), report, path, cpus, pci_allow
    )


def loads(
    text: str,
    file: str = "dpvs.conf",
    *,
    cpus: Collection[int] | None = None,
    pci_allow: Sequence[str] = (),
) -> Loaded:
    """Like `load`, from a text; `file` is its name in messages."""
    report = Report()
    return _finish(read_text(text, file, report), report, file, cpus, pci_allow)


def _settings(root: Node, report: Report) -> Settings:
    return build(Settings, root.children, report)


def _finish(
    settings: Settings,
    report: Report,
    file: str,
    cpus: Collection[int] | None,
    pci_allow: Sequence[str],
) -> Loaded:
    # Comparing blocks one of which was not understood would only produce errors that are none.
    if not any(error.context.split("/")[0] in _COMPARED for error in report.errors):
        settings = complete(settings, report, file, cpus, pci_allow)
        check(settings, report, file, cpus)
    report.raise_errors()
    return Loaded(settings, tuple(in_file_order(report.warnings)))
