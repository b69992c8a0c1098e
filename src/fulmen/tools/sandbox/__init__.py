"""Runs untrusted programs under bubblewrap: no network, nothing of the host but /usr, limits on all that they use.

The path of a job: `run` checks it, `control_group` takes what the kernel grants, `command` writes bubblewrap's
arguments with the filter of `system_calls`, `process` launches, proves the isolation, watches (`usage`) and ends it,
and `workspace` carries files in and out. `python_program` runs Python so, and says what a model should read of it.
docs/sandbox.md says what is isolated and what is not.
"""

from fulmen.tools.sandbox.command import SandboxUnavailable
from fulmen.tools.sandbox.job import CapturedOutput, SandboxJob, SandboxResult
from fulmen.tools.sandbox.limits import Limit, SandboxLimits
from fulmen.tools.sandbox.python_program import PythonOutcome, run_python
from fulmen.tools.sandbox.run import check_sandbox, run_sandboxed, run_sandboxed_blocking

__all__ = [
    "CapturedOutput",
    "Limit",
    "PythonOutcome",
    "SandboxJob",
    "SandboxLimits",
    "SandboxResult",
    "SandboxUnavailable",
    "check_sandbox",
    "run_python",
    "run_sandboxed",
    "run_sandboxed_blocking",
]
