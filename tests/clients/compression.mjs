// A client that compresses: `node compression.mjs ws|browser URL COUNT`. Prints what was agreed on, and the first COUNT messages as JSON.
// `browser` is the WebSocket of the WHATWG standard, as browsers have it.
import { WebSocket as NodeSocket } from "ws";

const [kind, url, count] = process.argv.slice(2);
const socket =
  kind === "ws" ? new NodeSocket(url, { perMessageDeflate: { threshold: 0 } }) : new globalThis.WebSocket(url);
const messages = [];
socket.onopen = () => socket.send(JSON.stringify({ type: "ping", correlation_id: "c".repeat(200) }));
socket.onmessage = ({ data }) => {
  messages.push(JSON.parse(data));
  const hasPong = messages.some((message) => message.type === "pong");
  if (messages.length >= Number(count) && hasPong) {
    console.log(JSON.stringify({ extensions: socket.extensions, messages }));
    socket.close();
  }
};
socket.onerror = ({ message }) => {
  console.error(message);
  process.exit(1);
};
