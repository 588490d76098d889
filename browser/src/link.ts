// What a stream and its Control know of each other.

import type { Message } from "./connection.js";
import type { Control, Options } from "./types.js";

/** A change of the topics that a stream reads, as in sse.topics. */
export interface TopicChange {
  topics?: string[]; // all, after the change
  added?: string[];
  removed?: string[];
  refused?: string[];
}

/** The stream's side of a Control. Each tab has one; only that of the leader hears of topics. */
export interface Link extends Control {
  /** Begins with a stream that ends when the signal is aborted. */
  begin(options: Options, signal: AbortSignal): void;
  /** Takes what the tab receives. */
  received(messages: Message[]): void;
  /**
   * Takes the data of sse.open, with the topics of its URL, or of sse.topics. It completes the change
   * of topics in it.
   */
  update(data: TopicChange & { stream?: string; resumed?: boolean }, asked?: string[]): void;
  /**
   * Asks for topics. Later it calls settle for what is known without sse.topics, and retry if the
   * topics cannot be asked for. It returns true if the stream must be opened again for them, and
   * undefined if it does not know the stream's topics.
   */
  want(topics: string[], settle: (change: TopicChange) => void, retry: () => void): boolean | undefined;
  /** Asks for the state. */
  ask(): void;
}
