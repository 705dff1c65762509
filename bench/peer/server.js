// What a user would build instead: Express, fast-xml-parser and ioredis. Records are told apart by session and
// correlatorIndex, and state is updated, in one Lua call a document, which is answered once the store has it.
// It keeps calls, legs, counts and a stream of events, and knows nothing of licenses, of order or of several bridges.
import express from 'express'
import { XMLParser } from 'fast-xml-parser'
import Redis from 'ioredis'

const redis = new Redis(process.env.PEER_REDIS)
const parser = new XMLParser({
  ignoreAttributes: false, attributeNamePrefix: '@', parseTagValue: false, isArray: (name) => name === 'record',
})

redis.defineCommand('take', {
  numberOfKeys: 1,
  lua: `
    local session, taken = KEYS[1], 0
    for at = 1, #ARGV, 5 do
      local index, kind, call, leg, record = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3], ARGV[at + 4]
      if redis.call('SADD', 'seen:' .. session, index) == 1 then
        taken = taken + 1
        if kind == 'callStart' then
          redis.call('HSET', 'call:' .. call, 'start', record)
          redis.call('SADD', 'live', call)
        elseif kind == 'callEnd' then
          redis.call('HSET', 'call:' .. call, 'end', record)
          redis.call('SREM', 'live', call)
        elseif kind == 'callLegEnd' then
          local on = redis.call('HGET', 'leg:' .. leg, 'call')
          redis.call('HSET', 'leg:' .. leg, 'end', record)
          if on then redis.call('HINCRBY', 'call:' .. on, 'participants', -1) end
        elseif leg ~= '' then
          if call ~= '' and redis.call('HSET', 'leg:' .. leg, 'call', call) == 1 then
            redis.call('HINCRBY', 'call:' .. call, 'participants', 1)
          end
          redis.call('HSET', 'leg:' .. leg, kind, record)
        end
        redis.call('XADD', 'events', 'MAXLEN', '~', '1000000', '*', 'kind', kind, 'call', call, 'leg', leg)
      end
    end
    return taken`,
})

const app = express()
app.disable('x-powered-by')
app.post('/cdr', express.text({ type: () => true, limit: '8mb' }), async (request, response) => {
  const { records } = parser.parse(request.body)
  const taken = []
  for (const record of records.record ?? []) {
    const { call, callLeg } = record
    taken.push(record['@correlatorIndex'], record['@type'], call?.['@id'] ?? callLeg?.call ?? '',
      callLeg?.['@id'] ?? '', JSON.stringify(record))
  }
  await redis.take(records['@session'], ...taken)
  response.status(200).end()
})

const server = app.listen(0, '127.0.0.1', () => console.log(server.address().port))
