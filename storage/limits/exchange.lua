--[[ One exchange between an owner (a worker process) and the limits of one model. storage/limits/limiter.py describes
an exchange, and its constants are put before this text. tests/support/memory_limiter.py is the same in Python.

EVALSHA ... 2 STATE OWNERS CALL

STATE   hash, plain numbers; 0 and absent are the same. Times are seconds since the epoch, rates a minute.
  requests_due, tokens_due   when the next call would be due if calls were evenly spaced (GCRA)
  tokens_last                start of the last call that was charged tokens
  blocked_until              end of the last Retry-After
  told_rpm, told_tpm         limits in the last headers
  rate, grown                requests a minute to which 429s have cut (0: not cut), and when it last grew
  seen                       highest rate of calls that the server accepted lately
  share                      smoothed share of 429s
  since, starts, ends, limited   this window: its start, calls granted, answers, 429s without Retry-After
  failures                   failures in a row
  backoff                    seconds between failed probe and next; 0: the circuit is closed
  requests_used, tokens_used calls started lately and their tokens, fading over USE_SECONDS; used_at: since when
  calls, refused             all granted calls; all 429s: for displays
  probe_at, probe_until      when the next probe may go; until when the report of the one that is out is awaited
OWNERS  hash, owner -> "IN_FLIGHT HEARD": calls in flight, time of the last exchange. None in flight: no field.
CALL    JSON object; 0 means "not set" everywhere
  now                        seconds since the epoch; 0: the server's clock
  rpm, tpm, max_concurrency  the limits of the experiment
  owner, in_flight
  reports                    [[outcome, tokens, retry_after, rpm, tpm, probe (0 or 1)], ...]
  wants                      [tokens, ...]

Returns a JSON array: 1 if the call granted is a probe; 1 if the first refusal was for too many calls in
flight; seconds to wait after a refusal; then the seconds to wait for each call granted, in order. ]]

local call = cjson.decode(ARGV[1])
local now = call.now
if now == 0 then
  local time = redis.call('TIME')
  now = time[1] + time[2] / 1000000
end

local stored = redis.call('HGETALL', KEYS[1])
local before = {}
for i = 1, #stored, 2 do
  before[stored[i]] = tonumber(stored[i + 1])
end
local state = setmetatable({}, { __index = function(_, field) return before[field] or 0 end })

local function close_circuit()
  state.failures, state.backoff, state.probe_until = 0, 0, 0
end

local function open_circuit(backoff)
  state.backoff, state.probe_at, state.probe_until = backoff, now + backoff, 0
end

local function note(outcome, retry_after, probe)
  if outcome == 'ok' then
    state.ends = state.ends + 1
    close_circuit()
  elseif outcome == 'limited' then
    state.refused = state.refused + 1
    if retry_after > 0 then
      state.blocked_until = math.max(state.blocked_until, now + retry_after)
    else
      state.ends, state.limited = state.ends + 1, state.limited + 1
    end
    close_circuit()
  elseif outcome == 'unsent' then
    if probe then state.probe_until = 0 end
  elseif state.backoff > 0 then
    -- Calls from before the circuit opened say nothing new.
    if probe then open_circuit(math.min(2 * state.backoff, LAST_PROBE)) end
  else
    state.failures = state.failures + 1
    if state.failures >= FAILURES then open_circuit(FIRST_PROBE) end
  end
end

local correction = 0
for _, report in ipairs(call.reports) do
  local outcome, tokens, retry_after, rpm, tpm, probe = unpack(report)
  correction = correction + tokens
  if rpm > 0 then state.told_rpm = rpm end
  if tpm > 0 then state.told_tpm = tpm end
  note(outcome, retry_after, probe == 1)
end

local faded = math.exp(-math.max(0, now - state.used_at) / USE_SECONDS)
state.requests_used = state.requests_used * faded
state.tokens_used = math.max(0, state.tokens_used * faded + correction)
state.used_at = now

local function lower_limit(own, server)
  if own > 0 and server > 0 then return math.min(own, server) end
  return math.max(own, server)
end
local rpm = lower_limit(call.rpm, state.told_rpm)
local tpm = lower_limit(call.tpm, state.told_tpm)

-- The rate that 429s have cut grows with time and is cut again once a window.
if state.rate > 0 then
  local growth = rpm > 0 and GROWTH_TO_LIMIT * rpm or GROWTH * state.seen
  state.rate = state.rate + growth * math.max(0, now - state.grown)
end
state.grown = now
local elapsed = now - state.since
if elapsed >= WINDOW then
  if state.since > 0 then
    local accepted = 60 * (state.starts - state.limited) / elapsed
    state.seen = math.max(accepted, state.seen * MEMORY ^ elapsed)
  end
  if state.ends > 0 then
    local weight = math.min(1, state.ends / SAMPLE)
    state.share = state.share + weight * (state.limited / state.ends - state.share)
  end
  if state.limited > 0 then
    local top = state.rate > 0 and state.rate or rpm
    if top > 0 then
      state.rate = math.max(FLOOR, top * (1 - state.share / 2))
    elseif state.seen > 0 then
      -- The first 429s of an unknown limit: the rate that the server accepted is the best guess.
      state.rate, state.share = math.max(FLOOR, state.seen), 0
    end
  end
  state.since, state.starts, state.ends, state.limited = now, 0, 0, 0
end
if rpm > 0 and state.rate >= rpm then state.rate = 0 end
local pace = state.rate > 0 and state.rate or rpm

if tpm > 0 and correction ~= 0 then
  local moved = math.max(state.tokens_due, now) + 60 * correction / (tpm * HEADROOM)
  state.tokens_due = math.max(now, moved)
end

local others = 0
if call.max_concurrency > 0 and #call.wants > 0 then
  local owners = redis.call('HGETALL', KEYS[2])
  for i = 1, #owners, 2 do
    local in_flight, heard = string.match(owners[i + 1], '^(%S+) (%S+)$')
    if now - heard > OWNER_TTL then
      redis.call('HDEL', KEYS[2], owners[i])
    elseif owners[i] ~= call.owner then
      others = others + in_flight
    end
  end
end

-- Seconds that `tokens` take, and the minimum time since the previous start. No 60 s hold more than the limit:
-- their calls without the smallest one take up at most 60 s, and use the share that the smallest one leaves.
local function cost(tokens)
  local part = tokens / tpm
  local paced = 60 * part / HEADROOM
  if part <= 1 - HEADROOM - SLACK then return paced, 0 end
  local gap = 60 / HEADROOM
  if part < 0.5 then gap = math.min(gap, 60 * part / (1 - SLACK - part)) end
  return math.max(paced, gap), gap
end

-- When the call starts; or nil, the seconds after which to ask again, and whether too many calls are in flight.
local function charge(tokens, in_flight)
  if state.blocked_until > now then return nil, state.blocked_until - now, false end
  if state.backoff > 0 then
    if state.probe_at > now then return nil, state.probe_at - now, false end
    if state.probe_until > now then return nil, math.min(PROBE_WAIT, state.probe_until - now), false end
  end
  if call.max_concurrency > 0 and in_flight >= call.max_concurrency then return nil, FULL_WAIT, true end
  local start, seconds, gap = now, 0, 0
  if pace > 0 then start = math.max(start, state.requests_due) end
  if tpm > 0 then
    seconds, gap = cost(tokens)
    start = math.max(start, state.tokens_due, gap > 0 and state.tokens_last + gap or 0)
  end
  if start - now > HORIZON then return nil, start - now - HORIZON / 2, false end
  if pace > 0 then
    state.requests_due = math.max(state.requests_due, start - BURST) + 60 / (pace * HEADROOM)
  end
  if tpm > 0 then
    state.tokens_due = math.max(state.tokens_due, start - BURST) + seconds
    state.tokens_last = start
  end
  state.starts, state.calls = state.starts + 1, state.calls + 1
  state.requests_used, state.tokens_used = state.requests_used + 1, state.tokens_used + tokens
  return start
end

local reply = { 0, 0, 0 }
local in_flight = call.in_flight
for _, tokens in ipairs(call.wants) do
  local start, wait, full = charge(tokens, others + in_flight)
  if not start then
    reply[2], reply[3] = full and 1 or 0, wait
    break
  end
  in_flight = in_flight + 1
  reply[#reply + 1] = start - now
  if state.backoff > 0 then reply[1], state.probe_until = 1, now + PROBE_TTL end
end

local changes = {}
for field, value in pairs(state) do
  if value ~= (before[field] or 0) then
    changes[#changes + 1] = field
    changes[#changes + 1] = string.format('%.17g', value)
  end
end
if #changes > 0 then redis.call('HSET', KEYS[1], unpack(changes)) end
if in_flight > 0 then
  redis.call('HSET', KEYS[2], call.owner, string.format('%d %.17g', in_flight, now))
else
  redis.call('HDEL', KEYS[2], call.owner)
end
-- A state that blocks for longer is kept for longer, a month at most.
local ahead = math.max(state.blocked_until, state.requests_due, state.tokens_due) - now
local ttl = math.ceil(math.min(math.max(STATE_TTL, ahead + 60), 2592000))
redis.call('EXPIRE', KEYS[1], ttl)
redis.call('EXPIRE', KEYS[2], ttl)
return cjson.encode(reply)
