"""Programs that ``namespaces`` compares with; what is missing is installed if that is possible."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import click

POLICY = Path("/usr/sbin/policy-rc.d")
MODULES = ("/usr/lib/nginx/modules", "/usr/share/nginx/modules", "/usr/lib64/nginx/modules")


def stream_module() -> str | None:
    """Path of nginx's stream module, "" when it is built in, None when there is none."""
    for folder in MODULES:
        path = Path(folder) / "ngx_stream_module.so"
        if path.exists():
            return str(path)
    if not shutil.which("nginx"):
        return None
    done = subprocess.run(["nginx", "-V"], capture_output=True, text=True, check=False)
    return "" if "--with-stream" in done.stderr.split() else None


WANTED: dict[str, tuple[str, Callable[[], bool]]] = {
    "nginx stream": ("libnginx-mod-stream", lambda: stream_module() is not None),
    "HAProxy": ("haproxy", lambda: shutil.which("haproxy") is not None),
    "nftables": ("nftables", lambda: shutil.which("nft") is not None),
}


def _install(package: str) -> None:
    """Try to install a Debian package, without starting services it brings."""
    ours = not POLICY.exists()
    try:
        if ours:
            POLICY.write_text("#!/bin/sh\nexit 101\n")
            POLICY.chmod(0o755)
        subprocess.run(
            ["apt-get", "-q", "-y", "install", "--no-install-recommends", package],
            env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            timeout=300, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return
    finally:
        if ours:
            POLICY.unlink(missing_ok=True)


def provide(install: bool) -> dict[str, str]:
    """Name -> why it cannot take part, for those programs that cannot."""
    absent = {}
    for name, (package, present) in WANTED.items():
        if not present() and install:
            click.echo(f"installing {package}", err=True)
            _install(package)
        if not present():
            absent[name] = f"not installed (Debian package {package})"
    return absent
