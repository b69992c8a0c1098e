"""Python programs as a tool: each in a sandbox of its own, which ends with it."""

from fulmen.tools.function import tool_from_function
from fulmen.tools.sandbox import SandboxLimits, SandboxUnavailable, run_python
from fulmen.tools.tool import Tool, ToolError

_MARGIN_SECONDS = 30.0
"""For the launch on a busy machine; the sandbox ends the program itself long before."""


def python_tool(limits: SandboxLimits | None = None) -> Tool:
    """Make the tool; a call answers what the program printed, its last error, and how it ended if not well.

    Example: `await python_tool().run({"code": "print(2 ** 10)"})` is a text of "1024".
    """
    limits = limits or SandboxLimits()

    async def python(code: str) -> str:
        """Run a Python program and read what it prints. It has the standard library, no network and no files, and
        nothing is kept from one program to the next.

        Args:
            code: the whole program; print what you want to see.
        """
        try:
            outcome = await run_python(code, limits=limits)
        except SandboxUnavailable as error:
            raise ToolError(f"no program can be run here: {error}") from error
        return outcome.text

    return tool_from_function(python, timeout=limits.wall_seconds + _MARGIN_SECONDS)
