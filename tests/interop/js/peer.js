// An interop peer on js-libp2p; ../README.md says what it must do. One JSON object a line on standard output, all else on standard error.

import { createCipheriv, createHash, randomUUID } from 'node:crypto'
import { setImmediate, setTimeout as delay } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { noise } from '@chainsafe/libp2p-noise'
import { generateKeyPair } from '@libp2p/crypto/keys'
import { identify, identifyPush } from '@libp2p/identify'
import { mdns } from '@libp2p/mdns'
import { mplex } from '@libp2p/mplex'
import { peerIdFromString } from '@libp2p/peer-id'
import { ping } from '@libp2p/ping'
import { tcp } from '@libp2p/tcp'
import { byteStream } from '@libp2p/utils'
import { yamux } from '@libp2p/yamux'
import { multiaddr } from '@multiformats/multiaddr'
import { createLibp2p } from 'libp2p'
import * as protocol from './protocol.js'

const AGENT = 'p2p-ai-agents-interop-js/1.0.0'
const MUXERS = { yamux, mplex }
const STEP_LIMIT_MS = 60_000
const TASK_TIMEOUT_MS = 50_000
const FIRST_FRAME_MS = 30_000
const OPEN_INTERVAL_MS = 250

// js-libp2p puts whatever is queued into one yamux frame, as large as the window lets it; rust-libp2p ends the connection above 1 MiB.
const CHUNK = 256 * 1024

// js mplex resets a stream with more than 4 MiB unread, and mplex itself cannot slow a sender down.
const MPLEX_ECHO_WINDOW = 1024 * 1024

// A frame, and whatever the other side may already have sent behind it: a provider may stream 4 MiB of updates and then repeat it as output.
const READ_AHEAD = 32 * 1024 * 1024

const emit = event => process.stdout.write(JSON.stringify(event) + '\n')
const log = message => process.stderr.write(`${message}\n`)

async function startNode ({ listen, muxers, onDiscovered }) {
  const privateKey = await generateKeyPair('Ed25519')
  const node = await createLibp2p({
    start: false,
    privateKey,
    addresses: { listen },
    transports: [tcp()],
    connectionEncrypters: [noise()],
    streamMuxers: muxers.map(name => MUXERS[name]()),
    services: { identify: identify(), identifyPush: identifyPush(), ping: ping() },
    peerDiscovery: onDiscovered == null ? [] : [discovery(onDiscovered)]
  })
  return { node, privateKey, me: node.peerId.toString() }
}

/** mDNS, reporting from the source: libp2p's own peer:discovery also fires for a peer that merely connects. */
function discovery (onDiscovered) {
  const seen = new Map()
  return components => {
    const service = mdns()(components)
    service.addEventListener('peer', ({ detail }) => {
      const peer = detail.id.toString()
      const addrs = detail.multiaddrs.map(address => `${address}/p2p/${peer}`)
      if (seen.get(peer) === addrs.join()) return // every answer to anybody's query comes by here
      seen.set(peer, addrs.join())
      onDiscovered(peer, addrs)
    })
    return service
  }
}

// ---- streams

async function write (stream, data) {
  for (let at = 0; at < data.byteLength; at += CHUNK) {
    if (!stream.send(data.subarray(at, Math.min(at + CHUNK, data.byteLength)))) await drained(stream)
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

async function expectEnd (bytes, after, options) {
  const rest = await bytes.read(options)
  if (rest != null) throw new Error(`${rest.byteLength} bytes after the ${after}`)
}

// ---- serve

async function serve ({ listen = ['/ip4/127.0.0.1/tcp/0'], muxers, mdns, ipv6 }) {
  if (mdns) refuseIpv6(ipv6)
  // what happens while the node starts is told after the line that says where it listens
  let held = []
  const tell = event => held == null ? emit(event) : held.push(event)

  const { node, privateKey, me } = await startNode({
    listen,
    muxers,
    onDiscovered: mdns ? (peer, addrs) => tell({ event: 'peer_discovered', peer, addrs }) : undefined
  })
  node.addEventListener('peer:connect', ({ detail }) => tell({ event: 'connected', peer: detail.toString() }))
  node.addEventListener('peer:disconnect', ({ detail }) => tell({ event: 'disconnected', peer: detail.toString() }))

  const handle = (id, handler) => node.handle(id, async (stream, connection) => {
    try {
      await handler(stream, connection)
    } catch (err) {
      log(`${id} with ${connection.remotePeer}: ${err.message}`)
      stream.abort(err)
    }
  })
  await handle(protocol.TASK_PROTOCOL, (stream, connection) => serveTask(stream, connection.remotePeer, { privateKey, me, tell }))
  await handle(protocol.INFO_PROTOCOL, (stream, connection) => serveInfo(stream, connection.remotePeer, { privateKey }))
  await handle(protocol.ECHO_PROTOCOL, serveEcho)
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

async function serveTask (stream, requester, { privateKey, me, tell }) {
  const bytes = byteStream(stream, { maxBufferSize: READ_AHEAD })
  const frame = await protocol.readFrame(bytes, protocol.MAX_FRAME, { signal: AbortSignal.timeout(FIRST_FRAME_MS) })
  if (frame == null) return await stream.close()
  const { payload } = await protocol.openEnvelope(frame, requester, [protocol.TASK])

  // Reads on while the task runs: a close says nothing, more bytes are a violation, and a reset makes the next write fail.
  expectEnd(bytes, 'task').catch(err => {
    log(`${protocol.TASK_PROTOCOL} with ${requester}: ${err.message}`)
    stream.abort(err)
  })
  await setImmediate() // the mock is done at once; bytes that came along with the task are seen first

  const send = async (type, message) => write(stream, await protocol.sealFrame(privateKey, type, protocol.encodeJson(message)))
  const answer = async (taskId, rest) => {
    await send(protocol.RESULT, {
      task_id: taskId,
      timestamp: protocol.timestamp(),
      recipient: requester.toString(),
      task_sha256: protocol.sha256(payload),
      ...rest
    })
    await stream.close()
    tell({ event: 'task', task_id: taskId, status: rest.status, peer: requester.toString() })
  }
  const reject = (taskId, code, message) => answer(taskId, { status: 'rejected', error: { code, message } })

  let task
  try {
    task = protocol.checkTask(payload)
  } catch (err) {
    if (!(err instanceof protocol.InvalidTask)) throw err
    return await reject(err.taskId, 'invalid_task', err.message)
  }
  const { task_id: taskId, task_type: type, recipient, input } = task
  if (recipient != null && recipient !== me) return await reject(taskId, 'wrong_recipient', `this is ${me}, not ${recipient}`)
  if (type !== 'inference') return await reject(taskId, 'unsupported_task_type', `send an inference task, not ${type}`)
  if (input.model != null && input.model !== 'mock') return await reject(taskId, 'unsupported_model', 'leave out the model; nobody here has one')

  const text = `Processed: ${protocol.promptOf(input)}`
  if (task.stream) {
    let seq = 0
    await send(protocol.UPDATE, { task_id: taskId, seq: seq++, state: 'running' })
    for (const piece of protocol.pieces(text)) await send(protocol.UPDATE, { task_id: taskId, seq: seq++, text: piece })
  }
  try {
    await answer(taskId, { status: 'completed', output: { text }, executor: 'mock' })
  } catch (err) {
    if (!(err instanceof RangeError)) throw err
    await answer(taskId, { status: 'failed', executor: 'mock', error: { code: 'output_too_large', message: 'ask for less: the output does not fit a frame' } })
  }
}

async function serveInfo (stream, opener, { privateKey }) {
  const info = {
    agent: AGENT,
    timestamp: protocol.timestamp(),
    recipient: opener.toString(),
    executors: [{ task_type: 'inference', executor: 'mock' }],
    queue: { running: 0, waiting: 0, slots: 1, capacity: 0 }
  }
  await write(stream, await protocol.sealFrame(privateKey, protocol.INFO, protocol.encodeJson(info), protocol.MAX_INFO_FRAME))
  await stream.close()
}

async function serveEcho (stream) {
  // Pausing is what makes yamux hold the sender back, but js by then may have granted 16 MiB, and it resets a stream with more than 4 MiB
  // unread. mplex has nothing to hold a sender back with, so there the echo takes what comes.
  stream.maxReadBufferLength = Infinity
  const bytes = byteStream(stream, { maxBufferSize: Infinity })
  for (let chunk; (chunk = await bytes.read()) != null;) {
    if (stream.readStatus === 'readable') stream.pause()
    await write(stream, chunk)
    if (stream.readStatus === 'paused') stream.resume()
  }
  await stream.close()
}

// ---- dial

async function dial (address, { muxers, do: steps, prompt, bytes }) {
  const { node, privateKey, me } = await startNode({ listen: [], muxers })
  await node.start()
  // identify starts with the connection, so its event may come before dial() returns
  const identified = new Promise(resolve => node.addEventListener('peer:identify', ({ detail }) => resolve(detail), { once: true }))
  const connection = await node.dial(address)
  const peer = connection.remotePeer
  const muxer = connection.multiplexer?.split('/')[1] ?? null
  const lost = new Promise((_resolve, reject) => {
    connection.addEventListener('close', ({ error }) => reject(new Error(`connection lost${error ? `: ${error.message}` : ''}`)))
  })
  lost.catch(() => {}) // only matters while a step waits
  emit({ event: 'connected', peer: peer.toString(), muxer })

  let lastOpened = Date.now() // identify's stream
  const pace = async () => {
    await delay(Math.max(0, lastOpened + OPEN_INTERVAL_MS - Date.now()))
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
      const { result } = await ask({})
      return { status: result.status, text: result.output?.text ?? null, executor: result.executor ?? null, error: result.error }
    },

    async stream () {
      const { result, updates } = await ask({ stream: true })
      return { status: result.status, text: result.output?.text ?? null, updates, error: result.error }
    },

    async tampered () {
      const stream = await open(protocol.TASK_PROTOCOL)
      const reader = byteStream(stream)
      await write(stream, await protocol.sealTamperedFrame(privateKey, protocol.TASK, protocol.encodeJson(newTask({}))))
      const answer = await reader.read().catch(err => {
        if (err.name === 'StreamResetError') return null
        throw err
      })
      if (answer != null) throw new Error(`${answer.byteLength} bytes in answer to an envelope with a wrong signature`)
      stream.abort(new Error('done'))
      return { refused: true }
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

  async function ask (extra) {
    const task = newTask(extra)
    const payload = protocol.encodeJson(task)
    const options = { signal: AbortSignal.timeout(TASK_TIMEOUT_MS + 1_000) }
    const stream = await open(protocol.TASK_PROTOCOL)
    const reader = byteStream(stream, { maxBufferSize: READ_AHEAD })
    await write(stream, await protocol.sealFrame(privateKey, protocol.TASK, payload))

    const texts = []
    for (let updates = 0; ; updates++) {
      const frame = await protocol.readFrame(reader, protocol.MAX_FRAME, options)
      if (frame == null) throw new Error('the stream ended without a result')
      const message = await protocol.openEnvelope(frame, peer, task.stream ? [protocol.UPDATE, protocol.RESULT] : [protocol.RESULT])
      if (message.type === protocol.RESULT) {
        const expected = { taskId: task.task_id, taskSha256: protocol.sha256(payload), me, texts: task.stream ? texts : null }
        const result = protocol.checkResult(message.payload, expected)
        await stream.close()
        await expectEnd(reader, 'result', options)
        return { result, updates }
      }
      const update = protocol.checkUpdate(message.payload, { taskId: task.task_id, seq: updates })
      if (update.text != null) texts.push(update.text)
    }
  }

  for (const step of steps) {
    const limit = new AbortController()
    const tooLong = delay(STEP_LIMIT_MS, null, { signal: limit.signal }).then(() => { throw new Error(`not done after ${STEP_LIMIT_MS / 1_000} s`) })
    tooLong.catch(() => {})
    try {
      const line = await Promise.race([runners[step](), lost, tooLong])
      emit({ event: step, ...line })
      if ('status' in line && line.status !== 'completed') throw new Error(`the task was ${line.status}: ${line.error.code}: ${line.error.message}`)
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
  const { node } = await startNode({
    listen: ['/ip4/0.0.0.0/tcp/0'],
    muxers: Object.keys(MUXERS),
    onDiscovered: (peer, addrs) => peer === wanted ? found.resolve(addrs) : log(`discovered ${peer}`)
  })
  await node.start()
  const addrs = await Promise.race([found.promise, delay(wait * 1_000)])
  if (addrs == null) throw new Error(`${wanted} was not discovered within ${wait} s`)
  emit({ event: 'peer_discovered', peer: wanted, addrs })
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

async function main () {
  const [command, ...args] = process.argv.slice(2)
  const parse = (options, allowPositionals = false) => {
    const { values, positionals } = parseArgs({ args, options, allowPositionals })
    return { ...values, positionals, muxers: muxerList(values.muxer) }
  }
  const text = { type: 'string' }
  const flag = { type: 'boolean' }

  if (command === 'serve') {
    return await serve(parse({ listen: { ...text, multiple: true }, muxer: text, mdns: flag, ipv6: flag }))
  }
  if (command === 'dial') {
    const options = parse({ muxer: text, do: text, prompt: text, bytes: text }, true)
    const steps = (options.do ?? 'identify,ping,info,task,stream,tampered,echo').split(',')
    const known = ['identify', 'ping', 'info', 'task', 'stream', 'tampered', 'echo']
    for (const step of steps) if (!known.includes(step)) throw new Error(`unknown thing to do: ${step}`)
    const bytes = Number(options.bytes ?? 64 * 1024 * 1024)
    if (!Number.isSafeInteger(bytes) || bytes < 0) throw new Error('--bytes takes a number of bytes')
    if (options.positionals.length !== 1 || !/\/p2p\/[^/]+$/.test(options.positionals[0])) throw new Error('dial takes one address that ends in /p2p/…')
    return await dial(multiaddr(options.positionals[0]), { ...options, do: steps, bytes, prompt: options.prompt ?? 'Hello, P2P AI!' })
  }
  if (command === 'discover') {
    const options = parse({ for: text, wait: text, ipv6: flag })
    const wait = Number(options.wait)
    if (options.for == null || !(wait > 0)) throw new Error('discover needs --for PEERID and --wait SECONDS')
    return await discover({ ...options, for: peerIdFromString(options.for).toString(), wait })
  }
  throw new Error('usage: peer serve|dial|discover …')
}

function fail (err) {
  if (process.env.PEER_TRACE) log(err.stack)
  emit({ event: 'error', message: err.message })
  process.exit(1)
}

process.on('unhandledRejection', fail)
main().then(() => process.exit(0), fail)
