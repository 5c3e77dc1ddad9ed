// A load of clients that follow topics, by the targets that an older bond-trading platform published for its own: more than 95 % connected, the 95th
// percentile of a message's latency and of the time between two messages below 100 ms, fewer than 1 % of the messages dropped. Run by bench/topics.py.
//
// WS_URL: base URL. PEER: bond or centrifuge. TOPICS: how many there are. SECONDS: how long each client stays.
import { check } from "k6";
import exec from "k6/execution";
import { Counter, Rate, Trend } from "k6/metrics";
import { WebSocket } from "k6/websockets";

const seconds = Number(__ENV.SECONDS || 10);
const topics = Number(__ENV.TOPICS || 10);
const peer = __ENV.PEER || "bond";

const connected = new Rate("connected");
const enveloped = new Rate("enveloped");
const dropped = new Rate("dropped");
const received = new Counter("received");
const latency = new Trend("latency", true);
const between = new Trend("between", true);

export const options = {
  scenarios: {
    followers: { executor: "per-vu-iterations", vus: Number(__ENV.CONNECTIONS || 200), iterations: 1, maxDuration: `${seconds + 30}s` },
  },
  thresholds: {
    connected: ["rate>0.95"],
    enveloped: ["rate==1"],
    dropped: ["rate<0.01"],
    latency: ["p(95)<100"],
    between: ["p(95)<100"],
    checks: ["rate==1"],
  },
};

// What a server says, as [number, payload] for an event, and nothing for the rest.
const protocols = {
  bond: {
    url: (topic) => `${__ENV.WS_URL}/ws/market/${topic}?token=${__ENV.TOKEN || "valid_token"}`,
    hello: (topic) => [{ type: "subscribe", topic: `prices.${topic}`, correlation_id: "k6" }, { type: "ping" }],
    events: (text) => {
      const message = JSON.parse(text);
      enveloped.add(["type", "topic", "seq", "ts"].every((field) => message[field] !== undefined && message[field] !== null));
      return message.type === "delta" ? [[message.seq, message.payload]] : [];
    },
    isWelcome: (text) => JSON.parse(text).type === "ack",
  },
  centrifuge: {
    url: () => `${__ENV.WS_URL}/ws`,
    hello: (topic) => [{ id: 1, connect: {} }, { id: 2, subscribe: { channel: topic } }],
    events: (text) => {
      // One frame holds several messages, one on a line.
      const pushed = text.split("\n").filter((line) => line).map(JSON.parse).filter((message) => message.push && message.push.pub);
      return pushed.map(({ push }) => [push.pub.offset, push.pub.data]);
    },
    isWelcome: (text) => text.includes('"id":2'),
  },
};

export default function () {
  const { url, hello, events, isWelcome } = protocols[peer];
  const topic = `T${exec.vu.idInTest % topics}`;
  const socket = new WebSocket(url(topic));
  let [isOpen, isWelcomed, last, at] = [false, false, 0, 0];
  socket.onopen = () => {
    isOpen = true;
    hello(topic).forEach((message) => socket.send(JSON.stringify(message)));
    setTimeout(() => socket.close(), seconds * 1000);
  };
  socket.onmessage = ({ data }) => {
    const now = Date.now();
    isWelcomed = isWelcomed || isWelcome(data);
    for (const [seq, payload] of events(data)) {
      received.add(1);
      latency.add(now - payload.t);
      if (last) {
        between.add(now - at);
        // Each number that is missing is one message dropped.
        for (let missing = last + 1; missing < seq; missing += 1) dropped.add(true);
      }
      dropped.add(false);
      [last, at] = [seq, now];
    }
  };
  socket.onerror = () => {};
  socket.onclose = () => {
    connected.add(isOpen);
    check(null, { "was welcomed": () => isWelcomed, "had events": () => last > 0 });
  };
}
