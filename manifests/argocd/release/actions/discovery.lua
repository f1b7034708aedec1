-- What can be done with a Release now.
local phase = obj.status ~= nil and obj.status.phase or "Pending"
local ended = phase == "Succeeded" or phase == "Failed" or phase == "Cancelled" or phase == "Superseded"
return {
  ["cancel"] = {disabled = ended},
  ["rollback"] = {disabled = phase ~= "Succeeded"},
}
