// livekit-server-sdk (Node) against the server: JSON over Twirp.

import assert from 'node:assert/strict';
import { AgentDispatchClient, RoomServiceClient, TwirpError } from 'livekit-server-sdk';

const url = process.env.LIVEKIT_URL.replace('ws://', 'http://');
const rooms = new RoomServiceClient(url, 'devkey', 'secret');
const dispatches = new AgentDispatchClient(url, 'devkey', 'secret');

async function fails(what, code, call) {
  await assert.rejects(call, (error) => {
    assert.ok(error instanceof TwirpError, String(error));
    assert.equal(error.code, code);
    return true;
  });
  console.log(`ok ${what}: ${code}`);
}

const room = await rooms.createRoom({
  name: 'node',
  emptyTimeout: 60,
  metadata: 'm',
  agents: [{ agentName: 'listed', metadata: 'a' }],
});
assert.ok(room.sid.startsWith('RM_'));
assert.equal(room.emptyTimeout, 60);
assert.equal(room.metadata, 'm');
assert.equal(typeof room.creationTime, 'bigint');
assert.deepEqual((await rooms.listRooms(['node'])).map((r) => r.name), ['node']);
assert.deepEqual(await rooms.listParticipants('node'), []);
assert.equal((await rooms.updateRoomMetadata('node', 'n')).metadata, 'n');

const made = await dispatches.createDispatch('node', 'nobody', { metadata: 'x' });
assert.ok(made.id.startsWith('AD_'));
const names = (await dispatches.listDispatch('node')).map((d) => d.agentName).sort();
assert.deepEqual(names, ['listed', 'nobody']);
assert.equal((await dispatches.getDispatch(made.id, 'node')).metadata, 'x');
await dispatches.deleteDispatch(made.id, 'node');
await fails('second delete', 'not_found', dispatches.deleteDispatch(made.id, 'node'));
await fails('participant', 'not_found', rooms.getParticipant('node', 'none'));
await rooms.deleteRoom('node');
await fails('second room delete', 'not_found', rooms.deleteRoom('node'));
const stranger = new RoomServiceClient(url, 'devkey', 'not the secret');
await fails('wrong key', 'unauthenticated', stranger.listRooms());
console.log('ok rooms and dispatches');
