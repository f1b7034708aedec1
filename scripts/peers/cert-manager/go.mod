// The CRDs of cert-manager. Part of the tests only: nothing of the module is built or shipped.
module davit.dev/tests/peers/cert-manager

go 1.26.0

require github.com/cert-manager/cert-manager v1.19.1
