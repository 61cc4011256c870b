"""livekit-api (Python) against the server: protobuf over Twirp."""

import asyncio
import json
import os
import sys
import time
import urllib.request

from livekit import api
from livekit.protocol import agent as agent_proto

BASE = os.environ["LIVEKIT_URL"].replace("ws://", "http://")


def workers() -> dict:
    with urllib.request.urlopen(f"{BASE}/dev/workers", timeout=5) as answer:
        return json.load(answer)


async def wait_for(what: str, probe, ceiling_s: float = 40.0):
    start = time.monotonic()
    while time.monotonic() - start < ceiling_s:
        found = probe()
        if found:
            print(f"ok {what} after {time.monotonic() - start:.2f} s")
            return found
        await asyncio.sleep(0.05)
    raise SystemExit(f"FAILED {what}: not within {ceiling_s} s")


async def fails(what: str, code: str, call) -> None:
    try:
        await call
    except api.TwirpError as error:
        assert error.code == code, (what, error.code)
        print(f"ok {what}: {error.code}")
        return
    raise SystemExit(f"FAILED {what}: no error")


async def rooms_and_dispatches(lk: api.LiveKitAPI) -> None:
    room = await lk.room.create_room(api.CreateRoomRequest(name="py", empty_timeout=60, metadata="m"))
    assert room.sid.startswith("RM_") and room.empty_timeout == 60 and room.metadata == "m"
    listed = await lk.room.list_rooms(api.ListRoomsRequest())
    assert "py" in [r.name for r in listed.rooms]
    assert not (await lk.room.list_participants(api.ListParticipantsRequest(room="py"))).participants
    updated = await lk.room.update_room_metadata(api.UpdateRoomMetadataRequest(room="py", metadata="n"))
    assert updated.metadata == "n"
    made = await lk.agent_dispatch.create_dispatch(
        api.CreateAgentDispatchRequest(agent_name="nobody", room="py", metadata="x")
    )
    assert made.id.startswith("AD_")
    found = await lk.agent_dispatch.get_dispatch(made.id, "py")
    assert found is not None and found.agent_name == "nobody" and not found.state.jobs
    await lk.agent_dispatch.delete_dispatch(made.id, "py")
    assert await lk.agent_dispatch.get_dispatch(made.id, "py") is None
    await fails("second delete", "not_found", lk.agent_dispatch.delete_dispatch(made.id, "py"))
    await lk.room.delete_room(api.DeleteRoomRequest(room="py"))
    await fails("second room delete", "not_found", lk.room.delete_room(api.DeleteRoomRequest(room="py")))
    print("ok rooms and dispatches")


async def wrong_key(url: str) -> None:
    async with api.LiveKitAPI(url, "devkey", "not the secret at all, but long enough") as lk:
        await fails("wrong key", "unauthenticated", lk.room.list_rooms(api.ListRoomsRequest()))


async def job(lk: api.LiveKitAPI) -> None:
    """The real worker's job, from dispatch to its report of success."""
    await wait_for("worker registered", lambda: [w for w in workers()["workers"] if w["agent_name"] == "interop"])
    marker = os.environ["INTEROP_MARKER"]
    made = await lk.agent_dispatch.create_dispatch(
        api.CreateAgentDispatchRequest(agent_name="interop", room="py-job", metadata="hello")
    )
    text = await wait_for("job ran", lambda: os.path.exists(marker) and open(marker).read())
    job_id, room, metadata = text.split()
    assert (room, metadata) == ("py-job", "hello")
    (listed,) = (await lk.agent_dispatch.get_dispatch(made.id, "py-job")).state.jobs
    assert listed.id == job_id
    await wait_for("job ended", lambda: all(w["job_count"] == 0 for w in workers()["workers"]))
    # With tracked states (mode queue) the dispatch shows how the job ended.
    (listed,) = (await lk.agent_dispatch.get_dispatch(made.id, "py-job")).state.jobs
    assert listed.state.status == agent_proto.JobStatus.Value("JS_SUCCESS"), listed.state
    print("ok job reported JS_SUCCESS")


async def main() -> None:
    url = os.environ["LIVEKIT_URL"]
    async with api.LiveKitAPI(url, "devkey", "secret") as lk:
        await rooms_and_dispatches(lk)
        await wrong_key(url)
        if "--with-worker" in sys.argv:
            await job(lk)


asyncio.run(main())
