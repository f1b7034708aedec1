-- Replaces the containers by new ones of the same Release.
if obj.metadata.annotations == nil then
  obj.metadata.annotations = {}
end
obj.metadata.annotations["davit.dev/restartedAt"] = "argocd-" .. obj.metadata.resourceVersion
return obj
