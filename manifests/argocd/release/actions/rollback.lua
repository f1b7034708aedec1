-- Runs the image and the configuration of this Release again.
local release = {
  apiVersion = "davit.dev/v1alpha1",
  kind = "Release",
  metadata = {
    name = obj.spec.application .. "-rollback-" .. obj.metadata.resourceVersion,
    namespace = obj.metadata.namespace,
  },
  spec = {application = obj.spec.application, type = "Rollback", rollbackTo = obj.metadata.name},
}
return {{operation = "create", resource = release}}
