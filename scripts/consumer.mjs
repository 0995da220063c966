// A consumer of a run's messages in JavaScript, written from docs/wire.md alone.
//
//     npm install zeromq @msgpack/msgpack
//     node consumer.mjs tcp://127.0.0.1:5555
//
// A line for each object on each frame: its number of pixels, and a digest of its mask (a byte for each pixel, by rows).

import { createHash } from "node:crypto";
import process from "node:process";

import { decode } from "@msgpack/msgpack";
import { Subscriber } from "zeromq";

/** Lengths of runs of 0, 1, 0, 1, ... pixels. */
function runsOf(counts) {
  const runs = [];
  let [value, shift] = [0, 0];
  for (const byte of counts) {
    const digit = byte - 48;
    value |= (digit & 31) << shift;
    shift += 5;
    if (digit & 32) continue;
    if (digit & 16) value -= 2 ** shift;
    runs.push(runs.length > 2 ? value + runs[runs.length - 2] : value);
    [value, shift] = [0, 0];
  }
  return runs;
}

/** The mask by rows, 0 or 1 for each pixel; it was sent by columns. */
function maskOf({ size: [height, width], counts }) {
  const mask = new Uint8Array(height * width);
  let at = 0;
  runsOf(counts).forEach((length, i) => {
    if (length < 0 || at + length > mask.length) throw new Error("a damaged mask");
    for (const end = at + length; at < end; at++) {
      if (i % 2) mask[(at % height) * width + Math.floor(at / height)] = 1;
    }
  });
  if (at !== mask.length) throw new Error("a damaged mask");
  return mask;
}

const socket = new Subscriber({ heartbeatInterval: 1000, heartbeatTimeout: 5000 });
socket.connect(process.argv[2] ?? "tcp://127.0.0.1:5555");
socket.subscribe();

let [run, expected, lost] = [null, 0n, 0n];
for await (const parts of socket) {
  if (parts.length > 1) continue;
  const message = decode(parts[0], { useBigInt64: true });
  if (Number(message.version) !== 1) throw new Error(`version ${message.version}`);
  const sequence = BigInt(message.sequence);
  if (message.run !== run) [run, expected] = [message.run, run === null ? sequence : 0n];
  if (sequence > expected) lost += sequence - expected;
  expected = sequence + (message.kind === "frame" ? 1n : 0n);
  if (message.kind === "frame") {
    for (const { id, state, box_xyxy: box, area_px: area, rle } of message.objects) {
      const mask = maskOf(rle);
      const digest = createHash("sha256").update(mask).digest("hex").slice(0, 16);
      console.log(`${message.index} ${id} ${state} ${box} ${area} ${digest}`);
    }
  } else if (message.kind === "end") {
    console.log(`${message.state}, ${lost} lost`);
    break;
  }
}
socket.close();
