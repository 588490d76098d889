package main

// Scripts that let a test control the time and the streams of a page.

// fakeTime replaces the page's clock and timers: they advance when the test calls time.pass. Timers
// shorter than time.real milliseconds stay the browser's, because chromedp polls with them.
const fakeTime = `
	window.time = (() => {
		const { setTimeout, clearTimeout } = window;
		const timers = new Map();
		let now = Date.now();
		let last = 1e9; // above the browser's IDs
		const add = (call, delay, every) => { timers.set(++last, { call, at: now + delay, every }); return last; };
		let skew = 0;
		Date.now = () => now + skew;
		window.setTimeout = (call, delay = 0, ...rest) => delay < time.real ? setTimeout(call, delay, ...rest) : add(call, delay, 0);
		window.setInterval = (call, delay) => add(call, delay, delay);
		window.clearTimeout = window.clearInterval = (id) => { timers.delete(id); clearTimeout(id); };
		return {
			real: 0,
			async pass(ms) {
				const end = now + ms;
				for (;;) {
					const [id, timer] = [...timers].filter(([, { at }]) => at <= end).sort(([, a], [, b]) => a.at - b.at)[0] ?? [];
					if (!timer) break;
					now = Math.max(now, timer.at);
					if (timer.every) timer.at = now + timer.every;
					else timers.delete(id);
					timer.call();
					for (let i = 0; i < 20; i++) await null; // lets promises resolve
				}
				now = end;
			},
			sleep(ms) { now += ms; }, // time passes, and no timer runs
			set(ms) { skew += ms; }, // the clock is set, and no time passes
		};
	})();`

// fakeStreams replaces EventSource. The test sends the events; streams holds what the page opened.
const fakeStreams = `
	window.streams = [];
	window.EventSource = class extends EventTarget {
		static CLOSED = 2;
		readyState = 0;
		constructor(url) { super(); this.url = new URL(url); streams.push(this); }
		close() { this.readyState = 2; }
		// send sends an event; a heartbeat has no data.
		send(type, data, lastEventId = "") {
			this.dispatchEvent(new MessageEvent(type, { data: data === undefined ? "" : JSON.stringify(data), lastEventId }));
		}
		drop() { this.readyState = 0; this.onerror(); } // EventSource reconnects by itself
		refuse() { this.readyState = 2; this.onerror(); }
	};
	window.newest = () => streams.at(-1);
	window.openStream = (data) => newest().send("sse.open", { stream: "s", resumed: true, heartbeat: 15000, ...data }, "1");`
