"""Generates the gRPC stubs from `proto/` whenever the project is built or installed, editable installs included.

Run it by itself (`python hatch_build.py`) after an edit of a `.proto` file.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Any

PROTO_ROOT = Path(__file__).resolve().parent / "proto"


def generate_stubs(root: Path = PROTO_ROOT) -> list[Path]:
    """Write `*_pb2.py`, `*_pb2.pyi` and `*_pb2_grpc.py` beside each `.proto` file below `root`; return the sources."""
    from grpc_tools import protoc

    sources = sorted(root.rglob("*.proto"))
    well_known = str(files("grpc_tools") / "_proto")
    out = str(root)
    arguments = ["protoc", f"-I{out}", f"-I{well_known}"]
    arguments += [f"--python_out={out}", f"--pyi_out={out}", f"--grpc_python_out={out}"]
    if protoc.main([*arguments, *map(str, sources)]) != 0:
        raise SystemExit("protoc failed: its message above names the file and line")
    return sources


try:
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface
except ImportError:  # run by itself, where only grpcio-tools is needed
    pass
else:

    class StubsHook(BuildHookInterface[Any]):
        """The build hook that hatchling calls."""

        def initialize(self, version: str, build_data: dict[str, Any]) -> None:
            """Generate the stubs before files are collected."""
            generate_stubs()


if __name__ == "__main__":
    generate_stubs()
