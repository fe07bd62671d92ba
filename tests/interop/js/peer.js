// An interop peer on js-libp2p; ../README.md says what it must do. One JSON object a line on standard output, all else on standard error.

import { createCipheriv, createHash, randomUUID } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { peerIdFromString } from '@libp2p/peer-id'
import { byteStream } from '@libp2p/utils'
import { multiaddr } from '@multiformats/multiaddr'
import { Bench, benchOptions } from './bench.js'
import { faults } from './faults.js'
import { AGENT, MUXERS, createNode, muxerOf, streamLimits } from './node.js'
import { PERF_PROTOCOL, servePerf } from './perf.js'
import * as protocol from './protocol.js'
import { serveEcho, serveInfo, taskServer } from './provider.js'
import { CHUNK, READ_AHEAD, drop, expectEnd, write } from './streams.js'

const STEP_LIMIT_MS = 60_000
const TASK_TIMEOUT_MS = 50_000
const OPEN_INTERVAL_MS = 250
const LINGER_MS = 10_000
const DEADLINE_MS = 500

// js mplex resets a stream with more than 4 MiB unread, and mplex itself cannot slow a sender down.
const MPLEX_ECHO_WINDOW = 1024 * 1024

const emit = event => process.stdout.write(JSON.stringify(event) + '\n')
const log = message => process.stderr.write(`${message}\n`)

// ---- serve

async function serve ({ listen = ['/ip4/127.0.0.1/tcp/0'], muxers, mdns, ipv6, perf, quiet }) {
  if (mdns) refuseIpv6(ipv6)
  // what happens while the node starts is told after the line that says where it listens
  let held = []
  const tell = event => held == null ? emit(event) : held.push(event)

  const measured = perf || quiet
  const { node, privateKey, me } = await createNode({
    listen,
    muxers,
    measured,
    onDiscovered: mdns ? (peer, addrs) => tell({ event: 'peer_discovered', peer, addrs }) : undefined
  })
  if (!quiet) {
    node.addEventListener('peer:connect', ({ detail }) => tell({ event: 'connected', peer: detail.toString() }))
    node.addEventListener('peer:disconnect', ({ detail }) => tell({ event: 'disconnected', peer: detail.toString() }))
  }

  const handle = (id, handler) => node.handle(id, async (stream, connection) => {
    try {
      await handler(stream, connection)
    } catch (err) {
      log(`${id} with ${connection.remotePeer}: ${err.message}`)
      stream.abort(err)
    }
  }, streamLimits(measured))
  await handle(protocol.TASK_PROTOCOL, taskServer({ privateKey, me, tell: quiet ? () => {} : tell, log }))
  await handle(protocol.INFO_PROTOCOL, (stream, connection) => serveInfo(stream, connection.remotePeer, { privateKey, agent: AGENT }))
  await handle(protocol.ECHO_PROTOCOL, serveEcho)
  if (perf) await handle(PERF_PROTOCOL, servePerf)
  await node.start()

  emit({ event: 'listening', peer: me, addrs: node.getMultiaddrs().map(String) })
  held.forEach(emit)
  held = null

  await new Promise(resolve => {
    process.once('SIGTERM', resolve).once('SIGINT', resolve)
    process.stdin.once('end', resolve).once('error', resolve).resume()
  })
  await Promise.race([node.stop(), delay(2_000)])
}

// ---- dial

async function dial (address, { muxers, do: steps, prompt, bytes }) {
  const { node, privateKey, me } = await createNode({ muxers })
  await node.start()
  // identify starts with the connection, so its event may come before dial() returns
  const identified = new Promise(resolve => node.addEventListener('peer:identify', ({ detail }) => resolve(detail), { once: true }))
  let connection, lost, lastOpened
  const connect = async () => {
    connection = await node.dial(address)
    const mine = connection
    lastOpened = Date.now() // identify's stream
    lost = new Promise((_resolve, reject) => {
      mine.addEventListener('close', ({ error }) => {
        if (mine === connection) reject(new Error(`connection lost${error ? `: ${error.message}` : ''}`))
      })
    })
    lost.catch(() => {}) // only matters while a step waits
  }
  await connect()
  const peer = connection.remotePeer
  const muxer = muxerOf(connection)
  emit({ event: 'connected', peer: peer.toString(), muxer })

  const pace = async () => {
    if (muxer !== 'yamux') await delay(Math.max(0, lastOpened + OPEN_INTERVAL_MS - Date.now()))
    lastOpened = Date.now()
  }
  const open = async id => {
    await pace()
    return await connection.newStream(id)
  }

  const runners = {
    async identify () {
      // js swallows the error of its own attempt, which it gives up after 5 s; another one tells the reason
      const late = new AbortController()
      const result = await Promise.race([identified, delay(7_000, null, { signal: late.signal }).then(async () => {
        await pace()
        await node.services.identify.identify(connection)
        throw new Error('the identify of the new connection failed, although a later one worked')
      })])
      late.abort()
      return {
        agent: result.agentVersion ?? null,
        protocol_version: result.protocolVersion ?? null,
        protocols: result.protocols,
        listen_addrs: result.listenAddrs.map(String),
        observed: result.observedAddr?.toString() ?? null
      }
    },

    async ping () {
      const ms = []
      for (let i = 0; i < 3; i++) {
        await pace() // js opens a stream for each ping
        ms.push(await node.services.ping.ping(peer))
      }
      return { ms }
    },

    async info () {
      const stream = await open(protocol.INFO_PROTOCOL)
      const reader = byteStream(stream)
      await stream.close()
      const frame = await protocol.readFrame(reader, protocol.MAX_INFO_FRAME)
      if (frame == null) throw new Error('the stream ended without an info')
      const { payload } = await protocol.openEnvelope(frame, peer, [protocol.INFO])
      const { agent, executors, queue } = protocol.checkInfo(payload, { me })
      await expectEnd(reader, 'info')
      return { agent, executors, queue }
    },

    async task () {
      const { result } = await ask(await request())
      return { status: result.status, text: result.output?.text ?? null, executor: result.executor ?? null, error: result.error }
    },

    async stream () {
      const { result, updates } = await ask(await request({ stream: true }))
      return { status: result.status, text: result.output?.text ?? null, updates, error: result.error }
    },

    async tampered () {
      const stream = await open(protocol.TASK_PROTOCOL)
      const reader = byteStream(stream)
      await write(stream, await protocol.sealTamperedFrame(privateKey, protocol.TASK, protocol.encodeJson(newTask())))
      const answer = await reader.read().catch(err => {
        if (err.name === 'StreamResetError') return null
        throw err
      })
      if (answer != null) throw new Error(`${answer.byteLength} bytes in answer to an envelope with a wrong signature`)
      stream.abort(new Error('done'))
      return { refused: true }
    },

    // it lingers, so that only the reset can be what stops the task
    async cancel () {
      const sent = await request({ stream: true, linger_ms: LINGER_MS })
      const { stream, updates } = await begin(sent)
      stream.abort(new Error('cancelled'))
      await pace()
      await node.services.ping.ping(peer) // what is answered behind the reset proves that it has arrived
      return { task_id: sent.task.task_id, updates }
    },

    // one envelope three times: until the connection is dropped in its midst, until the result, and once more
    async retry () {
      const sent = await request({ stream: true, linger_ms: LINGER_MS })
      await begin(sent)
      const old = connection
      const closed = new Promise(resolve => old.addEventListener('close', resolve, { once: true }))
      connection = null
      drop(old)
      await closed
      await connect()
      const second = await ask(sent)
      const third = await ask(sent)
      const same = Buffer.from(second.envelope).equals(third.envelope)
      const { status, output, error } = second.result
      return { task_id: sent.task.task_id, status, text: output?.text ?? null, same, error }
    },

    async conflict () {
      const { task } = await request()
      const { result } = await ask(await sealed(task))
      if (result.status !== 'completed') throw new Error(`the first task was ${result.status}: ${result.error.message}`)
      const answer = await ask(await sealed({ ...task, input: { prompt: `${prompt}!` } }))
      refused(answer, 'rejected', 'task_id_conflict')
      return { task_id: task.task_id, status: answer.result.status, code: answer.result.error.code }
    },

    async codes () {
      const codes = []
      for (const { code, payload, ids } of faults(newTask())) {
        const answer = await ask(await sealed(payload.task, payload.bytes))
        refused(answer, 'rejected', code)
        if (!ids.includes(answer.result.task_id)) throw new Error(`${payload.bytes} is answered for ${answer.result.task_id}`)
        codes.push(code)
      }
      return { codes }
    },

    async deadline () {
      const sent = await request({ stream: true, timeout_ms: DEADLINE_MS })
      const answer = await exchange(sent, { waitMs: DEADLINE_MS + 5_000 })
      refused(answer, 'cancelled', 'deadline_exceeded')
      const { status, error, output } = answer.result
      return { task_id: sent.task.task_id, status, code: error.code, text: output?.text ?? null, updates: answer.updates }
    },

    async echo () {
      const stream = await open(protocol.ECHO_PROTOCOL)
      const reader = byteStream(stream, { maxBufferSize: Infinity })
      const sequence = createCipheriv('aes-128-ctr', Buffer.from('p2p-ai-agents/js'), Buffer.alloc(16))
      const hashes = { sent: createHash('sha256'), received: createHash('sha256') }
      const started = performance.now()
      let sent = 0
      let received = 0
      let ended = false
      let progress = Promise.withResolvers()

      const writing = async () => {
        while (sent < bytes) {
          while (muxer === 'mplex' && !ended && sent - received >= MPLEX_ECHO_WINDOW) await progress.promise
          const chunk = sequence.update(Buffer.alloc(Math.min(CHUNK, bytes - sent)))
          hashes.sent.update(chunk)
          sent += chunk.byteLength
          await write(stream, chunk)
        }
        await stream.close()
      }
      const reading = async () => {
        for (let chunk; (chunk = await reader.read()) != null;) {
          for (const part of chunk) hashes.received.update(part)
          received += chunk.byteLength
          progress.resolve()
          progress = Promise.withResolvers()
        }
        ended = true
        progress.resolve()
        // an end without an error is also what js shows for a half-closed stream whose connection is gone
        if (received !== bytes) throw new Error(`the echo ended after ${received} of ${bytes} bytes`)
      }
      await Promise.all([writing(), reading()])
      const [sha256, back] = [hashes.sent.digest('hex'), hashes.received.digest('hex')]
      if (back !== sha256) throw new Error(`sent SHA-256 ${sha256}, read back ${back}`)
      return { bytes, sha256, ms: Math.round(performance.now() - started) }
    }
  }

  const newTask = extra => ({
    task_id: randomUUID(),
    task_type: 'inference',
    input: { prompt },
    timestamp: protocol.timestamp(),
    recipient: peer.toString(),
    timeout_ms: TASK_TIMEOUT_MS,
    ...extra
  })

  const request = async extra => sealed(newTask(extra))
  const sealed = async (task, payload = protocol.encodeJson(task)) =>
    ({ task, payload, frame: await protocol.sealFrame(privateKey, protocol.TASK, payload) })

  /** Sends a task, and reads what comes back up to its verified result, or to its first text when told so. */
  async function exchange ({ task, payload, frame }, { firstText = false, waitMs = TASK_TIMEOUT_MS + 1_000 } = {}) {
    const options = { signal: AbortSignal.timeout(waitMs) }
    const stream = await open(protocol.TASK_PROTOCOL)
    const reader = byteStream(stream, { maxBufferSize: READ_AHEAD })
    await write(stream, frame)

    const texts = []
    for (let updates = 0; ; updates++) {
      const envelope = await protocol.readFrame(reader, protocol.MAX_FRAME, options)
      if (envelope == null) throw new Error('the stream ended without a result')
      const message = await protocol.openEnvelope(envelope, peer, task.stream ? [protocol.UPDATE, protocol.RESULT] : [protocol.RESULT])
      if (message.type === protocol.RESULT) {
        const expected = { taskId: task.task_id, taskSha256: protocol.sha256(payload), me, texts: task.stream ? texts : null }
        const result = protocol.checkResult(message.payload, expected)
        if (firstText) throw new Error(`the task was ${result.status} before its first text`)
        await stream.close()
        await expectEnd(reader, 'result', options)
        return { result, updates, envelope }
      }
      const update = protocol.checkUpdate(message.payload, { taskId: task.task_id, seq: updates })
      if (update.text == null) continue
      texts.push(update.text)
      if (firstText) return { stream, updates: updates + 1 }
    }
  }
  const ask = exchange
  const begin = sent => exchange(sent, { firstText: true })

  function refused ({ result }, status, code) {
    if (result.status !== status || result.error?.code !== code) {
      throw new Error(`${result.status} with ${JSON.stringify(result.error)} instead of ${status} with ${code}`)
    }
  }

  for (const step of steps) {
    const limit = new AbortController()
    const tooLong = delay(STEP_LIMIT_MS, null, { signal: limit.signal }).then(() => { throw new Error(`not done after ${STEP_LIMIT_MS / 1_000} s`) })
    tooLong.catch(() => {})
    try {
      const line = await Promise.race([runners[step](), ...(step === 'retry' ? [] : [lost]), tooLong])
      emit({ event: step, ...line })
      if (line.error != null) throw new Error(`the task was ${line.status}: ${line.error.code}: ${line.error.message}`)
    } catch (err) {
      throw new Error(`${step}: ${err.message}`, { cause: err })
    } finally {
      limit.abort()
    }
  }
  await connection.close()
  await Promise.race([node.stop(), delay(2_000)])
}

// ---- discover

async function discover ({ for: wanted, wait, ipv6 }) {
  refuseIpv6(ipv6)
  const found = Promise.withResolvers()
  const { node } = await createNode({
    listen: ['/ip4/0.0.0.0/tcp/0'],
    muxers: Object.keys(MUXERS),
    onDiscovered: (peer, addrs, ms) => peer === wanted ? found.resolve({ addrs, ms }) : log(`discovered ${peer}`)
  })
  await node.start()
  const hit = await Promise.race([found.promise, delay(wait * 1_000)])
  if (hit == null) throw new Error(`${wanted} was not discovered within ${wait} s`)
  emit({ event: 'peer_discovered', peer: wanted, ...hit })
  await Promise.race([node.stop(), delay(2_000)])
}

function refuseIpv6 (ipv6) {
  if (ipv6) throw new Error("js-libp2p's mDNS speaks IPv4 only")
}

// ---- command line

function muxerList (text = 'yamux,mplex') {
  const names = text.split(',')
  for (const name of names) if (!Object.hasOwn(MUXERS, name)) throw new Error(`unknown muxer ${name}`)
  return names
}

function target (positionals) {
  if (positionals.length !== 1 || !/\/p2p\/[^/]+$/.test(positionals[0])) throw new Error('one address that ends in /p2p/… has to be given')
  return multiaddr(positionals[0])
}

async function main () {
  const [command, ...args] = process.argv.slice(2)
  const parse = (options, allowPositionals = false) => {
    const { values, positionals } = parseArgs({ args, options, allowPositionals })
    return { ...values, positionals, muxers: muxerList(values.muxer) }
  }
  const text = { type: 'string' }
  const flag = { type: 'boolean' }

  if (command === 'serve') {
    return await serve(parse({ listen: { ...text, multiple: true }, muxer: text, mdns: flag, ipv6: flag, perf: flag, quiet: flag }))
  }
  if (command === 'dial') {
    const options = parse({ muxer: text, do: text, prompt: text, bytes: text }, true)
    const steps = (options.do ?? 'identify,ping,info,task,stream,tampered,echo').split(',')
    const known = ['identify', 'ping', 'info', 'task', 'stream', 'tampered', 'echo', 'cancel', 'retry', 'conflict', 'codes', 'deadline']
    for (const step of steps) if (!known.includes(step)) throw new Error(`unknown thing to do: ${step}`)
    const bytes = Number(options.bytes ?? 64 * 1024 * 1024)
    if (!Number.isSafeInteger(bytes) || bytes < 0) throw new Error('--bytes takes a number of bytes')
    return await dial(target(options.positionals), { ...options, do: steps, bytes, prompt: options.prompt ?? 'Hello, P2P AI!' })
  }
  if (command === 'discover') {
    const options = parse({ for: text, wait: text, ipv6: flag })
    const wait = Number(options.wait)
    if (options.for == null || !(wait > 0)) throw new Error('discover needs --for PEERID and --wait SECONDS')
    return await discover({ ...options, for: peerIdFromString(options.for).toString(), wait })
  }
  if (command === 'bench') {
    const numbers = ['pings', 'tasks', 'total', 'concurrency', 'connections', 'parallel', 'bulk', 'hold']
    const options = parse({ muxer: text, samples: flag, ...Object.fromEntries(numbers.map(name => [name, text])) }, true)
    return await new Bench(target(options.positionals), options.muxers).run(benchOptions(options), emit)
  }
  throw new Error('usage: peer serve|dial|discover|bench …')
}

function fail (err) {
  if (process.env.PEER_TRACE) log(err.stack)
  emit({ event: 'error', message: err.message })
  process.exit(1)
}

process.on('unhandledRejection', fail)
main().then(() => process.exit(0), fail)
