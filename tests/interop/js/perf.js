// libp2p's perf: the client says how many bytes it wants back, sends as many as it likes and closes its side; then the server sends those and
// closes its own. https://github.com/libp2p/specs/blob/master/perf/perf.md

import { byteStream } from '@libp2p/utils'
import { write } from './streams.js'

export const PERF_PROTOCOL = '/perf/1.0.0'

// Faster than less, and what is left of one with the next behind it is still a frame that everybody takes (see CHUNK).
const BLOCK = Buffer.alloc(512 * 1024)

export async function servePerf (stream) {
  const head = Buffer.alloc(8)
  let received = 0
  // not a loop over the stream itself, which never ends if the other side has closed its own before the loop begins
  const bytes = byteStream(stream, { maxBufferSize: Infinity })
  for (let chunk; (chunk = await bytes.read()) != null;) {
    if (received < 8) Buffer.from(chunk.subarray(0, 8 - received)).copy(head, received)
    received += chunk.byteLength
  }
  if (received < 8) throw new Error('a perf request without its length')
  await writeZeros(stream, Number(head.readBigUInt64BE()))
  await stream.close()
}

/** Sends `up` bytes, takes `down` bytes, and returns when the server has ended its side. */
export async function perf (stream, up, down) {
  const head = Buffer.alloc(8)
  head.writeBigUInt64BE(BigInt(down))
  const receiving = count(stream)
  receiving.catch(() => {}) // told below, unless writing fails as well
  await write(stream, head)
  await writeZeros(stream, up)
  await stream.close()
  const received = await receiving
  if (received !== down) throw new Error(`${received} bytes came back of ${down}`)
}

async function count (stream) {
  const bytes = byteStream(stream, { maxBufferSize: Infinity })
  let received = 0
  for (let chunk; (chunk = await bytes.read()) != null;) received += chunk.byteLength
  return received
}

async function writeZeros (stream, bytes) {
  for (let left = bytes; left > 0; left -= BLOCK.byteLength) await write(stream, BLOCK.subarray(0, Math.min(left, BLOCK.byteLength)), BLOCK.byteLength)
}
