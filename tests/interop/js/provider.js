// The provider's side: a mock executor behind the task protocol, with its memory. ../README.md says what prompts make it do.

import { setImmediate, setTimeout as delay } from 'node:timers/promises'
import { byteStream } from '@libp2p/utils'
import * as protocol from './protocol.js'
import { READ_AHEAD, drop, expectEnd, write } from './streams.js'

const EXECUTOR = 'mock'
const FIRST_FRAME_MS = 30_000

const MAX_RESULTS = 1024
const MAX_RESULT_BYTES = 16 * 1024 * 1024
const RESULT_AGE_MS = 10 * 60_000

const FAILED = ['executor_failed', 'output_too_large']
const CANCELLED = ['cancelled', 'deadline_exceeded']

/** What a prompt makes the mock do. */
export function planFor (prompt) {
  const [kind, ...rest] = prompt.split(':')
  const numbers = rest.every(part => /^[0-9]{1,6}$/.test(part)) ? rest.map(Number) : []
  if (kind === 'slow' && numbers.length === 2 && numbers[0] > 0) return { pieces: numbers[0], pauseMs: numbers[1] }
  if (kind === 'busy' && numbers.length === 2) return { pieces: 3, busy: numbers[0], retryAfterMs: numbers[1] }
  // the pause leaves the task running when its connection is dropped
  if (kind === 'break' && numbers.length === 1 && numbers[0] > 0) return { pieces: Math.max(3, numbers[0] + 1), pauseMs: 50, breakAfter: numbers[0] }
  if (kind === 'code' && rest.length === 1 && /^[a-z0-9._-]{1,64}$/.test(rest[0])) return { pieces: 3, code: rest[0] }
  return { pieces: 3 }
}

/** A code that the protocol doesn't have is a rejection's. */
const statusOf = code => FAILED.includes(code) ? 'failed' : CANCELLED.includes(code) ? 'cancelled' : 'rejected'

/** One task from its first arrival until it is forgotten; any number of streams follow it. */
class Course {
  pieces = []
  frame = null // the result's, once it has ended
  followers = 0
  stopped = null // why
  #changed = Promise.withResolvers()
  #stop = new AbortController()
  #linger = null

  constructor (key, task, payload, plan) {
    Object.assign(this, { key, task, payload, plan })
    // counted from now on, however often the task comes again
    if (task.timeout_ms != null) this.deadline = setTimeout(() => this.stop('deadline'), task.timeout_ms)
  }

  get changed () { return this.#changed.promise }
  get size () { return this.payload.byteLength + this.frame.byteLength + this.pieces.reduce((sum, piece) => sum + Buffer.byteLength(piece), 0) }

  tell () {
    this.#changed.resolve()
    this.#changed = Promise.withResolvers()
  }

  stop (why) {
    this.stopped ??= why
    this.#stop.abort()
  }

  async pause (ms) {
    await delay(ms, null, { signal: this.#stop.signal }).catch(() => {})
  }

  follow () {
    this.followers++
    clearTimeout(this.#linger)
  }

  /** When nobody follows any more the task stops, after a lost connection not at once. */
  leave (why) {
    if (--this.followers > 0 || this.frame != null) return
    if (why === 'reset') return this.stop(why)
    this.#linger = setTimeout(() => this.stop('lost'), this.task.linger_ms ?? 0)
  }
}

/** The courses that run and those that were completed or failed, by requester and task id. */
export class Memory {
  #courses = new Map()
  #ended = new Set() // of these, the oldest first
  #attempts = new Map()
  bytes = 0

  get size () { return this.#courses.size }

  find (key) {
    this.#expire()
    return this.#courses.get(key)
  }

  /** How often this task has come without being run. */
  attempt (key) {
    if (this.#attempts.size >= MAX_RESULTS) this.#attempts.clear() // prompts that count need a few tasks, not a faithful memory
    this.#attempts.set(key, (this.#attempts.get(key) ?? 0) + 1)
    return this.#attempts.get(key)
  }

  begin (course) {
    this.#courses.set(course.key, course)
  }

  end (course, keep) {
    this.#courses.delete(course.key)
    if (!keep) return
    course.ended = Date.now()
    this.#courses.set(course.key, course)
    this.#ended.add(course)
    this.bytes += course.size
    this.#expire()
  }

  #expire () {
    for (const course of this.#ended) {
      if (this.#ended.size <= MAX_RESULTS && this.bytes <= MAX_RESULT_BYTES && Date.now() - course.ended < RESULT_AGE_MS) return
      this.#ended.delete(course)
      this.#courses.delete(course.key)
      this.bytes -= course.size
    }
  }
}

/** @param tell prints a line, @param log says what goes to standard error */
export function taskServer ({ privateKey, me, tell, log }) {
  const memory = new Memory()

  const seal = (type, message) => protocol.sealFrame(privateKey, type, protocol.encodeJson(message))
  const sealResult = (requester, taskId, payload, rest) => seal(protocol.RESULT, {
    task_id: taskId,
    timestamp: protocol.timestamp(),
    recipient: requester,
    task_sha256: protocol.sha256(payload),
    ...rest
  })

  return async function serveTask (stream, connection) {
    const requester = connection.remotePeer.toString()
    const bytes = byteStream(stream, { maxBufferSize: READ_AHEAD })
    const late = setTimeout(() => stream.abort(new Error(`no task within ${FIRST_FRAME_MS / 1_000} s`)), FIRST_FRAME_MS)
    const frame = await protocol.readFrame(bytes, protocol.MAX_FRAME).finally(() => clearTimeout(late))
    if (frame == null) return await stream.close()
    const { payload } = await protocol.openEnvelope(frame, connection.remotePeer, [protocol.TASK])

    // Reads on while the task runs: a close says nothing, more bytes are a violation, and a reset or a lost connection closes the stream.
    const gone = Promise.withResolvers()
    stream.addEventListener('close', gone.resolve, { once: true })
    expectEnd(bytes, 'task').catch(err => {
      log(`${protocol.TASK_PROTOCOL} with ${requester}: ${err.message}`)
      stream.abort(err)
    })
    await setImmediate() // the mock is done at once; bytes that came along with the task are seen first

    const admitted = admit(requester, payload)
    if (admitted.error != null) {
      const { taskId, error } = admitted
      await write(stream, await sealResult(requester, taskId, payload, { status: 'rejected', error }))
      await stream.close()
      return tell({ event: 'task', task_id: taskId, status: 'rejected', code: error.code, peer: requester })
    }
    const { course, first } = admitted
    course.follow()
    try {
      await deliver(stream, course, gone.promise, first ? connection : null)
    } finally {
      course.leave(stream.status === 'reset' || connection.status === 'open' ? 'reset' : 'lost')
    }
    await stream.close()
  }

  /** The course of a task, and whether it begins now; or an error to reject the task with. */
  function admit (requester, payload) {
    let task
    try {
      task = protocol.checkTask(payload)
    } catch (err) {
      if (!(err instanceof protocol.InvalidTask)) throw err
      return { taskId: err.taskId, error: { code: 'invalid_task', message: err.message } }
    }
    const { task_id: taskId, task_type: type, recipient, input } = task
    const reject = (code, message, rest) => ({ taskId, error: { code, message, ...rest } })
    if (recipient != null && recipient !== me) return reject('wrong_recipient', `this is ${me}, not ${recipient}`)
    if (type !== 'inference') return reject('unsupported_task_type', `send an inference task, not ${type}`)
    if (input.model != null && input.model !== EXECUTOR) return reject('unsupported_model', 'leave out the model; nobody here has one')

    const key = `${requester} ${taskId}`
    const known = memory.find(key)
    if (known != null) {
      if (!Buffer.from(known.payload).equals(payload)) return reject('task_id_conflict', 'another task had this task_id; take a new one')
      tell({ event: 'repeat', task_id: taskId, peer: requester })
      return { course: known, first: false }
    }
    const plan = planFor(protocol.promptOf(input))
    const attempt = memory.attempt(key)
    const asked = 'the prompt asked for it'
    if (attempt <= plan.busy) return reject('busy', asked, { retry_after_ms: plan.retryAfterMs })
    if (plan.code != null && statusOf(plan.code) === 'rejected') return reject(plan.code, asked, plan.code === 'busy' ? { retry_after_ms: 50 } : {})
    const course = new Course(key, task, payload, attempt === 1 ? plan : { ...plan, breakAfter: null })
    memory.begin(course)
    run(course, requester).catch(err => log(`task ${taskId}: ${err.stack}`))
    return { course, first: true }
  }

  /** Does what the prompt says, until somebody stops it. */
  async function run (course, requester) {
    const { task, plan, payload } = course
    const text = `Processed: ${protocol.promptOf(task.input)}`
    const result = rest => sealResult(requester, task.task_id, payload, { executor: EXECUTOR, ...rest })
    let outcome = { status: 'completed', output: { text } }
    let frame
    try {
      frame = await result(outcome) // before the updates, because a result that is too large has no output for them to add up to
    } catch (err) {
      if (!(err instanceof RangeError)) throw err
      outcome = { status: 'failed', error: { code: 'output_too_large', message: 'ask for less: the output does not fit a frame' } }
      frame = await result(outcome)
    }
    for (const piece of outcome.status === 'completed' ? protocol.pieces(text, plan.pieces) : []) {
      if (plan.pauseMs > 0) await course.pause(plan.pauseMs)
      if (course.stopped != null) break
      course.pieces.push(piece)
      course.tell()
      if (plan.code != null) break
    }
    const code = course.stopped == null ? plan.code : course.stopped === 'deadline' ? 'deadline_exceeded' : 'cancelled'
    if (code != null) {
      const message = course.stopped == null ? 'the prompt asked for it' : 'it was stopped; send it again'
      outcome = { status: statusOf(code), output: { text: course.pieces.join('') }, error: { code, message } }
      frame = await result(outcome)
    }
    clearTimeout(course.deadline)
    course.frame = frame
    memory.end(course, outcome.status !== 'cancelled')
    const status = course.stopped === 'lost' ? 'lost' : outcome.status
    tell({ event: 'task', task_id: task.task_id, status, code: outcome.error?.code, peer: requester })
    course.tell()
  }

  /** The updates and the result, as they come. @param connection the one to drop if the prompt says so, or null */
  async function deliver (stream, course, gone, connection) {
    const { task, plan } = course
    let seq = 0
    const update = async rest => {
      if (task.stream) await write(stream, await seal(protocol.UPDATE, { task_id: task.task_id, seq: seq++, ...rest }))
    }
    await update({ state: 'running' })
    for (let seen = 0; ;) {
      const { changed, frame } = course
      while (seen < course.pieces.length) {
        await update({ text: course.pieces[seen++] })
        if (connection != null && seen === plan.breakAfter) {
          await delay(10) // so that what was written has left
          drop(connection)
        }
        if (stream.status !== 'open' && stream.status !== 'closing') throw new Error(`task ${task.task_id} given up: the stream is ${stream.status}`)
      }
      if (frame != null) return await write(stream, frame)
      if (await Promise.race([gone, changed]) != null) throw new Error(`task ${task.task_id} given up: the stream is ${stream.status}`)
    }
  }
}

export async function serveInfo (stream, opener, { privateKey, agent }) {
  const info = {
    agent,
    timestamp: protocol.timestamp(),
    recipient: opener.toString(),
    executors: [{ task_type: 'inference', executor: EXECUTOR }],
    queue: { running: 0, waiting: 0, slots: 1, capacity: 0 }
  }
  await write(stream, await protocol.sealFrame(privateKey, protocol.INFO, protocol.encodeJson(info), protocol.MAX_INFO_FRAME))
  await stream.close()
}

export async function serveEcho (stream) {
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
