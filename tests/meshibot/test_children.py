"""What children get of the environment."""

import os

import pytest

from meshibot.children import child_environment
from testbed.command import ROOT


def test_the_child_sees_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MESHIBOT_X_ACCESS_TOKEN_SECRET", "s3cr3t-planted-value")
    for name in ("PGPASSWORD", "AWS_SECRET_ACCESS_KEY", "HF_TOKEN", "NVIDIA_API_KEY", "some_password"):
        monkeypatch.setenv(name, "s3cr3t-planted-value")
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.setenv("https_proxy", "http://user:s3cr3t-planted-value@proxy")
    environment = child_environment()
    assert "s3cr3t-planted-value" not in str(environment)
    assert environment["OMP_NUM_THREADS"] == "3"
    assert environment["PATH"] == os.environ["PATH"]
    assert environment["PYTHONPATH"].split(os.pathsep) == ["/elsewhere", str(ROOT)]
    assert (
        child_environment(networks=True).items()
        >= {**environment, "https_proxy": os.environ["https_proxy"]}.items()
    )
