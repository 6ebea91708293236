"""Where the built C parts lie."""

import os
from pathlib import Path

from peephole.errors import MissingToolError

_HERE = Path(__file__).resolve().parent


def path(name: str) -> Path:
    """The file `name` of the C core: installed beside the package, or in `build/` when run from a checkout.

    PEEPHOLE_NATIVE_DIR names another build's `core` folder, for work on the C core. Raises MissingToolError when it
    was not built.
    """
    other = os.environ.get("PEEPHOLE_NATIVE_DIR")
    if other:
        for built in Path(other).glob(f"*/{name}"):
            return built
    installed = _HERE / "native" / name
    if installed.exists():
        return installed
    root = _HERE.parent.parent
    for built in (root / "build" / "core").glob(f"*/{name}"):
        return built
    raise MissingToolError(f"{name} is not built; run `make build`")
