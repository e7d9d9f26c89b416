"""Build script: the metadata is in setup.cfg; this puts mapped_models.json inside the package."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithModelMap(build_py):
    """Copy the model map of the top folder into the built `hardware` package."""

    def run(self):
        """Build as usual, then add the data file."""
        super().run()
        if not self.editable_mode:
            target = Path(self.build_lib, "hardware", "mapped_models.json")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(Path(__file__).with_name("mapped_models.json"), target)


setup(cmdclass={"build_py": BuildWithModelMap})
