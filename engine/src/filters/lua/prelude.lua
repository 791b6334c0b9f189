-- Calls the script's function on a record that comes, and goes, as the bytes of LuaJIT's own serializer.
-- Gives: code, bytes of the record (or what failed), seconds and nanoseconds (or seconds with a fraction).
local name, time_as_table, arguments = ...
local buffer = require("string.buffer")
local pcall, tonumber, tostring, type, globals = pcall, tonumber, tostring, type, _G
-- They tell an empty array from an empty map, on the way in and on the way out.
local kinds = {metatable = {{type = 1}, {type = 2}}}
local reader, writer = buffer.new(0, kinds), buffer.new(4096, kinds)
local FAILED, WRONG_TIME = -1000, -1001

local function write(record)
  return writer:reset():encode(record):tostring()
end

local function finish(code, time, record)
  code = tonumber(code) or 0
  code = code - code % 1
  if code ~= 1 and code ~= 2 then return code, nil, 0, 0 end
  local seconds, nanoseconds = 0, 0
  if code == 1 then
    if not time_as_table then
      seconds = tonumber(time) or 0
    elseif type(time) == "table" then
      seconds, nanoseconds = tonumber(time.sec) or 0, tonumber(time.nsec) or 0
    else
      code = WRONG_TIME
    end
  end
  local ok, bytes = pcall(write, record)
  if not ok then return FAILED, tostring(bytes), 0, 0 end
  return code, bytes, seconds, nanoseconds
end

local function three(ok, code, time, record)
  if not ok then return FAILED, tostring(code), 0, 0 end
  return finish(code, time, record)
end

local function five(ok, code, time, _, record)
  if not ok then return FAILED, tostring(code), 0, 0 end
  return finish(code, time, record)
end

if arguments >= 5 then
  return function(tag, time, nanoseconds, bytes)
    if time_as_table then time = {sec = time, nsec = nanoseconds} end
    return five(pcall(globals[name], tag, time, {}, {}, reader:set(bytes):decode()))
  end
end
return function(tag, time, nanoseconds, bytes)
  if time_as_table then time = {sec = time, nsec = nanoseconds} end
  return three(pcall(globals[name], tag, time, reader:set(bytes):decode()))
end
