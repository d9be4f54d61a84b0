"""What `meshibot check` says: everything that a post depends on, a line an account and a thing.

`machine` looks at what is here, `network` at the accounts. Needs no torch, and a network's library only where
that network is asked.
"""

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime

from meshibot.config import Settings
from meshibot.health import machine, network
from meshibot.health.finding import Finding, Level
from meshibot.logs import Redactor

__all__ = ["Finding", "Level", "check", "exit_status"]


def check(settings: Settings, now: datetime, *, paid: bool = False) -> list[Finding]:
    """Look at everything that a post depends on; asks the networks who the accounts are, and posts nothing.

    Only with `paid` what a network charges for. It changes nothing either: a stopped account stays so until
    `meshibot resume`.
    """
    findings = [Finding("settings", "warning", warning) for warning in settings.warnings]
    findings += machine.look(settings, now)
    findings += network.twins(settings)
    for account in settings.accounts:
        findings += network.look(settings, account, now, paid=paid)
    redact = Redactor(settings.secrets)  # what a driver or a network says of a failure may quote them
    return [replace(finding, says=redact(finding.says)) for finding in findings]


def exit_status(findings: Iterable[Finding]) -> int:
    """0 when all is well, 1 with a warning, 2 when something is broken."""
    levels = {finding.level for finding in findings}
    return 2 if "failed" in levels else 1 if "warning" in levels else 0
