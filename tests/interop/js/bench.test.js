import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { byteStream } from '@libp2p/utils'
import { Bench, benchOptions, summary } from './bench.js'
import { createNode, streamLimits } from './node.js'
import { PERF_PROTOCOL, servePerf } from './perf.js'
import { TASK_PROTOCOL } from './protocol.js'
import { taskServer } from './provider.js'

const NONE = { pings: 0, tasks: 0, total: 0, concurrency: 0, connections: 0, parallel: 0, bulk: 0, hold: 0 }
let served
let provided = 0

before(async () => {
  served = await createNode({ listen: ['/ip4/127.0.0.1/tcp/0'], muxers: ['yamux', 'mplex'], measured: true })
  const { node } = served
  await node.handle(TASK_PROTOCOL, taskServer({ ...served, tell: () => provided++, log: () => {} }), streamLimits(true))
  await node.handle(PERF_PROTOCOL, servePerf, streamLimits(true))
  await node.start()
})
after(() => served.node.stop())

const bench = muxer => new Bench(served.node.getMultiaddrs()[0], [muxer])

test('percentiles are by nearest rank', () => {
  assert.deepEqual(summary(Array.from({ length: 200 }, (_, i) => 200 - i)), { n: 200, min: 1, p50: 100, p99: 198, max: 200 })
  assert.deepEqual(summary([3, 1, 2]), { n: 3, min: 1, p50: 2, p99: 3, max: 3 })
  assert.deepEqual(summary([10, 9]), { n: 2, min: 9, p50: 9, p99: 10, max: 10 })
})

for (const muxer of ['yamux', 'mplex']) {
  test(`a bench over ${muxer} counts what it measures`, async () => {
    provided = 0
    const lines = []
    const options = { ...NONE, pings: 5, tasks: 203, total: 150, concurrency: 70, connections: 6, parallel: 3, bulk: 3 }
    await bench(muxer).run(options, line => lines.push(line))
    assert.equal(provided, 203 + 150)
    assert.equal(lines.length, 6)
    const { event, muxer: agreed, ...all } = lines.at(-1)
    assert.deepEqual([event, agreed], ['bench', muxer])
    assert.deepEqual(Object.keys(all), ['ping_ms', 'task_seq_ms', 'task_conc', 'connect_ms', 'conn', 'first_byte_ms', 'bulk_up', 'bulk_down'])
    assert.deepEqual([all.ping_ms.n, all.task_seq_ms.n, all.task_conc.latency_ms.n, all.connect_ms.n, all.first_byte_ms.n], [5, 3, 80, 6, 6])
    for (const { min, p50, p99, max } of [all.ping_ms, all.task_seq_ms, all.task_conc.latency_ms, all.connect_ms, all.first_byte_ms]) {
      assert.ok(min > 0 && min <= p50 && p50 <= p99 && p99 <= max)
    }
    assert.deepEqual([all.task_conc.in_flight, all.task_conc.total], [70, 150])
    for (const { bytes, ms, MBps } of [all.bulk_up, all.bulk_down]) assert.ok(bytes === 3 * 1024 * 1024 && ms > 0 && MBps > 0)
  })
}

test('a perf that brings another number of bytes is an error', async () => {
  await served.node.unhandle(PERF_PROTOCOL)
  await served.node.handle(PERF_PROTOCOL, async stream => {
    const bytes = byteStream(stream)
    while (await bytes.read() != null);
    stream.send(Buffer.alloc(7))
    await stream.close()
  })
  await assert.rejects(bench('yamux').run({ ...NONE, bulk: 1 }), { message: 'bulk: 7 bytes came back of 0' })
})

test('numbers that do not fit are refused', () => {
  for (const values of [{}, { pings: '-1' }, { pings: 'x' }, { tasks: '200' }, { total: '20', concurrency: '10' }, { total: '20' }, { concurrency: '1' },
    { connections: '1' }, { parallel: '1' }]) {
    assert.throws(() => benchOptions(values), JSON.stringify(values))
  }
  const values = { tasks: '201', total: '21', concurrency: '10', connections: '1', parallel: '1' }
  assert.deepEqual(benchOptions(values), { ...NONE, tasks: 201, total: 21, concurrency: 10, connections: 1, parallel: 1 })
})
