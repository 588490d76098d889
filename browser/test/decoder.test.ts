// The rules are those of client/decoder_test.go. A naive decoder, which needs the whole stream,
// follows the standard step by step.

import assert from "node:assert/strict";
import { test } from "node:test";
import { newDecoder } from "../src/decoder.js";

/** Returns the bytes of a text in which \x80 to \xff are bytes, not characters. */
const bytes = (text: string) => Uint8Array.from(text, (char) => char.charCodeAt(0));

/** Returns text as such a text. */
const utf8 = (text: string) => String.fromCharCode(...new TextEncoder().encode(text));

const event = (type: string, data: string, id = "") => `event ${JSON.stringify([type, data, id])}`;
const retry = (milliseconds: number) => `retry ${milliseconds}`;
const end = (id = "") => `end ${JSON.stringify(id)}`;

/** Decodes pieces. Returns the events, then the reconnection times, then the last event ID. */
function trace(pieces: Iterable<Uint8Array>, id = ""): string[] {
  const steps: string[] = [];
  const times: string[] = [];
  const decode = newDecoder(id, (milliseconds) => times.push(retry(milliseconds)));
  let last = id;
  for (const piece of pieces) {
    for (const { type, text, id } of decode(piece)) {
      if (type) steps.push(event(type, text, id));
      else {
        assert.equal(text, "");
        assert.notEqual(id, last, "a block without data that does not move the ID");
      }
      last = id;
    }
  }
  return [...steps, ...times, end(last)];
}

/** The same for a whole stream, by section 9.2.6 of WHATWG HTML. */
function naive(stream: Uint8Array, id = ""): string[] {
  const steps: string[] = [];
  const times: string[] = [];
  const text = naiveUTF8(stream).replace(/^\uFEFF/, "");
  const lines = text.replaceAll("\r\n", "\n").replaceAll("\r", "\n").split("\n").slice(0, -1);
  let dataBuffer = "";
  let eventTypeBuffer = "";
  let lastEventIDBuffer = id;
  for (const line of lines) {
    if (line === "") {
      id = lastEventIDBuffer;
      if (dataBuffer) steps.push(event(eventTypeBuffer || "message", dataBuffer.slice(0, -1), id));
      dataBuffer = eventTypeBuffer = "";
      continue;
    }
    const [field, ...values] = line.split(":");
    const value = values.join(":").replace(/^ /, "");
    if (field === "event") eventTypeBuffer = value;
    else if (field === "data") dataBuffer += value + "\n";
    else if (field === "id" && !value.includes("\0")) lastEventIDBuffer = value;
    else if (field === "retry" && value && [...value].every((char) => "0123456789".includes(char))) times.push(retry(Number(value)));
  }
  return [...steps, ...times, end(id)];
}

/** The UTF-8 decoder of the Encoding standard, section 8.1.1. */
function naiveUTF8(stream: Uint8Array): string {
  let out = "";
  let [codePoint, seen, needed, lower, upper] = [0, 0, 0, 0x80, 0xbf];
  for (let i = 0; i < stream.length; i++) {
    const byte = stream[i]!;
    if (needed === 0) {
      if (byte <= 0x7f) out += String.fromCharCode(byte);
      else if (byte >= 0xc2 && byte <= 0xdf) [needed, codePoint] = [1, byte & 0x1f];
      else if (byte >= 0xe0 && byte <= 0xef) {
        if (byte === 0xe0) lower = 0xa0;
        if (byte === 0xed) upper = 0x9f;
        [needed, codePoint] = [2, byte & 0xf];
      } else if (byte >= 0xf0 && byte <= 0xf4) {
        if (byte === 0xf0) lower = 0x90;
        if (byte === 0xf4) upper = 0x8f;
        [needed, codePoint] = [3, byte & 0x7];
      } else out += "\uFFFD";
    } else if (byte < lower || byte > upper) {
      [codePoint, seen, needed, lower, upper] = [0, 0, 0, 0x80, 0xbf];
      out += "\uFFFD";
      i--; // restore the byte
    } else {
      [lower, upper] = [0x80, 0xbf];
      codePoint = (codePoint << 6) | (byte & 0x3f);
      if (++seen === needed) {
        out += String.fromCodePoint(codePoint);
        [codePoint, seen, needed] = [0, 0, 0];
      }
    }
  }
  return needed ? `${out}\uFFFD` : out;
}

// Sections 9.2.5 and 9.2.6 in order, each rule with a stream that tests it.
const rules: [rule: string, stream: string, want: string[]][] = [
  ["streams are decoded as UTF-8", utf8("event: é\nid: €\ndata: 😀\n: é\n\n"), [event("é", "😀", "€"), end("€")]],
  ["invalid bytes are replaced", "event: \xff\nid: \xfe\ndata: a\xc3\n:\x80\n\n", [event("�", "a�", "�"), end("�")]],
  ["the bytes of an incomplete character are one error", "data: \xF0\x9F\x98!\xE2\x82\n\n", [event("message", "�!�"), end()]],
  [
    "there are no overlong forms, no surrogates, nothing over U+10FFFF",
    "data: \xff\xff\ndata: \xC0\xAF\ndata: \xE0\x80\xAF\ndata: \xED\xA0\x80\ndata: \xF0\x80\x80\x80\ndata: \xF4\x90\x80\x80\ndata: \xF5\x80\n\n",
    [event("message", "��\n��\n���\n���\n����\n����\n��"), end()],
  ],
  ["a line end ends a character cut short", "data: \xE2\x82\ndata: \xF0\x9F\r\n\r\n", [event("message", "�\n�"), end()]],
  ["valid text is left alone", utf8("data: \uFFFD\0\uFEFF\u2028\u0085\n\n"), [event("message", "\uFFFD\0\uFEFF\u2028\u0085"), end()]],
  ["one byte order mark is removed", utf8("\uFEFFdata: 1\n\n"), [event("message", "1"), end()]],
  ["a second byte order mark is not", utf8("\uFEFF\uFEFFdata: 1\n\ndata: 2\n\n"), [event("message", "2"), end()]],
  ["a later byte order mark is not", utf8("data: 1\n\n\uFEFFdata: 2\n\n"), [event("message", "1"), end()]],
  ["half a byte order mark is none", "\xEF\xBBdata: 1\n\ndata: 2\n\n", [event("message", "2"), end()]],
  ["nothing but a byte order mark", utf8("\uFEFF"), [end()]],
  ["a byte order mark before a blank line", utf8("\uFEFF\n\uFEFFdata: 1\n\ndata: 2\n\n"), [event("message", "2"), end()]],
  ["CRLF ends a line", "data: 1\r\ndata: 2\r\n\r\ndata: 3\r\n\r\n", [event("message", "1\n2"), event("message", "3"), end()]],
  ["LF ends a line", "data: 1\ndata: 2\n\ndata: 3\n\n", [event("message", "1\n2"), event("message", "3"), end()]],
  ["CR ends a line", "data: 1\rdata: 2\r\rdata: 3\r\r", [event("message", "1\n2"), event("message", "3"), end()]],
  [
    "line ends may be mixed",
    "data: 1\r\n\rdata: 2\n\r\ndata: 3\r\ndata: 4\n\rdata: 5\r\r\n",
    [event("message", "1"), event("message", "2"), event("message", "3\n4"), event("message", "5"), end()],
  ],
  [
    "nothing else ends a line",
    utf8("data: 1\vdata: 2\fdata: 3\u0085data: 4\u2028data: 5\n\n"),
    [event("message", "1\vdata: 2\fdata: 3\u0085data: 4\u2028data: 5"), end()],
  ],
  ["the buffers are empty to begin with", "\n\r\n\r\ndata: 1\n\n", [event("message", "1"), end()]],
  ["a blank line dispatches", "data: 1\n\ndata: 2\n\n\n\ndata: 3\n\n", [event("message", "1"), event("message", "2"), event("message", "3"), end()]],
  ["a line of a space is not blank", "data: 1\n \ndata: 2\n\n", [event("message", "1\n2"), end()]],
  ["a line that starts with a colon is ignored", ":\n: a\n:b\n:  c:d\n:data: 1\n\ndata: 2\n:e\n\n", [event("message", "2"), end()]],
  ["the field is before the first colon", "data:1:2\ndata::3\nid:4:5\n\n", [event("message", "1:2\n:3", "4:5"), end("4:5")]],
  [
    "one space is removed",
    "data:test\n\ndata: test\n\ndata:  test\n\ndata:\ttest\n\ndata: test \n\ndata: \n\n",
    ["test", "test", " test", "\ttest", "test ", ""].map((data) => event("message", data)).concat(end()),
  ],
  [
    "a line without a colon is a field name",
    "id: 1\ndata: 1\n\nevent: x\nevent\nid\ndata\n\n",
    [event("message", "1", "1"), event("message", ""), end()],
  ],
  ["event sets the event type", "event: a\nevent: add\ndata: 1\n\n", [event("add", "1"), end()]],
  ["data is appended with LF", "data: YHOO\ndata: +2\nfoo\n: bar\ndata\ndata: 10\n\n", [event("message", "YHOO\n+2\n\n10"), end()]],
  [
    "an id with NUL is ignored",
    "id: 7\ndata: 1\n\nid: 8\0\ndata: 2\n\nid: \0\ndata: 3\n\nid: 9\nid: 1\x000\ndata: 4\n\n",
    [event("message", "1", "7"), event("message", "2", "7"), event("message", "3", "7"), event("message", "4", "9"), end("9")],
  ],
  [
    "retry has ASCII digits only",
    utf8("retry: 1500\nretry: 007\nretry: 0\nretry: +2\nretry: -2\nretry: 3s\nretry: 1.5\nretry: 1_0\nretry: 1e3\nretry: \u0663\nretry:  4\nretry: 4 \nretry:\nretry\n"),
    [retry(1500), retry(7), retry(0), end()],
  ],
  ["retry has any length", `retry: 92233720368547\nretry: ${"9".repeat(400)}\n`, [retry(92233720368547), retry(Infinity), end()]],
  [
    "other fields are ignored",
    "foo: 1\nDATA: 2\n data: 3\ndata : 4\ndat: 5\ndataa: 6\nevents: 7\ni: 8\nidx: 9\nretrying: 10\nretryy: 11\ndata: 12\n\n",
    [event("message", "12"), end()],
  ],
  ["a block that the end cuts off is discarded", "id: 1\ndata: 1\n\nid: 2\nevent: x\ndata: 2\n", [event("message", "1", "1"), end("1")]],
  ["a line that the end cuts off is discarded", "data: 1\n\nretry: 1\nretry: 2", [event("message", "1"), retry(1), end()]],
  ["an id is set though nothing is dispatched", "id: 7\n\ndata: 1\n\nid: 8\n\n", [event("message", "1", "7"), end("8")]],
  [
    "the id is not reset",
    "id: 7\ndata: 1\n\ndata: 2\n\ndata: 3\nid\n\ndata: 4\n\n",
    [event("message", "1", "7"), event("message", "2", "7"), event("message", "3"), event("message", "4"), end()],
  ],
  ["a block without data dispatches nothing, and resets the type", "event: add\nid: 3\n\ndata: 1\n\n", [event("message", "1", "3"), end("3")]],
  ["the last LF of the data is removed", "data\n\ndata\ndata\n\ndata:\ndata: 1\ndata\n\n", [event("message", ""), event("message", "\n"), event("message", "\n1\n"), end()]],
  [
    "the type is message if it is not set",
    "event: message\ndata: 1\n\nevent:\ndata: 2\n\ndata: 3\n\n",
    [event("message", "1"), event("message", "2"), event("message", "3"), end()],
  ],
  [
    "the type is reset",
    "event: add\ndata: 1\n\ndata: 2\n\nevent: add\ndata: 3\n\nevent: remove\ndata: 4\n\nevent: add\ndata: 5\n\n",
    [event("add", "1"), event("message", "2"), event("add", "3"), event("remove", "4"), event("add", "5"), end()],
  ],
  [
    "the example of the standard",
    ": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n",
    [event("message", "first event", "1"), event("message", "second event"), event("message", " third event"), end()],
  ],
  [
    "long lines of other fields are passed over",
    `data: 1\n${"x".repeat(900)}\nxxxxxx\n${"y".repeat(500)}:\r\ndata: 2\r\n\r\n`,
    [event("message", "1\n2"), end()],
  ],
];

for (const [rule, stream, want] of rules) {
  test(rule, () => {
    const all = bytes(stream);
    assert.deepEqual(naive(all), want, "naive");
    assert.deepEqual(trace([all]), want, "at once");
    assert.deepEqual(trace([...all].map((byte) => Uint8Array.of(byte))), want, "byte by byte");
    for (let at = 0; at <= all.length; at++) {
      assert.deepEqual(trace([all.subarray(0, at), all.subarray(at)]), want, `cut at ${at}`);
      assert.deepEqual(trace([all.subarray(0, at), new Uint8Array(), all.subarray(at, at + 1), all.subarray(at + 1)]), want, `a byte alone at ${at}`);
    }
  });
}

test("a block that ends with CR does not wait for the next byte", () => {
  const decode = newDecoder("", () => {});
  const got = ["data: 1\r", "\r", "\ndata: 2\r\n\r", "\n\r\ndata: 3\r\n\r"].map((part) => decode(bytes(part)).map(({ text }) => text));
  assert.deepEqual(got, [[], ["1"], ["2"], ["3"]]);
});

test("the last event ID begins with the given one", () => {
  assert.deepEqual(trace([bytes("data: 1\n\nid\n\ndata: 2\n\n")], "7"), [event("message", "1", "7"), event("message", "2", ""), end()]);
  assert.deepEqual(trace([bytes(": heartbeat\n\n")], "7"), [end("7")]);
});

test("a block that repeats the ID without data is not returned", () => {
  assert.deepEqual(newDecoder("7", () => {})(bytes("id: 7\n\nevent: add\n\nid: 8\nid: 7\n\n")), []);
});

test("random streams in random pieces are decoded as the standard says", () => {
  const parts = [
    ...["data", "data:", "data: ", "event", "event:", "id", "id:", "retry:", ":", " ", "\r", "\n", "\r\n", "\n\n", "\r\r", "\r\n\r\n"],
    ...["1", "23", "x", "\0", "\xF0\x9F", "\x98", "\x80", "\xED\xA0", utf8("\uFEFF"), utf8("é"), utf8("😀"), "id: 7\n", "event: add\n", "data: text\n"],
    "y".repeat(90),
  ];
  const random = newRandom(1);
  let events = 0;
  for (let i = 0; i < 8000; i++) {
    const stream = bytes(Array.from({ length: random(40) }, () => parts[random(parts.length)]).join(""));
    const pieces: Uint8Array[] = [];
    for (let at = 0; at < stream.length; ) pieces.push(stream.subarray(at, (at += random(9))));
    const want = naive(stream, "0");
    assert.deepEqual(trace(pieces, "0"), want, `stream ${i}: ${JSON.stringify(String.fromCharCode(...stream))}`);
    events += want.filter((step) => step.startsWith("event")).length;
  }
  assert.ok(events > 3000, `only ${events} events`);
});

test("a long line in small pieces takes linear time", () => {
  const piece = new Uint8Array(16).fill(120);
  /** Returns the processor time in microseconds, of the best of three runs. */
  const time = (length: number) => {
    let best = Infinity;
    for (let run = 0; run < 3; run++) {
      const start = process.cpuUsage();
      const decode = newDecoder("", () => {});
      decode(bytes("data: "));
      for (let n = 0; n < length; n += piece.length) decode(piece);
      const [block] = decode(bytes("\n\n"));
      assert.equal(block!.text.length, length);
      best = Math.min(best, process.cpuUsage(start).user);
    }
    return best;
  };
  time(1 << 16);
  const [small, large] = [time(1 << 16), time(1 << 19)];
  assert.ok(large < 40 * (small + 1000), `${large} µs for 8 times what took ${small} µs`);
});

/** Returns a function that returns integers below n: the same ones each time. */
function newRandom(seed: number) {
  return (n: number) => {
    seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
    return Math.floor((seed / 2 ** 32) * n);
  };
}
