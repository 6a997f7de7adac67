"""Projects that differ from `base/` in the files that an example spells out (`### path`)."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

HERE = Path(__file__).parent


def example(name: str) -> Path:
    return HERE / "bad" / f"{name}.yaml"


def unfold(example: Path, folder: Path) -> Path:
    """The project that a bad example stands for. `(none)` takes a file away, `(hex)` gives its bytes."""
    shutil.copytree(HERE / "base", folder, dirs_exist_ok=True)
    parts = re.split(r"^### (.+)\n", example.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    for name, text in zip(parts[::2], parts[1::2], strict=True):
        path = folder / name
        if text == "(none)\n":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes.fromhex(text[5:]) if text.startswith("(hex)") else text.encode())
    return folder
