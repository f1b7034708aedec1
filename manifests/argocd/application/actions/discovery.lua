-- What can be done with an Application now.
local suspended = obj.spec ~= nil and obj.spec.suspend == true
local held = obj.status ~= nil and obj.status.release ~= nil and obj.status.release.heldBy ~= nil
return {
  ["redeploy"] = {disabled = suspended},
  ["restart"] = {disabled = suspended},
  ["suspend"] = {disabled = suspended},
  ["resume"] = {disabled = not (suspended or held)},
}
