-- The health of a Release. One that was cancelled or superseded is nothing that has to be repaired.
local status = obj.status
local message = ""
local ended = {Succeeded = "Healthy", Cancelled = "Healthy", Superseded = "Healthy", Failed = "Degraded"}
if status == nil then
  return {status = "Progressing", message = "Davit has not looked at this Release yet"}
end
if status.conditions ~= nil then
  for _, condition in ipairs(status.conditions) do
    if condition.type == "Succeeded" then
      message = condition.message or ""
    end
  end
end
if status.phase == "Failed" and status.failure ~= nil then
  message = status.failure.message or message
end
return {status = ended[status.phase] or "Progressing", message = message}
