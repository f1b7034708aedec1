-- Davit leaves the Application as it is until it is resumed.
obj.spec.suspend = true
return obj
