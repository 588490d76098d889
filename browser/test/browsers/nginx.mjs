// nginx in front of the server, with the configuration of docs/proxies.md.

import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { find, freePort, start, stop, temporaryFolder, until } from "./processes.mjs";

export const findNginx = () => find("nginx");

const configuration = (folder, port, upstream) => `
${process.getuid() === 0 ? "user root;" : ""} # the folder is this user's
daemon off;
worker_processes 1;
pid ${folder}/pid;
error_log ${folder}/error.log;
events { worker_connections 512; }
http {
    access_log off;
    client_body_temp_path ${folder}/body;
    proxy_temp_path ${folder}/proxy;
    fastcgi_temp_path ${folder}/fastcgi;
    uwsgi_temp_path ${folder}/uwsgi;
    scgi_temp_path ${folder}/scgi;
    server {
        listen 127.0.0.1:${port};
        location / {
            proxy_pass ${upstream};
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $http_host;
        }
    }
}
`;

/**
 * Starts nginx in front of `server.upstream`. It answers 502 after `server.stop("upstream")`, and
 * works again after `server.start("upstream")`.
 */
export async function startNginx(server) {
  const folder = temporaryFolder("nginx");
  const port = await freePort();
  writeFileSync(join(folder, "nginx.conf"), configuration(folder, port, server.upstream));
  const child = await start(findNginx(), ["-p", folder, "-e", join(folder, "error.log"), "-c", join(folder, "nginx.conf")]);
  const url = `http://127.0.0.1:${port}`;
  await until(() => {
    if (child.exitCode !== null) throw new Error(`nginx: ${child.output}`);
    return fetch(url).then(() => true, () => false);
  }, "nginx starts");
  return { url, close: () => stop(child) };
}
