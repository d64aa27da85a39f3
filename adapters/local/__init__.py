"""The terminal on this machine: the adapter that serves it, and the chat that a person or a script opens."""

from adapters.local.options import ChatOptions

__all__ = ["ChatOptions", "chat"]


async def chat(options: ChatOptions) -> int:
    """Chat until the input ends or the person leaves; returns the exit code.

    At a terminal this is an interactive chat. Otherwise each input line is a message that is sent once the
    reply to the one before is out: 0 once the last reply is out, 1 if the gateway was lost or a message was
    refused or failed. Errors are told on standard error; nothing is raised for them.
    """
    if options.at_terminal:
        from adapters.local.terminal import run_terminal

        return await run_terminal(options)
    from adapters.local.pipe import run_pipe

    return await run_pipe(options)
