// The stock Socket.IO client against the echo: every transport, acknowledgements, bytes, refusals.
const { io } = require("socket.io-client");
const assert = require("node:assert");

const url = process.argv[2];
const hangs = setTimeout(() => { console.error("nothing happens"); process.exit(1); }, 30_000);

const event = (socket, name) => new Promise((resolve) => socket.once(name, (...args) => resolve(args)));

async function talks(transports, becomes) {
  const socket = io(url, { transports, auth: { token: "123" }, forceNew: true, reconnection: false });
  const auth = event(socket, "auth");
  await event(socket, "connect");
  assert.deepStrictEqual(await auth, [{ token: "123" }]);
  if (becomes) {
    const engine = socket.io.engine;
    if (engine.transport.name !== becomes) await new Promise((resolve) => engine.once("upgrade", resolve));
    assert.strictEqual(engine.transport.name, becomes);
  }
  const back = event(socket, "message-back");
  socket.emit("message", 1, "two", { three: [true] }, Buffer.from([1, 2, 3]));
  assert.deepStrictEqual(await back, [1, "two", { three: [true] }, Buffer.from([1, 2, 3])]);
  const acked = await socket.timeout(10_000).emitWithAck("message-with-ack", { deep: [Buffer.from("bytes")] }, "text");
  assert.deepStrictEqual(acked, { deep: [Buffer.from("bytes")] });
  const order = [];
  socket.on("message-back", (at) => order.push(at));
  for (let at = 0; at < 500; at++) socket.emit("message", at);
  await socket.timeout(10_000).emitWithAck("message-with-ack", "done");
  assert.deepStrictEqual(order, Array.from({ length: 500 }, (_, at) => at));
  const gone = event(socket, "disconnect");
  socket.disconnect();
  assert.deepStrictEqual((await gone)[0], "io client disconnect");
}

async function isRefused() {
  const socket = io(url + "/random", { transports: ["websocket"], forceNew: true, reconnection: false });
  const [error] = await event(socket, "connect_error");
  assert.strictEqual(error.message, "Invalid namespace");
  socket.disconnect();
}

(async () => {
  await talks(["polling"], "polling");
  await talks(["websocket"], "websocket");
  await talks(["polling", "websocket"], "websocket");
  await isRefused();
  clearTimeout(hangs);
})().catch((error) => { console.error(error); process.exit(1); });
