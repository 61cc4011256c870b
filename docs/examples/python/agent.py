"""A livekit-agents worker that serves live batches: `python agent.py start`."""

import asyncio
import os

from dialtone_agent import Call, dial
from livekit.agents import AgentServer, JobContext, JobRequest, cli

# The load at which livekit-agents begins to decline jobs; `inf` never declines.
server = AgentServer(load_threshold=float(os.environ.get("LOAD_THRESHOLD", "0.7")), port=0)


async def talk(ctx: JobContext, call: Call) -> tuple[str, str]:
    """Rings and talks; gives the outcome and why. Put your agent here."""
    # await ctx.connect()
    # ... dial call.to into the room; give "no_answer", "busy" or "declined" as it comes ...
    await call.status("in_call")
    # ... start your AgentSession with call.variables; this example only waits ...
    if call.variables.get("wants") == "no more calls":
        await call.opt_out()
    try:
        await asyncio.wait_for(call.hang_up.wait(), float(call.variables.get("talk_s", 2)))
    except TimeoutError:
        return "completed", "said all"
    return "failed", call.why


async def accept(request: JobRequest) -> None:
    await request.accept(identity=f"agent-{request.id}")


# Dispatches of live batches ask for this name.
@server.rtc_session(agent_name="batch-worker", on_request=accept)
async def entrypoint(ctx: JobContext) -> None:
    try:
        async with dial(ctx.job.metadata, ctx.job.id) as call:
            await call.complete(*await talk(ctx, call))
    except PermissionError as refused:
        print(f"{ctx.job.room.name}: {refused}", flush=True)
    ctx.shutdown(reason="done")


if __name__ == "__main__":
    cli.run_app(server)
