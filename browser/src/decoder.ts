// Parsing of event streams (WHATWG HTML, section 9.2.6).

/** One block of a stream that has data or moves the last event ID. */
export interface Block {
  type: string; // "" if the block has no data: then it is no event
  text: string;
  id: string; // the last event ID after the block
}

/**
 * Returns a function that takes the bytes of a stream in pieces, cut anywhere, and returns the
 * blocks that end in each piece. retry is called for each retry field, with milliseconds. A block
 * that the stream's end cuts off is not returned.
 */
export function newDecoder(id: string, retry: (milliseconds: number) => void) {
  const utf8 = new TextDecoder(); // drops a byte order mark at the start
  const lineEnd = /\r\n?|\n/g;
  let lastID = id;
  let line = ""; // the line whose end has not arrived
  let afterCR = false; // an LF now belongs to the line end before
  let type = "";
  let data: string[] = [];

  return (bytes: Uint8Array): Block[] => {
    const blocks: Block[] = [];
    const piece = utf8.decode(bytes, { stream: true });
    let start = afterCR && piece[0] === "\n" ? 1 : 0;
    if (piece) afterCR = piece.endsWith("\r");
    lineEnd.lastIndex = start;
    for (let end; (end = lineEnd.exec(piece)); start = lineEnd.lastIndex) {
      line += piece.slice(start, end.index);
      if (line) field();
      else {
        if (data.length || id !== lastID) blocks.push({ type: data.length ? type || "message" : "", text: data.join("\n"), id });
        lastID = id;
        type = "";
        data = [];
      }
      line = "";
    }
    line += piece.slice(start);
    return blocks;
  };

  function field() {
    const [, name, value = ""] = /^([^:]*):? ?([^]*)/.exec(line)!;
    if (name === "data") data.push(value);
    else if (name === "event") type = value;
    else if (name === "id" && !value.includes("\0")) id = value;
    else if (name === "retry" && /^\d+$/.test(value)) retry(+value);
  }
}
