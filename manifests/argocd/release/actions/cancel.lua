-- Ends the Release; what served before still serves.
obj.spec.cancel = true
return obj
