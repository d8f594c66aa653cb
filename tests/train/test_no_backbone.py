"""Training runs where segment-anything, open_clip and torchvision are not installed."""

import subprocess
import sys
from pathlib import Path

from regionspot_core.testing import make_cache

PROGRAM = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("segment_anything", "open_clip", "torchvision"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Missing())
import regionspot.cli
sys.argv[1:] = ["train", "fit", "--cache", "store", "--out", "run", "--config", "demo",
                "--set", "steps=3", "--set", "head.heads=2", "--set", "head.ffn_width=8"]
try:
    regionspot.cli.main()
finally:
    loaded = {name.split(".")[0] for name in sys.modules}
    assert not loaded & {"segment_anything", "open_clip", "torchvision"}, loaded
    assert "regionspot_core.backbones.sam.encoder" not in sys.modules
    import regionspot_core.tiny.models  # cannot be imported: so the above could have failed
"""


def test_fit_needs_no_backbone(tmp_path: Path) -> None:
    make_cache(tmp_path / "store", [2, 1, 3])
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.stderr.splitlines()[-1] == "ModuleNotFoundError: No module named 'open_clip'"
    assert (tmp_path / "run" / "head.safetensors").exists()
