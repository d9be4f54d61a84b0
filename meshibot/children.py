"""What a child process gets of the environment: where things are, and nothing that may be a secret."""

import os
import re
from pathlib import Path

import meshibot

_PASSED_ON = re.compile(
    "PATH|HOME|USER|LOGNAME|LANG|LANGUAGE|LC_[A-Z]+|TZ|TMPDIR|TEMP|TMP|XDG_CACHE_HOME|LD_LIBRARY_PATH|"
    "LD_PRELOAD|SYSTEMROOT|VIRTUAL_ENV|CONDA_PREFIX|PYTHON[A-Z]+|MALLOC_[A-Z_]+|CUDA_VISIBLE_DEVICES|"
    "(DYLD|OMP|GOMP|KMP|MKL|OPENBLAS|DNNL|ONEDNN|ATEN|TORCH|PYTORCH)_[A-Z0-9_]+"
)
"""What the child may have of the environment: where things are, and how arithmetic is done. Whatever else
there is may be a secret."""
_OF_NETWORKS = re.compile("(HTTP|HTTPS|ALL|NO)_PROXY|SSL_CERT_(FILE|DIR)|REQUESTS_CA_BUNDLE", re.IGNORECASE)
"""How to get there from here, for a child that asks networks."""


def child_environment(*, networks: bool = False) -> dict[str, str]:
    """A child's environment: no secret of the bot, and this very package, wherever it was imported from.

    With `networks` it has proxies and certificates as well.
    """
    environment = {
        name: value
        for name, value in os.environ.items()
        if _PASSED_ON.fullmatch(name) or (networks and _OF_NETWORKS.fullmatch(name))
    }
    root = str(Path(meshibot.__file__).resolve().parents[1])
    given = environment.get("PYTHONPATH")
    environment["PYTHONPATH"] = f"{given}{os.pathsep}{root}" if given else root
    environment["PYTHONIOENCODING"] = "utf-8"
    return environment
