"""What an operator is told of settings that can be used as they are; most of it is in `test_layers`."""

import os
from pathlib import Path

import pytest

from meshibot.config import load_settings


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
@pytest.mark.parametrize(("owner", "said"), [(0, 0), (4321, 0), (4322, 1)])
@pytest.mark.parametrize("secret", [True, False])
def test_secrets_in_another_users_file_are_said(
    place: Path, monkeypatch: pytest.MonkeyPatch, owner: int, said: int, secret: bool
) -> None:
    """Root may write it anyway; whoever else owns it can make it readable again."""
    dotenv = place / ".env"
    dotenv.write_text("MESHIBOT_X_ACCESS_TOKEN=s3cr3t\n" if secret else "MESHIBOT_CAPTIONS=en\n")
    dotenv.chmod(0o600)
    os.chown(dotenv, owner, -1)
    monkeypatch.setattr("os.geteuid", lambda: 4321)
    cautions = load_settings().cautions
    assert len(cautions) == (said if secret else 0)
    assert all("belongs to another user" in text for text in cautions)
