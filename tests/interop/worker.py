"""A real livekit-agents worker: registers, takes a job, and finishes it without joining its room.

`ctx.connect()` needs media, which this server does not have yet.
"""

import os

from livekit.agents import AgentServer, JobContext, JobRequest, cli

# The framework declines jobs on a busy machine; here it must take them.
server = AgentServer(load_threshold=float("inf"), port=0)


async def accept(request: JobRequest) -> None:
    await request.accept(identity=f"agent-{request.id}")


@server.rtc_session(agent_name="interop", on_request=accept)
async def entrypoint(ctx: JobContext) -> None:
    marker = os.environ["INTEROP_MARKER"]
    with open(marker, "w", encoding="utf-8") as file:
        file.write(f"{ctx.job.id} {ctx.job.room.name} {ctx.job.metadata}\n")
    ctx.shutdown(reason="done")


if __name__ == "__main__":
    cli.run_app(server)
