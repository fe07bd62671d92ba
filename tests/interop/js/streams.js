// What both sides need of js-libp2p's streams.

// js-libp2p puts whatever is queued into one yamux frame, as large as the window lets it; rust-libp2p ends the connection above 1 MiB.
export const CHUNK = 256 * 1024

// A frame, and whatever the other side may already have sent behind it: a provider may stream 4 MiB of updates and then repeat it as output.
export const READ_AHEAD = 32 * 1024 * 1024

export async function write (stream, data, chunk = CHUNK) {
  for (let at = 0; at < data.byteLength; at += chunk) {
    if (!stream.send(data.subarray(at, Math.min(at + chunk, data.byteLength)))) await drained(stream)
  }
}

/** Stands in for stream.onDrain(), whose promise stays resolved after the first drain and then waits for nothing. */
async function drained (stream) {
  while (stream.writableNeedsDrain) {
    if (stream.writeStatus === 'closed') throw new Error('stream closed while writing')
    await new Promise((resolve, reject) => {
      const onDrain = () => { stream.removeEventListener('close', onClose); resolve() }
      const onClose = ({ error }) => { stream.removeEventListener('drain', onDrain); reject(error ?? new Error('stream closed while writing')) }
      stream.addEventListener('drain', onDrain, { once: true })
      stream.addEventListener('close', onClose, { once: true })
    })
  }
}

export async function expectEnd (bytes, after, options) {
  const rest = await bytes.read(options)
  if (rest != null) throw new Error(`${rest.byteLength} bytes after the ${after}`)
}

/** Ends a connection without a word to its streams, as a cable does. connection.abort() resets each of them first, which cancels. */
export function drop (connection) {
  connection.maConn.abort(new Error('dropped'))
}
