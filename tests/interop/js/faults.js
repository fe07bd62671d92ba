// Tasks that a provider has to reject, each with the code that it deserves and the ids that the rejection may carry.

import { NIL_UUID } from './protocol.js'

const SOMEBODY = '12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN'

export function * faults (task) {
  const good = JSON.stringify(task)
  const id = task.task_id
  const fault = (code, text, ids = [id]) => ({ code, payload: { task, bytes: new TextEncoder().encode(text) }, ids })
  const change = changes => JSON.stringify({ ...task, ...changes })

  yield fault('invalid_task', `[${good}]`, [NIL_UUID])
  yield fault('invalid_task', change({ task_id: id.toUpperCase() }), [NIL_UUID])
  yield fault('invalid_task', change({ stream: 1 }))
  yield fault('invalid_task', good.replace(/"timeout_ms":\d+/, '"timeout_ms":30000.0'))
  yield fault('invalid_task', change({ input: { messages: [] } }))
  yield fault('invalid_task', change({ timestamp: '2026-02-30T10:30:00Z' }))
  // whether this one has an id that can be read is a matter of taste
  yield fault('invalid_task', `${good.slice(0, -1)},"task_typ\\u0065":"inference"}`, [id, NIL_UUID])
  yield fault('wrong_recipient', change({ recipient: SOMEBODY }))
  yield fault('unsupported_task_type', change({ task_type: 'translation', input: {} }))
  yield fault('unsupported_model', change({ input: { prompt: 'a', model: 'no-such-model' } }))
}
