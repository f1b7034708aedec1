// Deliveries of webhooks that GitHub, GitLab, Bitbucket and Gitea sent, as the tests of go-scm recorded them.
// Part of the tests only: nothing of the module is built or shipped.
module davit.dev/tests/peers/recorded-deliveries

go 1.26.0

require github.com/drone/go-scm v1.38.0
