import assert from 'node:assert/strict'
import { test } from 'node:test'
import { faults } from './faults.js'
import { InvalidTask, checkTask } from './protocol.js'
import { Memory, planFor } from './provider.js'

test('prompts that are not of a known form are only text', () => {
  assert.deepEqual(planFor('slow:20:50'), { pieces: 20, pauseMs: 50 })
  assert.equal(planFor('busy:2:7').retryAfterMs, 7)
  assert.equal(planFor('break:4').breakAfter, 4)
  assert.equal(planFor('code:too_large').code, 'too_large')
  for (const text of ['', 'Hello', 'slow', 'slow:0:1', 'slow:1', 'slow:1:2:3', 'busy:x:1', 'break:0', 'code:', 'code:Ä']) {
    assert.deepEqual(planFor(text), { pieces: 3 }, text)
  }
})

test('the memory is bounded in results and in bytes', () => {
  const memory = new Memory()
  const remember = (key, size) => {
    const course = { key, size }
    memory.begin(course)
    memory.end(course, true)
  }
  for (let i = 0; i <= 1024; i++) remember(`small ${i}`, 2)
  assert.equal(memory.size, 1024)
  assert.equal(memory.find('small 0'), undefined)
  for (let i = 0; i < 17; i++) remember(`large ${i}`, 1024 * 1024)
  assert.equal(memory.size, 16)
  assert.equal(memory.bytes, 16 * 1024 * 1024)
  assert.ok(memory.find('large 16'))
})

test('what is cancelled is not remembered', () => {
  const memory = new Memory()
  const course = { key: 'a', size: 1 }
  memory.begin(course)
  assert.equal(memory.find('a'), course)
  memory.end(course, false)
  assert.equal(memory.find('a'), undefined)
})

test('every fault that is called an invalid task is one, and no other', () => {
  const task = { task_id: '7f9c24e5-2b4a-4d6f-9a37-0c1d2e3f4a5b', task_type: 'inference', input: { prompt: 'x' }, timestamp: '2026-01-17T10:30:00Z', timeout_ms: 1 }
  for (const { code, payload, ids } of faults(task)) {
    if (code !== 'invalid_task') checkTask(payload.bytes)
    else assert.throws(() => checkTask(payload.bytes), err => err instanceof InvalidTask && ids.includes(err.taskId), Buffer.from(payload.bytes).toString())
  }
})
