// The stock Socket.IO client loses its connection, misses messages, and is brought back to where it was.
const { io } = require("socket.io-client");
const assert = require("node:assert");

const [url, stream] = process.argv.slice(2);
const hangs = setTimeout(() => { console.error("nothing happens"); process.exit(1); }, 30_000);
const event = (socket, name) => new Promise((resolve) => socket.once(name, (...args) => resolve(args)));

(async () => {
  const options = { auth: { token: "ada" }, forceNew: true, reconnectionDelay: 200, reconnectionDelayMax: 400 };
  for (const transports of [["websocket"], ["polling"]]) {
    const here = io(url, { ...options, transports });
    const other = io(url, { ...options, transports: ["websocket"] });
    await Promise.all([event(here, "resumed"), event(other, "resumed")]);
    assert.strictEqual(here.recovered, false);
    const heard = [];
    here.on("new_message", (told) => heard.push(told.body.text));
    const say = (text) => other.timeout(10_000).emitWithAck("say", { stream, text });
    const first = event(here, "new_message");
    assert.ok((await say("one")).seq > 0);
    await first;
    const back = event(here, "resumed");
    const gone = event(here, "disconnect");
    here.io.engine.close();
    await gone;
    await say("two");
    await say("three");
    await back;
    assert.strictEqual(here.recovered, true);
    await say("four");
    while (heard.length < 4) await event(here, "new_message");
    assert.deepStrictEqual(heard, ["one", "two", "three", "four"]);
    const refused = await here.timeout(10_000).emitWithAck("fly", {});
    assert.strictEqual(refused.error.data.code, "unknown_request");
    here.disconnect();
    other.disconnect();
  }
  const nobody = io(url, { auth: { token: "mallory" }, transports: ["websocket"], forceNew: true, reconnection: false });
  const [error] = await event(nobody, "connect_error");
  assert.strictEqual(error.data.code, "unauthenticated");
  nobody.disconnect();
  clearTimeout(hangs);
})().catch((error) => { console.error(error); process.exit(1); });
