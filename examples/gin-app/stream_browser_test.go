package main

import "testing"

// Tests of web/stream.js alone, in a browser, with time and events that the test controls.

// stream returns a page with a Stream that is not open yet. The array calls records its callbacks.
func stream(t *testing.T) *tab {
	t.Helper()
	p := modules(t)
	p.run(fakeTime + fakeStreams + `
		sessionStorage.clear();
		const { Stream } = await import("/stream.js?alone");
		window.calls = [];
		window.stream = new Stream(["comment"], {
			state: (name, reason) => calls.push(name + (reason && " " + reason)),
			stale: () => calls.push("stale"),
			event: (type, data) => calls.push(type + data),
			refused: async () => calls.push("refused"),
			ended: (reason) => calls.push("ended " + reason),
		});
		window.called = (want, when) => { check(calls.join() === want, when + ": " + calls.join() + " instead of " + want); calls.length = 0; };
		window.opened = (want, when) => check(streams.length === want, when + ": " + streams.length + " were opened instead of " + want);
		window.reopened = async (want, within, when) => {
			for (let waited = 0; streams.length < want && waited < within; waited += 100) await time.pass(100);
			opened(want, when);
		};
		window.hide = (hidden) => {
			Object.defineProperty(document, "hidden", { get: () => hidden, configurable: true });
			document.dispatchEvent(new Event("visibilitychange"));
		};`)
	return p
}

func TestStreamReconnectsAndResumes(t *testing.T) {
	t.Parallel()
	stream(t).run(`
		stream.open({ post: 7 });
		check(newest().url.search === "?post=7", newest().url.search);
		newest().send("sse.open", { resumed: false }, "1");
		newest().send("comment", 5, "2");
		called("live,stale,comment5", "opened");
		newest().send("sse.gap", { reason: "trimmed" }, "9");
		called("stale", "a gap");

		// A second connection resumes. Events of the first are ignored.
		stream.open({});
		check(newest().url.search === "?lastEventId=9", newest().url.search);
		streams[0].send("comment", 6, "3");
		called("", "the first");
		openStream();
		called("live", "the second");

		// A new connection that does not open is reported after a moment.
		stream.open({});
		await time.pass(2900);
		called("", "a moment");
		await time.pass(200);
		called("reconnecting", "no word");
		openStream();
		called("live", "the third");

		// A dropped connection is reported at once; the EventSource reconnects.
		newest().drop();
		called("reconnecting", "dropped");
		openStream();
		called("live", "back");
		opened(3, "it came back by itself");

		// After a refusal the stream calls refused and tries again, with growing delays.
		newest().refuse();
		called("reconnecting", "refused");
		await time.pass(1500);
		called("refused", "refused");
		opened(4, "tried again");
		newest().refuse();
		await time.pass(900);
		opened(4, "it does not wait longer");
		await time.pass(2100);
		opened(5, "tried once more");
		calls.length = 0;

		// A connection that does not open is given up.
		await time.pass(33_000);
		check(streams[4].readyState === 2, "it waits without a limit");
		await time.pass(6000);
		called("refused,reconnecting", "given up");
		opened(6, "given up");
		openStream();
		called("live", "back at last");

		dispatchEvent(new Event("online"));
		opened(7, "online");
		openStream();
		dispatchEvent(new PageTransitionEvent("pageshow", { persisted: true }));
		opened(8, "back from the cache");`)
}

func TestStreamStaysClosedAfterSSEClose(t *testing.T) {
	t.Parallel()
	stream(t).run(`
		for (const reason of ["signed out", "disconnected", "replaced"]) {
			stream.open({});
			openStream();
			calls.length = 0;
			const before = streams.length;
			newest().send("sse.gap", { reason: "undelivered" });
			newest().send("sse.close", { reason }, "9");
			called("stale,ended " + reason, reason);
			check(newest().readyState === 2, reason + ": the EventSource comes back");
			dispatchEvent(new Event("online"));
			hide(true);
			await time.pass(3_600_000);
			hide(false);
			await time.pass(3_600_000);
			opened(before, reason);
			called("", reason);
		}`)
}

func TestStreamReconnectsAfterThreeSilentIntervals(t *testing.T) {
	t.Parallel()
	stream(t).run(`
		stream.open({});
		openStream({ heartbeat: 4000 });
		called("live", "opened");
		for (let i = 0; i < 20; i++) {
			await time.pass(11_900);
			if (i % 2) newest().send("sse.heartbeat", undefined, "heartbeat" + i);
			else newest().send("comment", i, "comment" + i);
		}
		opened(1, "with a sign of life now and then");
		check(!calls.includes("reconnecting"), "it was not live: " + calls);
		calls.length = 0;

		await time.pass(11_900);
		called("", "almost three intervals");
		opened(1, "almost three intervals");
		await time.pass(200);
		called("reconnecting", "three intervals");
		opened(2, "three intervals");
		check(streams[0].readyState === 2, "the dead one is still open");
		check(newest().url.searchParams.get("lastEventId") === "heartbeat19", "it resumes from " + newest().url.search);
		streams[0].send("sse.heartbeat", undefined, "late");
		openStream({ heartbeat: 4000 });
		called("live", "back");
		await time.pass(11_000);
		opened(2, "a new connection starts a new count");

		// Without a connection there are no heartbeats to wait for.
		newest().drop();
		called("reconnecting", "dropped");
		await time.pass(20_000);
		opened(2, "the EventSource comes back by itself");
		stream.close();
		await time.pass(60_000);
		opened(2, "closed");`)
}

func TestStreamWithoutHeartbeatsDoesNotReconnect(t *testing.T) {
	t.Parallel()
	stream(t).run(`
		stream.open({});
		newest().send("sse.open", { resumed: true }, "1"); // heartbeats are comments
		await time.pass(3_600_000);
		called("live", "an hour");
		opened(1, "an hour");`)
}

// Late timers and clock changes say nothing about the connection.
func TestStreamKeepsALiveConnectionAfterASleep(t *testing.T) {
	t.Parallel()
	stream(t).run(`
		const heartbeat = () => newest().send("sse.heartbeat", undefined, "2");
		stream.open({});
		openStream();
		called("live", "opened");

		// Events that arrived during the sleep are dispatched after the timers.
		await time.pass(10_000);
		time.sleep(3_600_000);
		await time.pass(1000);
		heartbeat();
		await time.pass(30_000);
		heartbeat();
		await time.pass(30_000);
		opened(1, "asleep, with a connection that has lived on");
		called("", "asleep, with a connection that has lived on");

		// A dead connection is replaced soon, and without a change of state.
		time.sleep(3_600_000);
		await reopened(2, 5000, "asleep, with a connection that is gone");
		openStream();
		called("live", "asleep, with a connection that is gone");

		// A sleep longer than three intervals, and too short for #checkForSleep.
		stream.open({});
		openStream({ heartbeat: 4000 });
		calls.length = 0;
		await time.pass(1000);
		time.sleep(15_000);
		await time.pass(1000);
		heartbeat();
		await time.pass(9000);
		opened(3, "a nap");
		called("", "a nap");
		stream.open({});
		openStream();
		calls.length = 0;

		// The tab is hidden, and gets its heartbeats.
		hide(true);
		for (let i = 0; i < 20; i++) {
			await time.pass(15_000);
			heartbeat();
		}
		await time.pass(10_000);
		hide(false);
		await time.pass(4000);
		heartbeat();
		opened(4, "hidden, with heartbeats");

		// The tab is hidden and frozen, too short for #checkForSleep.
		hide(true);
		time.sleep(70_000);
		hide(false);
		await time.pass(1000);
		heartbeat();
		await time.pass(4000);
		opened(4, "frozen, with a connection that has lived on");
		hide(true);
		time.sleep(70_000);
		hide(false);
		await time.pass(2000);
		opened(5, "frozen, with a connection that is gone");
		openStream();
		calls.length = 0;

		// The tab is hidden for a moment.
		hide(true);
		await time.pass(30_000);
		hide(false);
		await time.pass(10_000);
		heartbeat();
		opened(5, "hidden for a moment");

		// The clock is set back by an hour. A connection that dies then is noticed.
		await time.pass(10_000);
		time.set(-3_600_000);
		await time.pass(10_000);
		heartbeat();
		await time.pass(40_000);
		opened(5, "an hour back, with heartbeats");
		heartbeat();
		time.set(-3_600_000);
		await reopened(6, 95_000, "an hour back, without");
		openStream();
		calls.length = 0;

		// The clock is set forward: that is no silence.
		await time.pass(10_000);
		time.set(3_600_000);
		await time.pass(1500);
		heartbeat();
		await time.pass(40_000);
		opened(6, "an hour on, with heartbeats");
		called("", "an hour on, with heartbeats");`)
}

// Without heartbeats the page cannot know whether the connection lives.
func TestStreamWithoutHeartbeatsReconnectsAfterASleep(t *testing.T) {
	t.Parallel()
	stream(t).run(`
		stream.open({});
		openStream({ heartbeat: undefined });
		time.sleep(3_600_000);
		await time.pass(10_000);
		opened(2, "asleep");
		openStream({ heartbeat: undefined });
		hide(true);
		await time.pass(50_000);
		hide(false);
		opened(2, "hidden for a moment");
		hide(true);
		await time.pass(70_000);
		hide(false);
		opened(3, "hidden for long");`)
}

// The end after sse.reconnect is expected. The stream reports it only if it takes long.
func TestStreamReportsAnExpectedEndOnlyIfItTakesLong(t *testing.T) {
	t.Parallel()
	stream(t).run(`
		const ask = (reason, retry) => {
			newest().send("sse.reconnect", { reason, retry }, "2");
			newest().drop();
		};
		stream.open({});
		openStream();
		called("live", "opened");

		ask("expired", 4500);
		await time.pass(4500);
		called("", "as announced");
		openStream();
		called("live", "as announced");
		await time.pass(40_000);
		newest().send("sse.heartbeat", undefined, "2");
		opened(1, "the EventSource has come back by itself");

		// The server does not come back.
		ask("shutdown", 4500);
		await time.pass(7400);
		called("", "a moment longer than announced");
		await time.pass(200);
		called("reconnecting shutdown", "longer than announced");
		newest().drop();
		called("reconnecting", "it cannot be reached");
		openStream();
		called("live", "it is back");

		// A pause of a minute is reported, and kept to.
		ask("overloaded", 60_000);
		await time.pass(12_900);
		called("", "13 s");
		await time.pass(200);
		called("reconnecting overloaded", "13 s");
		await time.pass(75_000);
		opened(1, "before the EventSource has had time to come back");
		called("", "a minute");
		await time.pass(7000);
		called("refused,reconnecting", "given up");
		opened(2, "given up");
		openStream();
		calls.length = 0;

		// Short pauses add up.
		for (let i = 0; i < 4; i++) {
			ask("throttled", 5000);
			await time.pass(5000);
		}
		called("reconnecting throttled,reconnecting throttled,reconnecting throttled", "throttled again and again");
		openStream();
		called("live", "open again");

		// The connection dies after sse.reconnect, and no end arrives.
		newest().send("sse.reconnect", { reason: "lifetime", retry: 1000 }, "2");
		await time.pass(4100);
		called("reconnecting lifetime", "no end");
		await time.pass(32_000);
		opened(3, "no end");

		// The server refuses the next connection.
		openStream();
		calls.length = 0;
		ask("expired", 1000);
		await time.pass(1000);
		newest().refuse();
		called("reconnecting", "refused");
		await time.pass(1500);
		called("refused", "refused");`)
}
