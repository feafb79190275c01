"""Builds the Debian package with dpkg-deb alone: `build_deb.py WHEEL --wheels FOLDER --out FOLDER`.

Debian's own gRPC is too old for us, so our dependencies come along, as the wheels of FOLDER, below
/usr/lib/codex-supervisor. They hold compiled code, so the package is for the architecture and the minor version of the
Python that builds it, and its dependencies say so. Needs no network. Prints the path of the package.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import shutil
import subprocess
import sys
import tempfile
from importlib.metadata import PathDistribution
from pathlib import Path

from codex_control.service.completion import completion_script
from codex_control.service.program import Program
from codex_gateway.osservice.units import UNIT as GATEWAY_UNIT
from codex_gateway.osservice.units import unit_text as gateway_unit_text
from codex_supervisor.osservice.units import unit_texts

REPOSITORY = Path(__file__).resolve().parents[2]

# systemd of the Debian release whose Python has this minor version; newer than both is fine too.
SYSTEMD_VERSIONS = {11: 252, 13: 257}

LAUNCHER = """\
#!/usr/bin/python3 -I
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lib" / "codex-supervisor"))

from {module} import main

sys.exit(main())
"""

CONTROL = """\
Package: codex-supervisor
Version: {version}
Architecture: {architecture}
Maintainer: codex-supervisor maintainers <noreply@codex-supervisor.invalid>
Installed-Size: {installed_kib}
Depends: python3 (>= 3.{minor}), python3 (<< 3.{next_minor}), libc6, libgcc-s1, libstdc++6
Recommends: systemd
Suggests: bubblewrap
Section: devel
Priority: optional
Description: a Codex child for every Claude Code session that never loses an answer
 codex-supervisor runs one OpenAI Codex child for each Claude Code session, keeps
 it alive, and records every answer. codexctl is its command line. codex-gateway
 lets Codex and Claude Code use any model provider.
 .
 The services are systemd user units: systemctl --user enable --now
 codex-supervisor, and codex-gateway where it is wanted.
"""

# Services end, with their children, while their program is still there. An upgrade leaves them running.
PRERM = """\
#!/bin/sh
set -e
if [ "$1" = remove ] && [ -z "${DPKG_ROOT:-}" ] && [ -d /run/systemd/system ]; then
	deb-systemd-invoke --user stop codex-supervisor.service codex-gateway.service || true
fi
"""

# Where Debian's shells look for the completions of packages.
COMPLETIONS = {
    "bash": "usr/share/bash-completion/completions/{name}",
    "zsh": "usr/share/zsh/vendor-completions/_{name}",
    "fish": "usr/share/fish/vendor_completions.d/{name}.fish",
}


def main() -> int:
    """Return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("wheel", type=Path, help="our own wheel")
    parser.add_argument("--wheels", type=Path, required=True, help="folder with the wheels of the dependencies")
    parser.add_argument("--out", type=Path, required=True, help="folder for the package")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch) / "root"
        root.mkdir(mode=0o755)
        fill(root, given.wheel, given.wheels)
        print(pack(root, given.out))
    return 0


def fill(root: Path, wheel: Path, wheels: Path) -> None:
    """Put everything that the package installs below `root`."""
    library = root / "usr/lib/codex-supervisor"
    # What cannot be added later with pip: the gateway, and endpoints behind proxies.
    wanted = f"{wheel.resolve()}[gateway,gateway-proxy]"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--find-links", str(wheels)]
    subprocess.run([*pip, "--no-compile", "--target", str(library), wanted], check=True)
    # Their launchers name the Python that builds, and pip's notes the place: dpkg has its own.
    shutil.rmtree(library / "bin", ignore_errors=True)
    for name in ("INSTALLER", "RECORD", "REQUESTED", "direct_url.json"):
        for note in library.glob(f"*.dist-info/{name}"):
            note.unlink()
    # Users cannot write byte code there. It is not checked against the sources: dpkg changes both together.
    compile_all = [sys.executable, "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash"]
    subprocess.run([*compile_all, "-s", str(root), "-p", "/", str(library)], check=True)

    scripts = {
        "claude-codex": "codexctl.claude.launcher",
        "codex-gateway": "codex_gateway.__main__",
        "codex-supervisor": "codex_supervisor.__main__",
        "codexctl": "codexctl.__main__",
    }
    for name, module in scripts.items():
        launcher = root / "usr/bin" / name
        write(launcher, LAUNCHER.format(module=module))
        launcher.chmod(0o755)
    for name in scripts.keys() - {"claude-codex"}:
        for shell, place in COMPLETIONS.items():
            write(root / place.format(name=name), completion_script(name, shell) + "\n")

    # The user manager's own PATH; `codex-supervisor install` makes a unit with the user's.
    program = Program({name: (f"/usr/bin/{name}",) for name in ("codex-supervisor", "codexctl", "codex-gateway")}, {})
    systemd_version = SYSTEMD_VERSIONS.get(sys.version_info.minor, 999)
    units = unit_texts(program, systemd_version) | {GATEWAY_UNIT: gateway_unit_text(program, systemd_version)}
    for name, text in units.items():
        write(root / "usr/lib/systemd/user" / name, text)

    folder = root / "usr/share/doc/codex-supervisor"
    write(folder / "copyright", (REPOSITORY / "LICENSE").read_text(encoding="utf-8"))
    changes = (REPOSITORY / "CHANGELOG.md").read_bytes()
    (folder / "changelog.gz").write_bytes(gzip.compress(changes, mtime=0))


def write(path: Path, text: str) -> None:
    """Write a file that all may read."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    path.chmod(0o644)


def pack(root: Path, out: Path) -> Path:
    """Make the package of what is below `root` and return its path."""
    (metadata,) = (root / "usr/lib/codex-supervisor").glob("codex_supervisor-*.dist-info")
    version = PathDistribution(metadata).version
    files = sorted(path for path in root.rglob("*") if path.is_file())
    minor = sys.version_info.minor
    architecture = subprocess.check_output(["dpkg", "--print-architecture"], text=True).strip()
    control = CONTROL.format(
        version=version,
        architecture=architecture,
        installed_kib=sum(path.stat().st_size for path in files) // 1024,
        minor=minor,
        next_minor=minor + 1,
    )
    sums = [f"{hashlib.md5(path.read_bytes()).hexdigest()}  {path.relative_to(root)}\n" for path in files]  # noqa: S324 (dpkg's format)
    write(root / "DEBIAN/control", control)
    write(root / "DEBIAN/md5sums", "".join(sums))
    write(root / "DEBIAN/prerm", PRERM)
    (root / "DEBIAN/prerm").chmod(0o755)
    for folder in (root, *(path for path in root.rglob("*") if path.is_dir())):
        folder.chmod(0o755)
    out.mkdir(parents=True, exist_ok=True)
    package = out / f"codex-supervisor_{version}_{architecture}.deb"
    # The lowest level of xz: a fifth larger than the default, in a tenth of the time.
    pack_all = ["dpkg-deb", "--root-owner-group", "-Zxz", "-z0", "--build", str(root), str(package)]
    subprocess.run(pack_all, check=True, stdout=sys.stderr)
    return package


if __name__ == "__main__":
    sys.exit(main())
