"""One call of a Dialtone batch, for a livekit-agents job. See docs/python-agents.md."""

import asyncio
import json
import time
from contextlib import asynccontextmanager

import aiohttp


@asynccontextmanager
async def dial(metadata: str, claimer: str):
    """Wins the dial claim, or raises PermissionError: then do not ring. Beats, sees to an outcome."""
    job = json.loads(metadata)
    bearer = {"Authorization": f"Bearer {job['capability']}"}
    async with aiohttp.ClientSession(headers=bearer, timeout=aiohttp.ClientTimeout(total=5)) as http:
        call = Call(http, job, await _post(http, job, "calls/{call_id}/claim", claimer=claimer))
        beats = asyncio.create_task(call._heartbeat())
        try:
            yield call
        finally:
            beats.cancel()
            if not call.completed:
                await call.complete("failed", "the agent said no outcome")


class Call:
    """Ring `to`; hang up as soon as `hang_up` is set, `why` says for what reason."""

    def __init__(self, http: aiohttp.ClientSession, job: dict, won: dict):
        self.http, self.job, self.to, self.variables = http, job, won["to"], job.get("variables") or {}
        self.hang_up, self.why, self.state, self.completed = asyncio.Event(), "", "ringing", False
        self._beat_s = won["heartbeat_ms"] / 1000  # the end is a beat early: the outcome must arrive
        self._end = time.monotonic() + won["budget_ms"] / 1000 - self._beat_s

    async def status(self, status: str) -> None:
        """`ringing`, then `in_call` as soon as the callee has answered."""
        self.state = status
        await _post(self.http, self.job, "calls/{call_id}/status", status=status)

    async def opt_out(self) -> None:
        """The callee wants no more calls: the number is never dialled again."""
        await _post(self.http, self.job, "calls/{call_id}/opt-out")

    async def complete(self, outcome: str, reason: str = "") -> None:
        """`completed`, `failed`, `no_answer`, `busy`, `declined` or `voicemail`."""
        self.completed = True
        body = {name: self.job[name] for name in ("call_id", "entry_id", "attempt")}
        await _post(self.http, self.job, "entry-completed", **body, status=outcome, reason=reason)

    async def _heartbeat(self) -> None:
        path, seq, heard = "calls/{call_id}/heartbeat", 0, time.monotonic()
        while not self.why:
            await asyncio.sleep(max(0.0, min(self._beat_s, self._end - time.monotonic())))
            seq += 1
            try:
                said = await _post(self.http, self.job, path, tries=1, seq=seq, state=self.state)
                heard, self.why = time.monotonic(), "" if said["continue"] else said["reason"]
            except (aiohttp.ClientError, TimeoutError):  # unheard for long: the call is lost
                self.why = "platform lost" if time.monotonic() - heard > 2.5 * self._beat_s else ""
            except PermissionError as refused:
                self.why = str(refused)
            self.why = self.why or ("budget over" if time.monotonic() >= self._end else "")
        self.hang_up.set()


async def _post(http: aiohttp.ClientSession, job: dict, path: str, tries: int = 6, **body) -> dict:
    for left in reversed(range(tries)):  # every request may be repeated: the platform knows it again
        try:
            async with http.post(f"{job['api_url']}/batch/{path.format(**job)}", json=body) as answer:
                said = await answer.json(content_type=None)
            if answer.status < 400:
                return said
            if answer.status < 500 or not left:
                raise PermissionError(said["code"])
        except (aiohttp.ClientError, TimeoutError, ValueError):
            if not left:
                raise
        await asyncio.sleep(0.5)
