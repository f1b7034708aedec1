-- Builds and deploys the same commit again: a Release of type Redeploy. Its name is new with each state of the Application.
local release = {
  apiVersion = "davit.dev/v1alpha1",
  kind = "Release",
  metadata = {
    name = obj.metadata.name .. "-redeploy-" .. obj.metadata.resourceVersion,
    namespace = obj.metadata.namespace,
  },
  spec = {application = obj.metadata.name, type = "Redeploy"},
}
return {{operation = "create", resource = release}}
