// The three servers: the kit's test server, one for centrifuge-js, one for laravel-echo. Each has
//
//   url                  of the page
//   send(user, count, first)
//   end()                ends all streams in an orderly way, as a deploy does
//   refuse(on)           refuses credentials
//   connections()        how many streams are open
//   close()

import { execFile } from "node:child_process";
import { once } from "node:events";
import { cpSync, mkdirSync, readFileSync } from "node:fs";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { start, stop } from "../browsers/processes.mjs";
import { startServer } from "../browsers/server.mjs";

export async function kit(scripts, { keep, heartbeat }) {
  const server = await startServer({ scripts, keep, heartbeat });
  return {
    url: server.http,
    send: (user, count, first) => server.send({ user, type: "n", count, first }),
    end: () => server.restart({}),
    refuse: (on) => server.refuse({ status: 401, times: on ? -1 : 0 }),
    connections: async () => (await server.streams()).open.length,
    close: () => server.close(),
  };
}

let built;

/** Builds the server for centrifuge-js in a module of its own in a folder. */
function build(folder) {
  built ??= (async () => {
    const cwd = join(folder, "centrifuge-server");
    mkdirSync(cwd);
    cpSync(fileURLToPath(new URL("centrifuge.go", import.meta.url)), join(cwd, "centrifuge.go"));
    const go = (...args) => promisify(execFile)("go", args, { cwd, env: { ...process.env, GOWORK: "off", GOFLAGS: "" } });
    await go("mod", "init", "compare");
    await go("get", "github.com/centrifugal/centrifuge@v0.40.1");
    await go("build", "-o", "server", "centrifuge.go");
    return join(cwd, "server");
  })();
  return built;
}

export async function centrifuge(scripts, { keep, heartbeat, folder }) {
  const child = await start(await build(folder), [scripts, String(keep), heartbeat], { stdio: ["pipe", "pipe", "inherit"] });
  const [url] = await once(createInterface(child.stdout), "line");
  const post = async (name, body = {}) => (await fetch(`${url}/test/${name}`, { method: "POST", body: JSON.stringify(body) })).text();
  return {
    url,
    send: (user, count, first) => post("send", { user, count, first }),
    end: () => post("end"),
    refuse: () => post("refuse"), // each call changes it
    connections: async () => Number(await post("connections")),
    async close() {
      child.stdin.end();
      await stop(child);
    },
  };
}

/** As much of the Pusher protocol as laravel-echo needs, in place of Laravel Reverb. */
export async function pusher(scripts, { folder }) {
  const { WebSocketServer } = createRequire(join(folder, "package.json"))("ws");
  let refuses = false;
  const http = createServer((request, response) => {
    const { pathname } = new URL(request.url, "http://localhost");
    if (pathname === "/broadcasting/auth") {
      response.writeHead(refuses ? 401 : 200, { "Content-Type": "application/json" }).end('{"auth":"key:signature"}');
    } else {
      const type = pathname === "/page.js" ? "text/javascript" : "text/html";
      response.writeHead(200, { "Content-Type": type }).end(readFileSync(join(scripts, pathname === "/page.js" ? "page.js" : "index.html")));
    }
  });
  const sockets = new Map(); // to their channels
  new WebSocketServer({ server: http }).on("connection", (socket) => {
    const say = (event, data, channel) => socket.send(JSON.stringify({ event, channel, data: JSON.stringify(data) }));
    sockets.set(socket, new Set());
    socket.on("close", () => sockets.delete(socket));
    socket.on("error", () => {});
    socket.on("message", (bytes) => {
      const { event, data } = JSON.parse(bytes);
      if (event === "pusher:ping") say("pusher:pong", {});
      if (event !== "pusher:subscribe") return;
      sockets.get(socket).add(data.channel);
      say("pusher_internal:subscription_succeeded", {}, data.channel);
    });
    say("pusher:connection_established", { socket_id: `1.${sockets.size}`, activity_timeout: 30 /* seconds, as Reverb says */ });
  });
  http.listen(0, "127.0.0.1");
  await once(http, "listening");
  return {
    url: `http://127.0.0.1:${http.address().port}`,
    async send(user, count, first) {
      const channel = `private-${user}`;
      for (let i = 0; i < count; i++) {
        for (const [socket, channels] of sockets) {
          if (channels.has(channel)) socket.send(JSON.stringify({ event: "n", channel, data: JSON.stringify({ n: first + i }) }));
        }
      }
    },
    async end() {
      for (const socket of sockets.keys()) socket.close(4200); // "reconnect at once"
    },
    async refuse(on) { refuses = on; },
    connections: async () => sockets.size,
    async close() {
      http.close();
      for (const socket of sockets.keys()) socket.terminate();
      http.closeAllConnections();
    },
  };
}
