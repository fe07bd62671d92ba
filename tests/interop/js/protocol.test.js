import assert from 'node:assert/strict'
import { test } from 'node:test'
import { generateKeyPairFromSeed, privateKeyFromProtobuf } from '@libp2p/crypto/keys'
import { peerIdFromPrivateKey } from '@libp2p/peer-id'
import { Uint8ArrayList } from 'uint8arraylist'
import { InvalidTask, TASK, RESULT, checkInfo, checkResult, checkTask, checkUpdate, encodeJson, openEnvelope, parseJson, pieces, promptOf, readFrame, sealFrame, sealTamperedFrame, sha256 } from './protocol.js'

// §5 of the task protocol
const requesterKey = privateKeyFromProtobuf(Buffer.from('080112407e0830617c4a7de83925dfb2694556b12936c477a0e1feb2e148ec9da60fee7d1ed1e8fae2c4a144b8be8fd4b47bf3d3b34b871c3cacf6010f0e42d474fce27e', 'hex'))
const providerKey = await generateKeyPairFromSeed('Ed25519', new Uint8Array(32))
const requester = peerIdFromPrivateKey(requesterKey)
const provider = peerIdFromPrivateKey(providerKey)
const taskId = '7f9c24e5-2b4a-4d6f-9a37-0c1d2e3f4a5b'
const taskSha256 = 'df9d614954e59ebb88865b23ec7bb4494efe16c42c4acdad03f525a380d1dd0c'
const task = { task_id: taskId, task_type: 'inference', input: { prompt: 'Hello, P2P AI!' }, timestamp: '2026-01-17T10:30:00Z', recipient: provider.toString() }
const result = { task_id: taskId, status: 'completed', output: { text: 'Processed: Hello, P2P AI!' }, timestamp: '2026-01-17T10:30:01Z', recipient: requester.toString(), task_sha256: taskSha256, executor: 'mock' }
const taskFrame = 'd4020a24080112201ed1e8fae2c4a144b8be8fd4b47bf3d3b34b871c3cacf6010f0e42d474fce27e12132f7032702d61692d6167656e74732f7461736b1ad4017b227461736b5f6964223a2237663963323465352d326234612d346436662d396133372d306331643265336634613562222c227461736b5f74797065223a22696e666572656e6365222c22696e707574223a7b2270726f6d7074223a2248656c6c6f2c2050325020414921227d2c2274696d657374616d70223a22323032362d30312d31375431303a33303a30305a222c22726563697069656e74223a22313244334b6f6f5744704a3741733742574177524d6675315655325743714e6a76713338374a45594b44426a346b78366e58544e227d2a403fa2153c5c93ab50d6561c945606fb2267f86435958c9e976fdab89c1a32c3383559545b221e9ea444ef1627686a2b070c86a1473b215cd5a9c96a7c74943d09'
const resultFrame = 'c0030a24080112203b6a27bcceb6a42d62a3a8d02a6f0d73653215771de243a63ac048a18b59da2912152f7032702d61692d6167656e74732f726573756c741abe027b227461736b5f6964223a2237663963323465352d326234612d346436662d396133372d306331643265336634613562222c22737461747573223a22636f6d706c65746564222c226f7574707574223a7b2274657874223a2250726f6365737365643a2048656c6c6f2c2050325020414921227d2c2274696d657374616d70223a22323032362d30312d31375431303a33303a30315a222c22726563697069656e74223a22313244334b6f6f57427467336161524d6a78776564683833614769556b7753784477555a6b7a754a63666171556d6f3752337071222c227461736b5f736861323536223a2264663964363134393534653539656262383838363562323365633762623434393465666531366334326334616364616430336635323561333830643164643063222c226578656375746f72223a226d6f636b227d2a40502e526aa968744ee8460390b31be1a8932fbabefe06d834100b44ab1f86d9bc3b044c10a21c471acfc02add361ffb3edfb7e8ec0b439bd9af54640b997c2203'

const hex = bytes => Buffer.from(bytes).toString('hex')

/** Reads like js-libp2p's ByteStream over bytes that are all there. */
function reader (bytes) {
  const list = new Uint8ArrayList(bytes)
  return {
    async read ({ bytes: n }) {
      if (list.byteLength < n) throw Object.assign(new Error('end'), { name: 'UnexpectedEOFError' })
      const out = list.sublist(0, n)
      list.consume(n)
      return out
    }
  }
}
const envelopeOf = frame => readFrame(reader(Buffer.from(frame, 'hex')))

test('the frames of the test vector come out byte for byte', async () => {
  assert.equal(requester.toString(), '12D3KooWBtg3aaRMjxwedh83aGiUkwSxDwUZkzuJcfaqUmo7R3pq')
  assert.equal(provider.toString(), '12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN')
  assert.equal(sha256(encodeJson(task)), taskSha256)
  assert.equal(hex(await sealFrame(requesterKey, TASK, encodeJson(task))), taskFrame)
  assert.equal(hex(await sealFrame(providerKey, RESULT, encodeJson(result))), resultFrame)
})

test('the frames of the test vector open and verify', async () => {
  const opened = await openEnvelope(await envelopeOf(taskFrame), requester, [TASK])
  assert.equal(sha256(opened.payload), taskSha256)
  assert.equal(promptOf(checkTask(opened.payload).input), 'Hello, P2P AI!')
  const { payload } = await openEnvelope(await envelopeOf(resultFrame), provider, [RESULT])
  assert.equal(checkResult(payload, { taskId, taskSha256, me: requester.toString(), texts: null }).output.text, 'Processed: Hello, P2P AI!')
})

test('an envelope of another peer, another type, or with a changed bit is refused', async () => {
  const envelope = await envelopeOf(taskFrame)
  await assert.rejects(openEnvelope(envelope, provider, [TASK]), /signed by/)
  await assert.rejects(openEnvelope(envelope, requester, [RESULT]), /may not come/)
  // js-libp2p's protobuf decoder goes by field numbers and ignores a tag's low three bits, the wire type; everything else is caught
  const tags = [0, 2, 4, 38, 59, 274]
  for (let bit = 0; bit < envelope.byteLength * 8; bit++) {
    if (tags.includes(bit >> 3) && bit % 8 < 3) continue
    const changed = Uint8Array.from(envelope)
    changed[bit >> 3] ^= 1 << (bit % 8)
    await assert.rejects(openEnvelope(changed, requester, [TASK]), `bit ${bit % 8} of byte ${bit >> 3}`)
  }
})

test('a tampered frame differs in one bit of a task that is otherwise valid', async () => {
  const good = Buffer.from(taskFrame, 'hex')
  const bad = await sealTamperedFrame(requesterKey, TASK, encodeJson(task))
  const different = [...good].map((byte, i) => byte ^ bad[i]).filter(Boolean)
  assert.deepEqual(different, [1])
  checkTask(bad.subarray(bad.indexOf('{"task_id"'), bad.lastIndexOf('}') + 1))
  await assert.rejects(openEnvelope(await readFrame(reader(bad)), requester, [TASK]), /signature/)
})

test('frame lengths: minimal, within the limit, complete', async () => {
  assert.equal(await readFrame(reader(new Uint8Array())), null)
  const read = (...bytes) => readFrame(reader(Uint8Array.from(bytes)), 300)
  assert.equal((await read(1, 7)).byteLength, 1)
  await assert.rejects(read(0), /empty/)
  await assert.rejects(read(0x81, 0x00, 7), /minimal/)
  await assert.rejects(read(0xad, 0x02), /301 bytes is above/)
  await assert.rejects(read(0xff, 0xff, 0xff), /above/)
  await assert.rejects(read(2, 7), /end/)
  await assert.rejects(read(0x81), /end/)
})

test('JSON is refused where JSON.parse would be lenient', () => {
  const parse = text => parseJson(Buffer.from(text))
  const nested = depth => '{"a":'.repeat(depth - 1) + '{}' + '}'.repeat(depth - 1)
  parse(nested(32))
  parse('{"a":[{"b":1},{"b":2}],"b":"}{,:\\"","c":{"b":[",",","]}}')
  for (const bad of [nested(33), '['.repeat(100_000), '{"a":1,"a":2}', '{"a":1,"\\u0061":2}', '{"a":"\\ud800"}', '{"\\udc00":1}', '\ufeff{}', '[]', '1', '', '{"a":1}}', '{"a"']) {
    assert.throws(() => parse(bad), bad.slice(0, 20))
  }
  assert.throws(() => parseJson(Buffer.from([0x7b, 0x22, 0xff, 0x22, 0x3a, 0x31, 0x7d])))
})

test('tasks', () => {
  const check = changes => checkTask(encodeJson({ ...task, ...changes }))
  const raw = text => checkTask(Buffer.from(JSON.stringify(task).slice(0, -1) + ',' + text + '}'))
  check({ stream: null, recipient: null, timeout_ms: 86_400_000, linger_ms: 0, unknown: { x: 1.5 } })
  check({ timestamp: '2024-02-29T23:59:60.123456789Z' })
  check({ task_type: 'something-else', input: {} })
  check({ input: { messages: [{ role: 'user', content: 'x' }], temperature: 0.5, max_tokens: 3, stop: ['a'] } })
  for (const bad of [
    { task_id: taskId.toUpperCase() }, { task_id: null }, { task_type: 'Inference' }, { input: 'x' }, { input: {} }, { input: { prompt: 'x', messages: [{ role: 'user' }] } },
    { input: { messages: [] } }, { input: { messages: [{}] } }, { input: { prompt: 1 } }, { timestamp: '2026-02-30T00:00:00Z' }, { timestamp: '2026-01-17T10:30:00+00:00' },
    { timestamp: '2026-01-17 10:30:00Z' }, { timeout_ms: 0 }, { timeout_ms: 86_400_001 }, { linger_ms: 60_001 }, { stream: 1 }, { recipient: 3 }, { input: { prompt: 'x', max_tokens: 1.5 } }
  ]) assert.throws(() => check(bad), InvalidTask, JSON.stringify(bad))
  raw('"timeout_ms":30000')
  for (const bad of ['3e4', '30000.0', '"30000"', '-1']) assert.throws(() => raw(`"timeout_ms":${bad}`), /timeout_ms/)
  assert.throws(() => raw('"timeout_ms":3e4'), { taskId })
  assert.throws(() => checkTask(Buffer.from('{')), { taskId: '00000000-0000-0000-0000-000000000000' })
  assert.equal(promptOf(check({ input: { messages: [{ role: 'system', content: 'a' }, { role: 'user', content: [{ type: 'text', text: 'b' }, { type: 'image_url' }, { type: 'text', text: 'c' }] }] } }).input), 'bc')
})

test('results', () => {
  const check = (changes, texts = null) => checkResult(encodeJson({ ...result, ...changes }), { taskId, taskSha256, me: requester.toString(), texts })
  const nil = '00000000-0000-0000-0000-000000000000'
  const error = { code: 'made_up', message: 'm' }
  const rejected = { status: 'rejected', output: null, executor: null, error }
  check({}, ['Processed: ', 'Hello, P2P AI!'])
  check(rejected)
  check({ ...rejected, task_id: nil })
  check({ status: 'failed', output: null, error })
  check({ status: 'cancelled', error })
  for (const bad of [
    { task_id: nil }, { task_sha256: '0'.repeat(64) }, { task_sha256: taskSha256.toUpperCase() }, { recipient: provider.toString() }, { status: 'done' }, { output: null }, { output: {} },
    { executor: null }, { error }, { status: 'failed' }, { status: 'failed', error: { code: 'x' } }, { ...rejected, output: { text: '' } }, { ...rejected, task_sha256: '0'.repeat(64) }, { timestamp: 'now' }, { run_ms: 1.5 }
  ]) assert.throws(() => check(bad), JSON.stringify(bad))
  assert.throws(() => check({}, ['Processed: ']), /concatenate/)
  assert.throws(() => check({}, []), /concatenate/)
})

test('updates and info', () => {
  const update = changes => checkUpdate(encodeJson({ task_id: taskId, seq: 0, ...changes }), { taskId, seq: 0 })
  update({ state: 'running' })
  update({ state: 'queued', position: 0 })
  update({ state: 'a new one' })
  update({ text: 'é'.repeat(32 * 1024) })
  for (const bad of [{}, { text: 'x', state: 'running' }, { state: 'queued' }, { text: 'x', seq: 1 }, { text: 'é'.repeat(32 * 1024) + 'x' }, { text: 'x', task_id: '' }, { data: {} }]) assert.throws(() => update(bad), JSON.stringify(bad).slice(0, 40))

  const info = { agent: 'a/1', timestamp: task.timestamp, recipient: requester.toString(), executors: [], queue: { running: 0, waiting: 0, slots: 1, capacity: 4 } }
  const check = changes => checkInfo(encodeJson({ ...info, ...changes }), { me: requester.toString() })
  check({ name: 'ein Name', may_ask: true, executors: [{ task_type: 'inference', executor: 'openai', models: ['m'] }] })
  for (const bad of [{ agent: 'a' }, { queue: { running: 0 } }, { recipient: provider.toString() }, { executors: [{}] }, { name: '\n' }, { name: 'x'.repeat(65) }, { executors: null }]) assert.throws(() => check(bad), JSON.stringify(bad))
})

test('pieces: three, cut between code points, more if they would be too long', () => {
  const text = 'Processed: 🦜🦜🦜é'
  assert.equal([...pieces(text)].length, 3)
  assert.ok([...pieces(text)].every(piece => piece.isWellFormed()))
  assert.equal([...pieces(text)].join(''), text)
  assert.deepEqual([...pieces('äbc', 2)], ['ä', 'bc'])
  assert.deepEqual([...pieces('abc', 9)], ['a', 'b', 'c'])
  const long = '🦜'.repeat(200_000)
  assert.equal([...pieces(long)].join(''), long)
  assert.ok([...pieces(long)].every(piece => Buffer.byteLength(piece) <= 64 * 1024))
})
