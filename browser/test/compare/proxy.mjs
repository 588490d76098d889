// A proxy with the same faults for all libraries.

import { once } from "node:events";
import { connect, createServer } from "node:net";

/** Starts a proxy for the server at a URL. */
export async function startProxy(target) {
  const open = new Set(); // pairs of sockets
  const streams = new WeakSet(); // sockets that carry a stream
  const proxy = { requests: [], status: 0 };
  const server = createServer((client) => {
    client.on("error", () => {});
    client.on("data", (bytes) => {
      const [head] = bytes.toString("latin1").split("\r\n\r\n");
      if (/^(GET|POST) /.test(head)) proxy.requests.push(head);
      if (/^\w+ \/(events|connection|app)\b/.test(head)) streams.add(client);
      if (proxy.status) client.end(`HTTP/1.1 ${proxy.status} Refused\r\nContent-Type: text/html\r\nContent-Length: 6\r\nConnection: close\r\n\r\nbusy\r\n`);
    });
    if (proxy.status) return;
    const { hostname, port } = new URL(target);
    const upstream = connect(Number(port), hostname);
    upstream.on("error", () => client.destroy());
    const pair = [client, upstream];
    open.add(pair);
    client.pipe(upstream).pipe(client);
    client.on("close", () => {
      upstream.destroy();
      open.delete(pair);
    });
    upstream.on("close", () => client.destroySoon());
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return Object.assign(proxy, {
    url: `http://127.0.0.1:${server.address().port}`,
    drop: () => open.forEach(([client]) => client.destroy()),
    /** Passes nothing on any more on the open connections of streams, or on all open connections. */
    freeze(all) {
      for (const [client, upstream] of open) {
        if (!all && !streams.has(client)) continue;
        client.unpipe(upstream).pause();
        upstream.unpipe(client).pause();
      }
    },
    close() {
      proxy.drop();
      server.close();
    },
  });
}
