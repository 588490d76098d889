/** One block of a stream that has data or moves the last event ID. */
export interface Block {
    type: string;
    text: string;
    id: string;
}
/**
 * Returns a function that takes the bytes of a stream in pieces, cut anywhere, and returns the
 * blocks that end in each piece. retry is called for each retry field, with milliseconds. A block
 * that the stream's end cuts off is not returned.
 */
export declare function newDecoder(id: string, retry: (milliseconds: number) => void): (bytes: Uint8Array) => Block[];
