-- The health of a GitProvider: whether its connection works.
local health = {status = "Progressing", message = "Davit has not looked at this generation yet"}
local status = obj.status
if status == nil or status.conditions == nil then
  return health
end
local ready = {}
local stalled = false
for _, condition in ipairs(status.conditions) do
  if condition.type == "Ready" then
    ready = condition
  elseif condition.type == "Stalled" and condition.status == "True" then
    stalled = true
  end
end
local message = ready.message or ""
if obj.spec ~= nil and obj.spec.suspend then
  return {status = "Suspended", message = message}
end
if stalled then
  return {status = "Degraded", message = message}
end
if ready.status == "True" and status.observedGeneration == obj.metadata.generation then
  return {status = "Healthy", message = message}
end
if message ~= "" then
  health.message = message
end
return health
