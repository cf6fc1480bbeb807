// The stock Socket.IO client at Folio's own door: signed in, recovered without a repeat, told who is here, sent away.
const { io } = require("socket.io-client");
const assert = require("node:assert");

const [url, ada, bob, conversation, other, bobs] = process.argv.slice(2);
const hangs = setTimeout(() => { console.error("nothing happens"); process.exit(1); }, 60_000);
const event = (socket, name) => new Promise((resolve) => socket.once(name, (...args) => resolve(args)));

async function post(token, path, body) {
  const headers = { authorization: `Bearer ${token}`, "content-type": "application/json" };
  const heard = await fetch(url + path, { method: "POST", headers, body: body && JSON.stringify(body) });
  assert.ok(heard.ok, `${path}: ${heard.status} ${await heard.text()}`);
}

const say = (where, text) => post(bob, `/api/v1/chat/conversations/${where}/messages`, { text });

async function recovers(transports) {
  const options = { transports, forceNew: true, reconnectionDelay: 200, reconnectionDelayMax: 400 };
  const here = io(url, { ...options, auth: { token: ada } });
  const resumed = new Promise((resolve) => {
    let streams = 0;
    here.on("resumed", () => { if (++streams === 3) resolve(); });
  });
  const heard = [];
  here.on("new_message", (told) => heard.push(told.body.text));
  await resumed;
  assert.strictEqual(here.recovered, false);
  const until = async (count) => { while (heard.length < count) await event(here, "new_message"); };
  await say(other, "zero");
  await until(1);
  await say(conversation, "one");
  await until(2);
  const gone = event(here, "disconnect");
  here.io.engine.close();
  await gone;
  await say(conversation, "two");
  await say(other, "three");
  await event(here, "connect");
  assert.strictEqual(here.recovered, true);
  await until(4);
  await say(conversation, "four");
  await until(5);
  assert.deepStrictEqual(heard.slice(0, 2), ["zero", "one"]);
  assert.deepStrictEqual(heard.slice(2, 4).sort(), ["three", "two"]);
  assert.deepStrictEqual(heard.slice(4), ["four"]);
  here.disconnect();
}

(async () => {
  await recovers(["websocket"]);
  await recovers(["polling"]);
  await recovers(["polling", "websocket"]);

  const options = { transports: ["websocket"], forceNew: true, reconnectionDelay: 100 };
  const here = io(url, { ...options, auth: { token: ada } });
  await event(here, "connect");
  const state = event(here, "presence");
  assert.deepStrictEqual(await here.timeout(10_000).emitWithAck("presence.follow", { users: [bobs] }), {});
  assert.strictEqual((await state)[0].state[0].online, false);
  const online = event(here, "user_online");
  const there = io(url, { ...options, auth: { token: bob } });
  const [told] = await online;
  assert.deepStrictEqual([told.user_id, told.online, told.devices], [bobs, true, ["other"]]);
  there.disconnect();

  const nobody = io(url, { ...options, auth: { token: "nonsense" } });
  const [error] = await event(nobody, "connect_error");
  assert.strictEqual(error.data.code, "unauthenticated");

  const away = event(here, "disconnect");
  await post(ada, "/api/v1/auth/logout");
  assert.strictEqual((await away)[0], "io server disconnect");
  assert.strictEqual(here.active, false, "it does not come back with what is good no more");
  clearTimeout(hangs);
  process.exit(0);
})().catch((error) => { console.error(error); process.exit(1); });
