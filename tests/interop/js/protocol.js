// The task protocol's own rules: frames, envelopes, JSON and the members of each message. Nothing here opens a stream or keeps state, so
// that protocol.test.js can hold all of it against the document's vector.

import { createHash } from 'node:crypto'
import { peerIdFromPublicKey } from '@libp2p/peer-id'
import { RecordEnvelope } from '@libp2p/peer-record'
import * as varint from 'uint8-varint'

export const TASK_PROTOCOL = '/p2p-ai-agents/task/1.0.0'
export const INFO_PROTOCOL = '/p2p-ai-agents/info/1.0.0'
export const ECHO_PROTOCOL = '/p2p-ai-agents/test-echo/1.0.0'

export const TASK = '/p2p-ai-agents/task'
export const UPDATE = '/p2p-ai-agents/update'
export const RESULT = '/p2p-ai-agents/result'
export const INFO = '/p2p-ai-agents/info'

export const MAX_FRAME = 4 * 1024 * 1024
export const MAX_INFO_FRAME = 64 * 1024
const MAX_UPDATE_TEXT = 64 * 1024
const MAX_DEPTH = 32

const DOMAIN = 'p2p-ai-agents'
export const NIL_UUID = '00000000-0000-0000-0000-000000000000'

export const sha256 = bytes => createHash('sha256').update(bytes).digest('hex')
export const timestamp = () => new Date().toISOString()
export const encodeJson = value => new TextEncoder().encode(JSON.stringify(value))

// ---- frames and envelopes

/** The whole frame, length included, as it goes onto the stream. */
export async function sealFrame (privateKey, type, payload, limit = MAX_FRAME) {
  const record = { domain: DOMAIN, codec: new TextEncoder().encode(type), marshal: () => payload }
  return frame((await RecordEnvelope.seal(record, privateKey)).marshal(), limit)
}

/** As sealFrame, but one bit of the payload changes after signing. It is in a digit of the timestamp, so that only the signature can tell. */
export async function sealTamperedFrame (privateKey, type, payload) {
  const record = { domain: DOMAIN, codec: new TextEncoder().encode(type), marshal: () => payload }
  const envelope = await RecordEnvelope.seal(record, privateKey)
  envelope.payload = Uint8Array.from(payload)
  envelope.payload[Buffer.from(payload).indexOf('"timestamp":"2') + '"timestamp":"20'.length] ^= 1
  return frame(envelope.marshal())
}

function frame (envelope, limit = MAX_FRAME) {
  if (envelope.byteLength > limit) throw new RangeError(`a frame of ${envelope.byteLength} bytes is above the limit of ${limit}`)
  return Buffer.concat([varint.encode(envelope.byteLength), envelope])
}

/** The next frame's envelope bytes from a js-libp2p ByteStream; null if the stream ended before its first byte. */
export async function readFrame (bytes, limit = MAX_FRAME, options = {}) {
  const length = []
  do {
    try {
      length.push((await bytes.read({ ...options, bytes: 1 })).get(0))
    } catch (err) {
      if (length.length === 0 && err.name === 'UnexpectedEOFError') return null
      throw err
    }
    if (length.length > varint.encodingLength(limit)) throw new Error('frame length above the limit')
  } while (length.at(-1) >= 0x80)
  const size = varint.decode(Uint8Array.from(length))
  if (varint.encodingLength(size) !== length.length) throw new Error('frame length is not minimally encoded')
  if (size > limit) throw new Error(`frame of ${size} bytes is above the limit of ${limit}`)
  if (size === 0) throw new Error('empty frame')
  return (await bytes.read({ ...options, bytes: size })).subarray()
}

/** Checks what must hold before the content is looked at: signature, the connection's peer, a payload type that may come now. */
export async function openEnvelope (bytes, peer, types) {
  const envelope = await RecordEnvelope.openAndCertify(bytes, DOMAIN)
  const signer = peerIdFromPublicKey(envelope.publicKey)
  if (!signer.equals(peer)) throw new Error(`envelope signed by ${signer} on a connection with ${peer}`)
  const type = types.find(t => Buffer.from(t).equals(envelope.payloadType))
  if (type == null) throw new Error(`payload type ${JSON.stringify(Buffer.from(envelope.payloadType).toString())} may not come here`)
  return { type, payload: envelope.payload }
}

// ---- JSON

/** A number that wasn't written as a plain integer. JSON.parse alone would make 30000.0 and 3e4 look like 30000. */
class Decimal {
  constructor (value) { this.value = value }
}

export function parseJson (payload) {
  // ignoreBOM keeps a byte order mark in the text, where JSON.parse refuses it
  const text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(payload)
  checkStructure(text) // first, because a reviver recurses
  const value = JSON.parse(text, (_key, value, { source }) => {
    if (typeof value === 'number') return /^(0|-?[1-9][0-9]*)$/.test(source) ? value : new Decimal(value)
    if (typeof value === 'string' && !value.isWellFormed()) throw new SyntaxError('lone surrogate in a string')
    return value
  })
  if (!isObject(value)) throw new SyntaxError('payload is not a JSON object')
  return value
}

/** Depth and duplicate keys, which JSON.parse does not report. Leaves the grammar itself to JSON.parse. */
function checkStructure (text) {
  const open = [] // one entry per open container: the keys of an object, null for an array
  let key = false // whether a string at this place is a key
  for (let i = 0; i < text.length; i++) {
    switch (text[i]) {
      case '{': case '[':
        key = text[i] === '{'
        if (open.push(key ? new Set() : null) > MAX_DEPTH) throw new SyntaxError(`nested more than ${MAX_DEPTH} deep`)
        break
      case '}': case ']':
        open.pop()
        key = false
        break
      case ',': key = open.at(-1) != null; break
      case ':': key = false; break
      case '"': {
        const start = i
        for (i++; i < text.length && text[i] !== '"'; i++) if (text[i] === '\\') i++
        if (!key) break
        const name = JSON.parse(text.slice(start, i + 1))
        if (!name.isWellFormed()) throw new SyntaxError('lone surrogate in a key')
        if (open.at(-1).has(name)) throw new SyntaxError(`duplicate key ${JSON.stringify(name)}`)
        open.at(-1).add(name)
      }
    }
  }
}

// ---- members

const isObject = v => typeof v === 'object' && v !== null && !Array.isArray(v) && !(v instanceof Decimal)
const isString = v => typeof v === 'string'
const isName = v => isString(v) && v.length > 0
const isBoolean = v => typeof v === 'boolean'
const isNumber = v => typeof v === 'number' || v instanceof Decimal
const isInteger = v => typeof v === 'number'
const within = (min, max) => v => isInteger(v) && v >= min && v <= max
const isCount = within(0, Number.MAX_SAFE_INTEGER)
const isArrayOf = test => v => Array.isArray(v) && v.every(test)
const isExactly = expected => v => v === expected
const isOneOf = (...values) => v => values.includes(v)
const isUuid4 = v => isString(v) && /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/.test(v)
const isTaskType = v => isString(v) && /^[a-z0-9._-]{1,64}$/.test(v)

function isTimestamp (v) {
  const parts = isString(v) && /^(\d{4}-\d\d-\d\d)T([01]\d|2[0-3]):[0-5]\d:([0-5]\d|60)(\.\d+)?Z$/.exec(v)
  if (!parts) return false
  const day = new Date(parts[1]) // V8 turns 30 February into a day of March
  return !Number.isNaN(day.getTime()) && day.toISOString().startsWith(parts[1])
}

/** An optional member that is null counts as absent, a required one as missing. Returns only the members asked for. */
function members (object, what, { required = {}, optional = {} }) {
  if (!isObject(object)) throw new Error(`${what} is not an object`)
  const found = {}
  for (const [name, test] of Object.entries({ ...required, ...optional })) {
    const value = object[name]
    if (value == null) {
      if (name in required) throw new Error(`${what} has no ${name}`)
    } else if (!test(value)) {
      throw new Error(`${what} has a bad ${name}: ${JSON.stringify(value).slice(0, 120)}`)
    } else {
      found[name] = value
    }
  }
  return found
}

export class InvalidTask extends Error {
  constructor (message, taskId = NIL_UUID) {
    super(message)
    this.taskId = taskId
  }
}

export function checkTask (payload) {
  let taskId
  try {
    const json = parseJson(payload)
    if (isUuid4(json.task_id)) taskId = json.task_id
    const task = members(json, 'task', {
      required: { task_id: isUuid4, task_type: isTaskType, input: isObject, timestamp: isTimestamp },
      optional: { recipient: isString, timeout_ms: within(1, 86_400_000), linger_ms: within(0, 60_000), stream: isBoolean }
    })
    // input belongs to the task type, so one we don't offer must not fail here
    if (task.task_type === 'inference') task.input = checkInference(task.input)
    return task
  } catch (err) {
    throw new InvalidTask(err.message, taskId)
  }
}

function checkInference (json) {
  const input = members(json, 'input', {
    optional: {
      prompt: isString,
      messages: v => Array.isArray(v) && v.length > 0,
      model: isString,
      max_tokens: isInteger,
      temperature: isNumber,
      top_p: isNumber,
      seed: isInteger,
      stop: v => isString(v) || isArrayOf(isString)(v)
    }
  })
  if ((input.prompt == null) === (input.messages == null)) throw new Error('input needs either prompt or messages')
  input.messages = input.messages?.map(message => members(message, 'message', {
    required: { role: isString },
    optional: { content: v => isString(v) || isArrayOf(isObject)(v) }
  }))
  return input
}

/** What the mock answers: the prompt, or the text of the last message. */
export function promptOf ({ prompt, messages }) {
  if (prompt != null) return prompt
  const content = messages.at(-1).content ?? ''
  return isString(content) ? content : content.map(part => isString(part.text) ? part.text : '').join('')
}

export function checkUpdate (payload, { taskId, seq }) {
  const update = members(parseJson(payload), 'update', {
    required: { task_id: isExactly(taskId), seq: isExactly(seq) },
    optional: {
      state: isString,
      position: isCount,
      text: v => isString(v) && Buffer.byteLength(v) <= MAX_UPDATE_TEXT,
      data: isObject
    }
  })
  if (['state', 'text', 'data'].filter(name => name in update).length !== 1) throw new Error('update needs exactly one of state, text and data')
  if ('data' in update) throw new Error('update has data, which inference does not define')
  if (update.state === 'queued' && update.position == null) throw new Error('update says queued without a position')
  return update
}

/** @param texts the texts of all updates, or null if the task didn't ask for a stream */
export function checkResult (payload, { taskId, taskSha256, me, texts }) {
  const json = parseJson(payload)
  const rejected = json.status === 'rejected'
  const result = members(json, 'result', {
    required: {
      task_id: rejected ? isOneOf(taskId, NIL_UUID) : isExactly(taskId),
      status: isOneOf('completed', 'failed', 'rejected', 'cancelled'),
      timestamp: isTimestamp,
      recipient: isExactly(me),
      task_sha256: isExactly(taskSha256),
      ...(rejected ? {} : { executor: isName })
    },
    optional: {
      executor: isName,
      output: isObject,
      error: isObject,
      model: isString,
      finish_reason: isString,
      queued_ms: isCount,
      run_ms: isCount,
      usage: isObject
    }
  })
  if (result.usage != null) members(result.usage, 'usage', { optional: { prompt_tokens: isCount, completion_tokens: isCount } })
  if (result.error != null) {
    result.error = members(result.error, 'error', { required: { code: isName, message: isString }, optional: { retry_after_ms: isCount } })
  }
  if ((result.status === 'completed') !== (result.error == null)) throw new Error(`a ${result.status} result ${result.error == null ? 'without' : 'with'} an error`)
  if (result.status === 'completed' && result.output == null) throw new Error('a completed result without output')
  if (rejected && result.output != null) throw new Error('a rejected result with output')
  if (result.output != null) {
    result.output = members(result.output, 'output', { required: { text: isString } })
    if (texts != null && texts.join('') !== result.output.text) throw new Error('the updates do not concatenate to the output')
  }
  return result
}

export function checkInfo (payload, { me }) {
  const info = members(parseJson(payload), 'info', {
    required: {
      agent: v => isString(v) && /^[^/]+\/.+$/.test(v),
      timestamp: isTimestamp,
      recipient: isExactly(me),
      executors: isArrayOf(isObject),
      queue: isObject
    },
    optional: { name: v => isString(v) && /^[^\p{C}\p{Zl}\p{Zp}]{1,64}$/u.test(v), may_ask: isBoolean }
  })
  info.executors = info.executors.map(executor => members(executor, 'executor', {
    required: { task_type: isTaskType, executor: isName },
    optional: { models: isArrayOf(isString) }
  }))
  info.queue = members(info.queue, 'queue', { required: { running: isCount, waiting: isCount, slots: isCount, capacity: isCount } })
  return info
}

/** So many pieces, more only if one would be too long for an update. A code point is at most four bytes of UTF-8. */
export function * pieces (text, count = 3) {
  const points = Array.from(text)
  const total = Math.max(Math.min(count, points.length), Math.ceil(points.length * 4 / MAX_UPDATE_TEXT))
  for (let nth = 0; nth < total; nth++) {
    yield points.slice(Math.floor(nth * points.length / total), Math.floor((nth + 1) * points.length / total)).join('')
  }
}
