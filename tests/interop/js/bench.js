// What `bench` measures. Every measurement has nodes and connections of its own.

import { randomBytes, randomUUID } from 'node:crypto'
import { setMaxListeners } from 'node:events'
import { byteStream } from '@libp2p/utils'
import { MEASURED_MS, createNode, muxerOf, streamLimits } from './node.js'
import { PERF_PROTOCOL, perf } from './perf.js'
import * as protocol from './protocol.js'
import { READ_AHEAD, expectEnd, write } from './streams.js'

const PING_PROTOCOL = '/ipfs/ping/1.0.0'
const PING_BYTES = 32
const PROMPT = 'Hello, P2P AI!'
const TASK_TIMEOUT_MS = 50_000
const WARM_UP = 200
const HOLD_PARALLEL = 16

/** The options of the command line as numbers, 0 for what is not asked for. */
export function benchOptions (values) {
  const options = {}
  for (const name of ['pings', 'tasks', 'total', 'concurrency', 'connections', 'parallel', 'bulk', 'hold']) {
    const n = Number(values[name] ?? 0)
    if (!Number.isSafeInteger(n) || n < 0) throw new Error(`--${name} takes a number`)
    options[name] = n
  }
  const samples = values.samples === true
  const { tasks, total, concurrency, connections, parallel } = options
  if (Object.values(options).every(n => n === 0)) throw new Error('nothing to measure')
  if (tasks > 0 && tasks <= WARM_UP) throw new Error(`--tasks must be above ${WARM_UP}, which don't count`)
  if ((total > 0) !== (concurrency > 0) || (total > 0 && total <= 2 * concurrency)) throw new Error('--total goes with --concurrency, and is above twice of that')
  if ((connections > 0) !== (parallel > 0)) throw new Error('--connections goes with --parallel')
  return samples ? { ...options, samples } : options
}

/** n, min, p50, p99 and max; the percentiles by nearest rank. */
export function summary (times) {
  const sorted = Float64Array.from(times).sort()
  const rank = percent => rounded(sorted[Math.ceil(sorted.length * percent / 100) - 1])
  return { n: sorted.length, min: rounded(sorted[0]), p50: rank(50), p99: rank(99), max: rounded(sorted.at(-1)) }
}

const rounded = ms => Math.round(ms * 1_000) / 1_000
const perSecond = (n, ms) => Math.round(n / ms * 10_000) / 10

/** Calls `act` with 0 to n-1, `parallel` of them at once. The first error ends it. */
async function atOnce (n, parallel, act) {
  let next = 0
  const worker = async lane => {
    while (next < n) {
      try {
        await act(next++, lane)
      } catch (err) {
        next = n
        throw err
      }
    }
  }
  await Promise.all(Array.from({ length: Math.min(n, parallel) }, (_, lane) => worker(lane)))
}

export class Bench {
  #muxer = null

  constructor (address, muxers) {
    this.address = address
    this.muxers = muxers
  }

  /** A started node that dials; `signal` ends what waits for longer than any measurement takes. */
  async #node () {
    const made = await createNode({ muxers: this.muxers, measured: true })
    await made.node.start()
    const signal = AbortSignal.timeout(MEASURED_MS)
    setMaxListeners(Infinity, signal)
    const options = { signal, ...streamLimits(true) }
    const dial = () => made.node.dial(this.address, { signal, force: true })
    return { ...made, options, dial, stop: () => made.node.stop() }
  }

  /** Calls `act` with a node's new connection that has been identified. */
  async #connected (act) {
    const made = await this.#node()
    try {
      const identified = new Promise(resolve => made.node.addEventListener('peer:identify', resolve, { once: true }))
      const connection = await made.dial()
      this.#muxer = muxerOf(connection)
      await Promise.race([identified, new Promise((_resolve, reject) => {
        connection.addEventListener('close', () => reject(new Error('the connection was lost before it was identified')), { once: true })
      })])
      return await act(connection, made)
    } finally {
      await made.stop()
    }
  }

  /** Measures what is asked for. @param emit prints a line */
  async run (options, emit) {
    const { pings, tasks, samples, total, concurrency, connections, parallel, bulk, hold } = options
    const measurements = [
      ['pings', pings > 0, () => this.pings(pings)],
      ['tasks', tasks > 0, () => this.tasks(tasks, samples)],
      ['concurrent tasks', total > 0, () => this.concurrentTasks(total, concurrency)],
      ['connections', connections > 0, () => this.connections(connections, parallel)],
      ['bulk', bulk > 0, () => this.bulk(bulk * 1024 * 1024)]
    ].filter(([, wanted]) => wanted)
    const all = {}
    for (const [name, , measure] of measurements) {
      const members = await measure().catch(err => { throw new Error(`${name}: ${err.message}`, { cause: err }) })
      emit({ event: 'bench', muxer: this.#muxer, ...members })
      Object.assign(all, members)
    }
    if (measurements.length > 1) emit({ event: 'bench', muxer: this.#muxer, ...all })
    if (hold > 0) await this.hold(hold, emit)
  }

  async pings (n) {
    return await this.#connected(async (connection, { options }) => {
      const stream = await connection.newStream(PING_PROTOCOL, options)
      const bytes = byteStream(stream)
      const times = []
      for (let i = 0; i < n; i++) {
        const sent = randomBytes(PING_BYTES)
        const started = performance.now()
        stream.send(sent)
        const received = await bytes.read({ bytes: PING_BYTES })
        if (!sent.equals(received.subarray())) throw new Error('the answer is not what was sent')
        times.push(performance.now() - started)
      }
      stream.abort(new Error('done'))
      return { ping_ms: summary(times) }
    })
  }

  async tasks (n, samples) {
    return await this.#connected(async (connection, node) => {
      const times = []
      for (let i = 0; i < n; i++) times.push(await timedTask(connection, node))
      const counted = times.slice(WARM_UP)
      return { task_seq_ms: { ...summary(counted), ...(samples ? { samples: counted.map(rounded) } : {}) } }
    })
  }

  async concurrentTasks (total, inFlight) {
    return await this.#connected(async (connection, node) => {
      const times = [] // in the order of their ends
      let warm
      await atOnce(total, inFlight, async () => {
        times.push(await timedTask(connection, node))
        if (times.length === inFlight) warm = performance.now()
      })
      const took = performance.now() - warm
      return { task_conc: { in_flight: inFlight, total, per_s: perSecond(total - inFlight, took), latency_ms: summary(times.slice(inFlight)) } }
    })
  }

  /** With a node for each connection under way, because a node makes one dial of several to the same peer. */
  async connections (n, parallel) {
    const lanes = await Promise.all(Array.from({ length: Math.min(n, parallel) }, () => this.#node()))
    const round = async until => {
      const times = []
      await atOnce(n, parallel, async (_nth, lane) => {
        const started = performance.now()
        const connection = await lanes[lane].dial()
        await until?.(connection, lanes[lane])
        times.push(performance.now() - started)
        this.#muxer = muxerOf(connection)
        await connection.close()
      })
      return times
    }
    try {
      const started = performance.now()
      const connected = await round()
      const took = performance.now() - started
      const firstBytes = await round(firstByte)
      return { connect_ms: summary(connected), conn: { per_s: perSecond(n, took) }, first_byte_ms: summary(firstBytes) }
    } finally {
      await Promise.all(lanes.map(lane => lane.stop()))
    }
  }

  async bulk (bytes) {
    return await this.#connected(async (connection, { options }) => {
      const rate = async (up, down) => {
        const started = performance.now()
        const stream = await connection.newStream(PERF_PROTOCOL, options)
        await perf(stream, up, down)
        const ms = performance.now() - started
        return { bytes, ms: rounded(ms), MBps: perSecond(bytes / 1e6, ms) }
      }
      return { bulk_up: await rate(bytes, 0), bulk_down: await rate(0, bytes) }
    })
  }

  /** With a node for each connection, and so a PeerId. */
  async hold (n, emit) {
    const held = []
    await atOnce(n, HOLD_PARALLEL, async () => {
      await new Promise((resolve, reject) => {
        this.#connected(connection => new Promise((_resolve, reject) => {
          connection.addEventListener('close', () => reject(new Error('hold: a connection was lost')), { once: true })
          held.push(connection)
          resolve()
        })).catch(reject)
      })
    })
    emit({ event: 'held', n })
    await new Promise(resolve => process.stdin.once('end', resolve).once('error', resolve).resume())
    if (held.some(connection => connection.status !== 'open')) throw new Error('hold: a connection was lost')
  }
}

/** From before the task is signed to after its result is verified; the end of the stream is waited for behind that. */
async function timedTask (connection, { privateKey, me, options }) {
  const started = performance.now()
  const peer = connection.remotePeer
  const task = {
    task_id: randomUUID(),
    task_type: 'inference',
    input: { prompt: PROMPT },
    timestamp: protocol.timestamp(),
    recipient: peer.toString(),
    timeout_ms: TASK_TIMEOUT_MS
  }
  const payload = protocol.encodeJson(task)
  const frame = await protocol.sealFrame(privateKey, protocol.TASK, payload)
  const stream = await connection.newStream(protocol.TASK_PROTOCOL, options)
  const reader = byteStream(stream, { maxBufferSize: READ_AHEAD })
  await write(stream, frame)
  const envelope = await protocol.readFrame(reader, protocol.MAX_FRAME)
  if (envelope == null) throw new Error('the stream ended without a result')
  const message = await protocol.openEnvelope(envelope, peer, [protocol.RESULT])
  const result = protocol.checkResult(message.payload, { taskId: task.task_id, taskSha256: protocol.sha256(payload), me, texts: null })
  const took = performance.now() - started
  if (result.status !== 'completed') throw new Error(`the task was ${result.status}: ${result.error.code}: ${result.error.message}`)
  await stream.close()
  await expectEnd(reader, 'result')
  return took
}

async function firstByte (connection, { options }) {
  const stream = await connection.newStream(PING_PROTOCOL, options)
  const bytes = byteStream(stream)
  const sent = randomBytes(PING_BYTES)
  stream.send(sent)
  const first = await bytes.read({ bytes: 1 })
  if (first.get(0) !== sent[0]) throw new Error('the answer is not what was sent')
}
