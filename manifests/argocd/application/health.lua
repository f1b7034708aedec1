-- The health of an Application, from what Davit observed.
local health = {status = "Progressing", message = "Davit has not looked at this generation yet"}
local status = obj.status
if status == nil or status.conditions == nil then
  return health
end
local message = ""
local stalled = false
for _, condition in ipairs(status.conditions) do
  if condition.type == "Ready" then
    message = condition.message or ""
  elseif condition.type == "Stalled" and condition.status == "True" then
    stalled = true
  end
end
if obj.spec ~= nil and obj.spec.suspend then
  return {status = "Suspended", message = message}
end
-- observedGeneration is the newest generation that became ready or stalled.
local is_current = status.observedGeneration == obj.metadata.generation
if status.phase == "error" and (is_current or stalled) then
  return {status = "Degraded", message = message}
end
if not is_current or status.phase == "running" or status.phase == "error" then
  if message ~= "" then
    health.message = message
  end
  return health
end
if obj.spec ~= nil and obj.spec.stopped then
  return {status = "Suspended", message = message}
end
return {status = "Healthy", message = message}
