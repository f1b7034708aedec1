-- Ends spec.suspend, and the hold of automatic deployments after a rollback.
obj.spec.suspend = nil
local held_by = obj.status ~= nil and obj.status.release ~= nil and obj.status.release.heldBy or nil
if held_by ~= nil then
  if obj.metadata.annotations == nil then
    obj.metadata.annotations = {}
  end
  obj.metadata.annotations["davit.dev/resume"] = held_by
  obj.metadata.annotations["davit.dev/requestedAt"] = "argocd-" .. obj.metadata.resourceVersion
end
return obj
