package main

// Scripts that let a test control the time and the streams of a page.

// fakeTime replaces the page's clock and timers: they advance when the test calls time.pass. Timers
// shorter than time.real milliseconds stay the browser's: chromedp polls with them.
const fakeTime = `
	window.time = (() => {
		const { setTimeout, clearTimeout } = window;
		const timers = new Map();
		let now = Date.now();
		let last = 1e9; // above the browser's IDs
		const add = (call, delay, every) => { timers.set(++last, { call, at: now + delay, every }); return last; };
		Date.now = () => now;
		window.setTimeout = (call, delay = 0, ...rest) => delay < time.real ? setTimeout(call, delay, ...rest) : add(call, delay, 0);
		window.setInterval = (call, delay) => add(call, delay, delay);
		window.clearTimeout = window.clearInterval = (id) => { timers.delete(id); clearTimeout(id); };
		return {
			real: 0,
			async pass(ms) {
				const settle = async () => { for (let i = 0; i < 50; i++) await null; }; // lets promises resolve
				const end = now + ms;
				for (await settle(); ; await settle()) {
					const [id, timer] = [...timers].filter(([, { at }]) => at <= end).sort(([, a], [, b]) => a.at - b.at)[0] ?? [];
					if (!timer) break;
					now = Math.max(now, timer.at);
					if (timer.every) timer.at = now + timer.every;
					else timers.delete(id);
					timer.call();
				}
				now = end;
			},
		};
	})();`

// fakeStreams answers the requests for event streams. The test sends the events; streams holds what
// the page opened. While reachable is false, no stream can be opened.
const fakeStreams = `
	window.streams = [];
	window.reachable = true;
	window.fetch = ((fetch) => (path, options) => {
		const url = new URL(path, location.href);
		if (url.pathname !== "/events") return fetch(path, options);
		if (options.method === "POST") return Promise.resolve(Response.json({ accepted: [], refused: [] }, { status: 202 }));
		if (!reachable) return Promise.reject(new TypeError("no network"));
		return new Promise((resolve, reject) => {
			let body;
			const response = new Response(new ReadableStream({ start(controller) { body = controller; } }), { headers: { "Content-Type": "text/event-stream" } });
			options.signal.addEventListener("abort", () => { stream.abandoned = true; body.error(options.signal.reason); reject(options.signal.reason); });
			const stream = {
				url,
				send(type, data, id = "1") {
					resolve(response);
					body.enqueue(new TextEncoder().encode("event: " + type + "\ndata: " + JSON.stringify(data) + "\nid: " + id + "\n\n"));
				},
				drop() { resolve(response); body.close(); },
				refuse(status) { resolve(new Response("", { status })); },
			};
			streams.push(stream);
		});
	})(window.fetch);
	window.newest = () => streams.at(-1);
	// Answers the newest attempt. One that got no answer for seconds is given up; the next one follows.
	window.reopen = async () => { while (newest().abandoned) await time.pass(100); openStream(); };
	window.openStream = (data) => newest().send("sse.open", { stream: "s", resumed: true, heartbeat: 15000, ...data });`
