// The client of the older bond-trading platform, written from its README alone: Node's `ws`, five paths, the literal token.
// Usage: bondx.mjs WS_URL. It stays until every path has had an event after its subscription, and ends with 1 where a message lacks what
// that client reads of each.
import WebSocket from "ws";

const [base] = process.argv.slice(2);
const TOKEN = "valid_token";
const REQUIRED = ["type", "topic", "seq", "ts"];
const PATHS = {
  "market/IN1234567890": "prices.IN1234567890",
  "auction/auction_001": "auctions.auction_001",
  "trading/user_123": "trading.user_123",
  "risk/user_123": "risk.user_123",
  "mobile/user_123": "mobile.user_123",
};

function fail(words) {
  console.error(words);
  process.exit(1);
}

function follow([path, topic]) {
  return new Promise((resolve) => {
    const ws = new WebSocket(`${base}/ws/${path}?token=${TOKEN}`, {
      headers: { "x-device-type": "web", "x-client-version": "1.0.0" },
    });
    const seen = [];
    let acked = false;
    ws.on("open", () => {
      ws.send(JSON.stringify({
        type: "subscribe",
        topic,
        subtopics: { levels: "L1,L2", trades: true },
        resume_from_seq: 12345,
        compression: true,
        batch_size: 100,
        correlation_id: path,
      }));
      ws.send(JSON.stringify({ type: "ping" }));
    });
    ws.on("message", (data, isBinary) => {
      const message = JSON.parse(data.toString());
      if (isBinary) fail(`${path}: a binary frame`);
      for (const field of REQUIRED) {
        if (message[field] === undefined || message[field] === null) fail(`${path}: no ${field} in ${data}`);
      }
      if (message.type === "error") fail(`${path}: ${data}`);
      seen.push(message.type);
      if (message.type === "ack") {
        if (message.correlation_id !== path || !message.success || message.rate_limits.window !== 60) fail(`${path}: ${data}`);
        acked = true;
      }
      if (acked && message.topic === topic && message.type === "delta" && seen.includes("pong")) {
        ws.close(1000);
        resolve([path, seen]);
      }
    });
    ws.on("close", (code) => code !== 1000 && code !== 1005 && fail(`${path}: closed by ${code}`));
    ws.on("error", (error) => fail(`${path}: ${error}`));
  });
}

function refused(path) {
  return new Promise((resolve) => {
    const ws = new WebSocket(`${base}/ws/${path}?token=invalid_token`);
    let told;
    ws.on("message", (data) => (told = JSON.parse(data.toString())));
    ws.on("close", (code) => {
      if (code !== 1008 || told?.code !== "AUTH_REQUIRED") fail(`${path}: ${code} after ${JSON.stringify(told)}`);
      resolve();
    });
    ws.on("error", (error) => fail(`${path}: ${error}`));
  });
}

setTimeout(() => fail("not everything came within 50 s"), 50_000).unref();
const followed = await Promise.all(Object.entries(PATHS).map(follow));
await Promise.all(Object.keys(PATHS).map(refused));
console.log(JSON.stringify(Object.fromEntries(followed)));
