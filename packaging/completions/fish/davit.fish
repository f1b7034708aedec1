# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_davit_global_optspecs
    string join \n h/help V/version
end

function __fish_davit_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_davit_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_davit_using_subcommand
    set -l cmd (__fish_davit_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c davit -n "__fish_davit_needs_command" -s h -l help -d 'Print help'
complete -c davit -n "__fish_davit_needs_command" -s V -l version -d 'Print version'
complete -c davit -n "__fish_davit_needs_command" -f -a "up" -d 'Run everything on this machine: API server, controller, and the local Docker Engine'
complete -c davit -n "__fish_davit_needs_command" -f -a "controller" -d 'Run the controller against a cluster: KUBECONFIG, or the cluster it runs in'
complete -c davit -n "__fish_davit_needs_command" -f -a "crds" -d 'Print the CustomResourceDefinitions as YAML'
complete -c davit -n "__fish_davit_needs_command" -f -a "backup" -d 'Write everything that a running `davit up` stores to a file'
complete -c davit -n "__fish_davit_needs_command" -f -a "restore" -d 'Make the data directory of a new `davit up` from a backup'
complete -c davit -n "__fish_davit_needs_command" -f -a "status" -d 'Show what runs, since when, why, and what to do next'
complete -c davit -n "__fish_davit_needs_command" -f -a "history" -d 'List the Releases of an Application, the oldest first'
complete -c davit -n "__fish_davit_needs_command" -f -a "deploy" -d 'Deploy what the spec asks for now, or another commit'
complete -c davit -n "__fish_davit_needs_command" -f -a "redeploy" -d 'Build the newest commit that was deployed again, and deploy it'
complete -c davit -n "__fish_davit_needs_command" -f -a "rollback" -d 'Run the image and the configuration of an earlier Release again, and hold automatic deployments'
complete -c davit -n "__fish_davit_needs_command" -f -a "cancel" -d 'Cancel the Releases that are under way, or one of them'
complete -c davit -n "__fish_davit_needs_command" -f -a "stop" -d 'Stop the containers; everything else stays'
complete -c davit -n "__fish_davit_needs_command" -f -a "start" -d 'Start the containers again, as many as before'
complete -c davit -n "__fish_davit_needs_command" -f -a "restart" -d 'Replace the containers by new ones of the same Release, without a gap'
complete -c davit -n "__fish_davit_needs_command" -f -a "suspend" -d 'Leave everything as it is: nothing is deployed, repaired or removed until `davit resume`'
complete -c davit -n "__fish_davit_needs_command" -f -a "resume" -d 'End a suspension, and the hold of a rollback: what was held is deployed'
complete -c davit -n "__fish_davit_needs_command" -f -a "clear" -d 'Remove Releases that ended, with their logs and images; what runs, and what a rollback refers to, stays'
complete -c davit -n "__fish_davit_needs_command" -f -a "init" -d 'Inspect a directory and write the Application for it'
complete -c davit -n "__fish_davit_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c davit -n "__fish_davit_using_subcommand up" -l listen -d 'Where the API server listens; port 0 takes a free one, which is then in the kubeconfig' -r
complete -c davit -n "__fish_davit_using_subcommand up" -l data-dir -d 'Where everything is kept. Default: /var/lib/davit for root, else $XDG_DATA_HOME/davit or ~/.local/share/davit' -r -F
complete -c davit -n "__fish_davit_using_subcommand up" -l instance -d 'The name that distinguishes containers, networks, volumes and images of this Davit from those of another one on the same engine. Default: davit with the default data directory of root, davit-UID with that of another user, else a random name; the data directory keeps it' -r
complete -c davit -n "__fish_davit_using_subcommand up" -l docker-host -d 'The Docker Engine: unix:///path, or tcp://host:port with port 2375 if none is given. Default: unix:///var/run/docker.sock. It may start later than Davit' -r
complete -c davit -n "__fish_davit_using_subcommand up" -l runtime -d 'Where containers run: on the Docker Engine, or on the Docker Swarm of which that engine is a manager' -r -f -a "docker\t'The Docker Engine'
swarm\t'A Docker Swarm'"
complete -c davit -n "__fish_davit_using_subcommand up" -l health-listen -d 'Where /livez, /readyz and /metrics are served, over plain HTTP; nothing is opened by default' -r
complete -c davit -n "__fish_davit_using_subcommand up" -l webhook-listen -d 'Where deliveries of webhooks are received, over plain HTTP; nothing is opened by default. A reverse proxy adds HTTPS' -r
complete -c davit -n "__fish_davit_using_subcommand up" -l public-url -d 'The URL under which forges reach --webhook-listen, such as https://davit.example.com. It is shown in status.webhookUrl, and registered at forges if a GitProvider\'s webhook.manage is true' -r
complete -c davit -n "__fish_davit_using_subcommand up" -l max-builds -d 'How many builds may run at once; the other Releases show their position in status.queue' -r
complete -c davit -n "__fish_davit_using_subcommand up" -l git-cache -d 'The most that the cache of Git repositories may hold, in MiB' -r
complete -c davit -n "__fish_davit_using_subcommand up" -l log -d 'What to log on standard error: error, warn, info, debug, trace, or a filter such as davit::plan=debug. A level applies to Davit; libraries log errors only, unless the filter names them, such as info,bollard=debug. Values of Secrets are masked at every level' -r
complete -c davit -n "__fish_davit_using_subcommand up" -l log-format -d 'How to log: text or json' -r -f -a "text\t''
json\t''"
complete -c davit -n "__fish_davit_using_subcommand up" -l allow-local-sources -d 'For development: let git sources use file:// URLs, and git sources and GitProviders http:// to this machine'
complete -c davit -n "__fish_davit_using_subcommand up" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c davit -n "__fish_davit_using_subcommand up" -s V -l version -d 'Print version'
complete -c davit -n "__fish_davit_using_subcommand controller" -l data-dir -d 'Where everything is kept. Default: /var/lib/davit for root, else $XDG_DATA_HOME/davit or ~/.local/share/davit' -r -F
complete -c davit -n "__fish_davit_using_subcommand controller" -l instance -d 'The name that distinguishes containers, networks, volumes and images of this Davit from those of another one on the same engine. Default: davit with the default data directory of root, davit-UID with that of another user, else a random name; the data directory keeps it' -r
complete -c davit -n "__fish_davit_using_subcommand controller" -l docker-host -d 'The Docker Engine: unix:///path, or tcp://host:port with port 2375 if none is given. Default: unix:///var/run/docker.sock. It may start later than Davit' -r
complete -c davit -n "__fish_davit_using_subcommand controller" -l runtime -d 'Where containers run: on the Docker Engine, or on the Docker Swarm of which that engine is a manager' -r -f -a "docker\t'The Docker Engine'
swarm\t'A Docker Swarm'"
complete -c davit -n "__fish_davit_using_subcommand controller" -l health-listen -d 'Where /livez, /readyz and /metrics are served, over plain HTTP; nothing is opened by default' -r
complete -c davit -n "__fish_davit_using_subcommand controller" -l webhook-listen -d 'Where deliveries of webhooks are received, over plain HTTP; nothing is opened by default. A reverse proxy adds HTTPS' -r
complete -c davit -n "__fish_davit_using_subcommand controller" -l public-url -d 'The URL under which forges reach --webhook-listen, such as https://davit.example.com. It is shown in status.webhookUrl, and registered at forges if a GitProvider\'s webhook.manage is true' -r
complete -c davit -n "__fish_davit_using_subcommand controller" -l max-builds -d 'How many builds may run at once; the other Releases show their position in status.queue' -r
complete -c davit -n "__fish_davit_using_subcommand controller" -l git-cache -d 'The most that the cache of Git repositories may hold, in MiB' -r
complete -c davit -n "__fish_davit_using_subcommand controller" -l log -d 'What to log on standard error: error, warn, info, debug, trace, or a filter such as davit::plan=debug. A level applies to Davit; libraries log errors only, unless the filter names them, such as info,bollard=debug. Values of Secrets are masked at every level' -r
complete -c davit -n "__fish_davit_using_subcommand controller" -l log-format -d 'How to log: text or json' -r -f -a "text\t''
json\t''"
complete -c davit -n "__fish_davit_using_subcommand controller" -l allow-local-sources -d 'For development: let git sources use file:// URLs, and git sources and GitProviders http:// to this machine'
complete -c davit -n "__fish_davit_using_subcommand controller" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c davit -n "__fish_davit_using_subcommand controller" -s V -l version -d 'Print version'
complete -c davit -n "__fish_davit_using_subcommand crds" -s h -l help -d 'Print help'
complete -c davit -n "__fish_davit_using_subcommand crds" -s V -l version -d 'Print version'
complete -c davit -n "__fish_davit_using_subcommand backup" -l data-dir -d 'The data directory whose kubeconfig reaches the running server; the default is that of `davit up`' -r -F
complete -c davit -n "__fish_davit_using_subcommand backup" -l kubeconfig -d 'Another kubeconfig, for a server on another machine or a user whose only permission is `get` on `/backup`' -r -F
complete -c davit -n "__fish_davit_using_subcommand backup" -s h -l help -d 'Print help'
complete -c davit -n "__fish_davit_using_subcommand backup" -s V -l version -d 'Print version'
complete -c davit -n "__fish_davit_using_subcommand restore" -l data-dir -d 'The data directory to make; it must not have a store yet' -r -F
complete -c davit -n "__fish_davit_using_subcommand restore" -l key -d 'The encryption.key with which the backup was made; it is copied into the data directory. Needed unless it is there already' -r -F
complete -c davit -n "__fish_davit_using_subcommand restore" -s h -l help -d 'Print help'
complete -c davit -n "__fish_davit_using_subcommand restore" -s V -l version -d 'Print version'
complete -c davit -n "__fish_davit_using_subcommand status" -s o -l output -d 'The form of the output' -r -f -a "wide\t'A table with more columns'
name\t'Kind and name only, for scripts'
json\t'The object as JSON'
yaml\t'The object as YAML'"
complete -c davit -n "__fish_davit_using_subcommand status" -s n -l namespace -d 'The namespace. Default: the one of the context' -r
complete -c davit -n "__fish_davit_using_subcommand status" -l context -d 'The context of the kubeconfig. Default: the current one' -r
complete -c davit -n "__fish_davit_using_subcommand status" -l kubeconfig -d 'The kubeconfig. Default: the files in KUBECONFIG, else ~/.kube/config, else that of `davit up` on this machine' -r -F
complete -c davit -n "__fish_davit_using_subcommand status" -l as -d 'The user to impersonate' -r
complete -c davit -n "__fish_davit_using_subcommand status" -l color -d 'When to use colours' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set or TERM is dumb'
always\t'Also in a pipe'
never\t'Without colours'"
complete -c davit -n "__fish_davit_using_subcommand status" -s A -l all-namespaces -d 'The Applications of all namespaces'
complete -c davit -n "__fish_davit_using_subcommand status" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c davit -n "__fish_davit_using_subcommand status" -s V -l version -d 'Print version'
complete -c davit -n "__fish_davit_using_subcommand history" -s o -l output -d 'The form of the output' -r -f -a "wide\t'A table with more columns'
name\t'Kind and name only, for scripts'
json\t'The object as JSON'
yaml\t'The object as YAML'"
complete -c davit -n "__fish_davit_using_subcommand history" -s n -l namespace -d 'The namespace. Default: the one of the context' -r
complete -c davit -n "__fish_davit_using_subcommand history" -l context -d 'The context of the kubeconfig. Default: the current one' -r
complete -c davit -n "__fish_davit_using_subcommand history" -l kubeconfig -d 'The kubeconfig. Default: the files in KUBECONFIG, else ~/.kube/config, else that of `davit up` on this machine' -r -F
complete -c davit -n "__fish_davit_using_subcommand history" -l as -d 'The user to impersonate' -r
complete -c davit -n "__fish_davit_using_subcommand history" -l color -d 'When to use colours' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set or TERM is dumb'
always\t'Also in a pipe'
never\t'Without colours'"
complete -c davit -n "__fish_davit_using_subcommand history" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c davit -n "__fish_davit_using_subcommand history" -s V -l version -d 'Print version'
complete -c davit -n "__fish_davit_using_subcommand deploy" -l revision -d 'A full commit hash or image digest in place of what the ref names now' -r
complete -c davit -n "__fish_davit_using_subcommand deploy" -l title -d 'The title of the Release. Default: Manual deployment, Rebuild deployment or Rollback to RELEASE' -r
complete -c davit -n "__fish_davit_using_subcommand deploy" -l description -d 'More about the Release' -r
complete -c davit -n "__fish_davit_using_subcommand deploy" -l timeout -d 'With --wait: the longest to wait, such as 90s or 5m. Default: without a limit' -r
complete -c davit -n "__fish_davit_using_subcommand deploy" -s o -l output -d 'The form of the output' -r -f -a "wide\t'A table with more columns'
name\t'Kind and name only, for scripts'
json\t'The object as JSON'
yaml\t'The object as YAML'"
complete -c davit -n "__fish_davit_using_subcommand deploy" -s n -l namespace -d 'The namespace. Default: the one of the context' -r
complete -c davit -n "__fish_davit_using_subcommand deploy" -l context -d 'The context of the kubeconfig. Default: the current one' -r
complete -c davit -n "__fish_davit_using_subcommand deploy" -l kubeconfig -d 'The kubeconfig. Default: the files in KUBECONFIG, else ~/.kube/config, else that of `davit up` on this machine' -r -F
complete -c davit -n "__fish_davit_using_subcommand deploy" -l as -d 'The user to impersonate' -r
complete -c davit -n "__fish_davit_using_subcommand deploy" -l color -d 'When to use colours' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set or TERM is dumb'
always\t'Also in a pipe'
never\t'Without colours'"
complete -c davit -n "__fish_davit_using_subcommand deploy" -s w -l wait -d 'Wait for the end, and show the steps meanwhile'
complete -c davit -n "__fish_davit_using_subcommand deploy" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c davit -n "__fish_davit_using_subcommand deploy" -s V -l version -d 'Print version'
complete -c davit -n "__fish_davit_using_subcommand redeploy" -l title -d 'The title of the Release. Default: Manual deployment, Rebuild deployment or Rollback to RELEASE' -r
complete -c davit -n "__fish_davit_using_subcommand redeploy" -l description -d 'More about the Release' -r
complete -c davit -n "__fish_davit_using_subcommand redeploy" -l timeout -d 'With --wait: the longest to wait, such as 90s or 5m. Default: without a limit' -r
complete -c davit -n "__fish_davit_using_subcommand redeploy" -s o -l output -d 'The form of the output' -r -f -a "wide\t'A table with more columns'
name\t'Kind and name only, for scripts'
json\t'The object as JSON'
yaml\t'The object as YAML'"
complete -c davit -n "__fish_davit_using_subcommand redeploy" -s n -l namespace -d 'The namespace. Default: the one of the context' -r
complete -c davit -n "__fish_davit_using_subcommand redeploy" -l context -d 'The context of the kubeconfig. Default: the current one' -r
complete -c davit -n "__fish_davit_using_subcommand redeploy" -l kubeconfig -d 'The kubeconfig. Default: the files in KUBECONFIG, else ~/.kube/config, else that of `davit up` on this machine' -r -F
complete -c davit -n "__fish_davit_using_subcommand redeploy" -l as -d 'The user to impersonate' -r
complete -c davit -n "__fish_davit_using_subcommand redeploy" -l color -d 'When to use colours' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set or TERM is dumb'
always\t'Also in a pipe'
never\t'Without colours'"
complete -c davit -n "__fish_davit_using_subcommand redeploy" -l clean -d 'Build without the cache'
complete -c davit -n "__fish_davit_using_subcommand redeploy" -s w -l wait -d 'Wait for the end, and show the steps meanwhile'
complete -c davit -n "__fish_davit_using_subcommand redeploy" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c davit -n "__fish_davit_using_subcommand redeploy" -s V -l version -d 'Print version'
complete -c davit -n "__fish_davit_using_subcommand rollback" -l title -d 'The title of the Release. Default: Manual deployment, Rebuild deployment or Rollback to RELEASE' -r
complete -c davit -n "__fish_davit_using_subcommand rollback" -l description -d 'More about the Release' -r
complete -c davit -n "__fish_davit_using_subcommand rollback" -l timeout -d 'With --wait: the longest to wait, such as 90s or 5m. Default: without a limit' -r
complete -c davit -n "__fish_davit_using_subcommand rollback" -s o -l output -d 'The form of the output' -r -f -a "wide\t'A table with more columns'
name\t'Kind and name only, for scripts'
json\t'The object as JSON'
yaml\t'The object as YAML'"
complete -c davit -n "__fish_davit_using_subcommand rollback" -s n -l namespace -d 'The namespace. Default: the one of the context' -r
complete -c davit -n "__fish_davit_using_subcommand rollback" -l context -d 'The context of the kubeconfig. Default: the current one' -r
complete -c davit -n "__fish_davit_using_subcommand rollback" -l kubeconfig -d 'The kubeconfig. Default: the files in KUBECONFIG, else ~/.kube/config, else that of `davit up` on this machine' -r -F
complete -c davit -n "__fish_davit_using_subcommand rollback" -l as -d 'The user to impersonate' -r
complete -c davit -n "__fish_davit_using_subcommand rollback" -l color -d 'When to use colours' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set or TERM is dumb'
always\t'Also in a pipe'
never\t'Without colours'"
complete -c davit -n "__fish_davit_using_subcommand rollback" -s w -l wait -d 'Wait for the end, and show the steps meanwhile'
complete -c davit -n "__fish_davit_using_subcommand rollback" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c davit -n "__fish_davit_using_subcommand rollback" -s V -l version -d 'Print version'
complete -c davit -n "__fish_davit_using_subcommand cancel" -l timeout -d 'With --wait: the longest to wait, such as 90s or 5m. Default: without a limit' -r
complete -c davit -n "__fish_davit_using_subcommand cancel" -s o -l output -d 'The form of the output' -r -f -a "wide\t'A table with more columns'
name\t'Kind and name only, for scripts'
json\t'The object as JSON'
yaml\t'The object as YAML'"
complete -c davit -n "__fish_davit_using_subcommand cancel" -s n -l namespace -d 'The namespace. Default: the one of the context' -r
complete -c davit -n "__fish_davit_using_subcommand cancel" -l context -d 'The context of the kubeconfig. Default: the current one' -r
complete -c davit -n "__fish_davit_using_subcommand cancel" -l kubeconfig -d 'The kubeconfig. Default: the files in KUBECONFIG, else ~/.kube/config, else that of `davit up` on this machine' -r -F
complete -c davit -n "__fish_davit_using_subcommand cancel" -l as -d 'The user to impersonate' -r
complete -c davit -n "__fish_davit_using_subcommand cancel" -l color -d 'When to use colours' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set or TERM is dumb'
always\t'Also in a pipe'
never\t'Without colours'"
complete -c davit -n "__fish_davit_using_subcommand cancel" -s w -l wait -d 'Wait for the end, and show the steps meanwhile'
complete -c davit -n "__fish_davit_using_subcommand cancel" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c davit -n "__fish_davit_using_subcommand cancel" -s V -l version -d 'Print version'
complete -c davit -n "__fish_davit_using_subcommand stop" -l timeout -d 'With --wait: the longest to wait, such as 90s or 5m. Default: without a limit' -r
complete -c davit -n "__fish_davit_using_subcommand stop" -s o -l output -d 'The form of the output' -r -f -a "wide\t'A table with more columns'
name\t'Kind and name only, for scripts'
json\t'The object as JSON'
yaml\t'The object as YAML'"
complete -c davit -n "__fish_davit_using_subcommand stop" -s n -l namespace -d 'The namespace. Default: the one of the context' -r
complete -c davit -n "__fish_davit_using_subcommand stop" -l context -d 'The context of the kubeconfig. Default: the current one' -r
complete -c davit -n "__fish_davit_using_subcommand stop" -l kubeconfig -d 'The kubeconfig. Default: the files in KUBECONFIG, else ~/.kube/config, else that of `davit up` on this machine' -r -F
complete -c davit -n "__fish_davit_using_subcommand stop" -l as -d 'The user to impersonate' -r
complete -c davit -n "__fish_davit_using_subcommand stop" -l color -d 'When to use colours' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set or TERM is dumb'
always\t'Also in a pipe'
never\t'Without colours'"
complete -c davit -n "__fish_davit_using_subcommand stop" -s w -l wait -d 'Wait for the end, and show the steps meanwhile'
complete -c davit -n "__fish_davit_using_subcommand stop" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c davit -n "__fish_davit_using_subcommand stop" -s V -l version -d 'Print version'
complete -c davit -n "__fish_davit_using_subcommand start" -l timeout -d 'With --wait: the longest to wait, such as 90s or 5m. Default: without a limit' -r
complete -c davit -n "__fish_davit_using_subcommand start" -s o -l output -d 'The form of the output' -r -f -a "wide\t'A table with more columns'
name\t'Kind and name only, for scripts'
json\t'The object as JSON'
yaml\t'The object as YAML'"
complete -c davit -n "__fish_davit_using_subcommand start" -s n -l namespace -d 'The namespace. Default: the one of the context' -r
complete -c davit -n "__fish_davit_using_subcommand start" -l context -d 'The context of the kubeconfig. Default: the current one' -r
complete -c davit -n "__fish_davit_using_subcommand start" -l kubeconfig -d 'The kubeconfig. Default: the files in KUBECONFIG, else ~/.kube/config, else that of `davit up` on this machine' -r -F
complete -c davit -n "__fish_davit_using_subcommand start" -l as -d 'The user to impersonate' -r
complete -c davit -n "__fish_davit_using_subcommand start" -l color -d 'When to use colours' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set or TERM is dumb'
always\t'Also in a pipe'
never\t'Without colours'"
complete -c davit -n "__fish_davit_using_subcommand start" -s w -l wait -d 'Wait for the end, and show the steps meanwhile'
complete -c davit -n "__fish_davit_using_subcommand start" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c davit -n "__fish_davit_using_subcommand start" -s V -l version -d 'Print version'
complete -c davit -n "__fish_davit_using_subcommand restart" -l timeout -d 'With --wait: the longest to wait, such as 90s or 5m. Default: without a limit' -r
complete -c davit -n "__fish_davit_using_subcommand restart" -s o -l output -d 'The form of the output' -r -f -a "wide\t'A table with more columns'
name\t'Kind and name only, for scripts'
json\t'The object as JSON'
yaml\t'The object as YAML'"
complete -c davit -n "__fish_davit_using_subcommand restart" -s n -l namespace -d 'The namespace. Default: the one of the context' -r
complete -c davit -n "__fish_davit_using_subcommand restart" -l context -d 'The context of the kubeconfig. Default: the current one' -r
complete -c davit -n "__fish_davit_using_subcommand restart" -l kubeconfig -d 'The kubeconfig. Default: the files in KUBECONFIG, else ~/.kube/config, else that of `davit up` on this machine' -r -F
complete -c davit -n "__fish_davit_using_subcommand restart" -l as -d 'The user to impersonate' -r
complete -c davit -n "__fish_davit_using_subcommand restart" -l color -d 'When to use colours' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set or TERM is dumb'
always\t'Also in a pipe'
never\t'Without colours'"
complete -c davit -n "__fish_davit_using_subcommand restart" -s w -l wait -d 'Wait for the end, and show the steps meanwhile'
complete -c davit -n "__fish_davit_using_subcommand restart" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c davit -n "__fish_davit_using_subcommand restart" -s V -l version -d 'Print version'
complete -c davit -n "__fish_davit_using_subcommand suspend" -l timeout -d 'With --wait: the longest to wait, such as 90s or 5m. Default: without a limit' -r
complete -c davit -n "__fish_davit_using_subcommand suspend" -s o -l output -d 'The form of the output' -r -f -a "wide\t'A table with more columns'
name\t'Kind and name only, for scripts'
json\t'The object as JSON'
yaml\t'The object as YAML'"
complete -c davit -n "__fish_davit_using_subcommand suspend" -s n -l namespace -d 'The namespace. Default: the one of the context' -r
complete -c davit -n "__fish_davit_using_subcommand suspend" -l context -d 'The context of the kubeconfig. Default: the current one' -r
complete -c davit -n "__fish_davit_using_subcommand suspend" -l kubeconfig -d 'The kubeconfig. Default: the files in KUBECONFIG, else ~/.kube/config, else that of `davit up` on this machine' -r -F
complete -c davit -n "__fish_davit_using_subcommand suspend" -l as -d 'The user to impersonate' -r
complete -c davit -n "__fish_davit_using_subcommand suspend" -l color -d 'When to use colours' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set or TERM is dumb'
always\t'Also in a pipe'
never\t'Without colours'"
complete -c davit -n "__fish_davit_using_subcommand suspend" -s w -l wait -d 'Wait for the end, and show the steps meanwhile'
complete -c davit -n "__fish_davit_using_subcommand suspend" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c davit -n "__fish_davit_using_subcommand suspend" -s V -l version -d 'Print version'
complete -c davit -n "__fish_davit_using_subcommand resume" -l timeout -d 'With --wait: the longest to wait, such as 90s or 5m. Default: without a limit' -r
complete -c davit -n "__fish_davit_using_subcommand resume" -s o -l output -d 'The form of the output' -r -f -a "wide\t'A table with more columns'
name\t'Kind and name only, for scripts'
json\t'The object as JSON'
yaml\t'The object as YAML'"
complete -c davit -n "__fish_davit_using_subcommand resume" -s n -l namespace -d 'The namespace. Default: the one of the context' -r
complete -c davit -n "__fish_davit_using_subcommand resume" -l context -d 'The context of the kubeconfig. Default: the current one' -r
complete -c davit -n "__fish_davit_using_subcommand resume" -l kubeconfig -d 'The kubeconfig. Default: the files in KUBECONFIG, else ~/.kube/config, else that of `davit up` on this machine' -r -F
complete -c davit -n "__fish_davit_using_subcommand resume" -l as -d 'The user to impersonate' -r
complete -c davit -n "__fish_davit_using_subcommand resume" -l color -d 'When to use colours' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set or TERM is dumb'
always\t'Also in a pipe'
never\t'Without colours'"
complete -c davit -n "__fish_davit_using_subcommand resume" -s w -l wait -d 'Wait for the end, and show the steps meanwhile'
complete -c davit -n "__fish_davit_using_subcommand resume" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c davit -n "__fish_davit_using_subcommand resume" -s V -l version -d 'Print version'
complete -c davit -n "__fish_davit_using_subcommand clear" -l timeout -d 'With --wait: the longest to wait, such as 90s or 5m. Default: without a limit' -r
complete -c davit -n "__fish_davit_using_subcommand clear" -s o -l output -d 'The form of the output' -r -f -a "wide\t'A table with more columns'
name\t'Kind and name only, for scripts'
json\t'The object as JSON'
yaml\t'The object as YAML'"
complete -c davit -n "__fish_davit_using_subcommand clear" -s n -l namespace -d 'The namespace. Default: the one of the context' -r
complete -c davit -n "__fish_davit_using_subcommand clear" -l context -d 'The context of the kubeconfig. Default: the current one' -r
complete -c davit -n "__fish_davit_using_subcommand clear" -l kubeconfig -d 'The kubeconfig. Default: the files in KUBECONFIG, else ~/.kube/config, else that of `davit up` on this machine' -r -F
complete -c davit -n "__fish_davit_using_subcommand clear" -l as -d 'The user to impersonate' -r
complete -c davit -n "__fish_davit_using_subcommand clear" -l color -d 'When to use colours' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set or TERM is dumb'
always\t'Also in a pipe'
never\t'Without colours'"
complete -c davit -n "__fish_davit_using_subcommand clear" -l dry-run -d 'List what would be removed, and remove nothing'
complete -c davit -n "__fish_davit_using_subcommand clear" -s w -l wait -d 'Wait for the end, and show the steps meanwhile'
complete -c davit -n "__fish_davit_using_subcommand clear" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c davit -n "__fish_davit_using_subcommand clear" -s V -l version -d 'Print version'
complete -c davit -n "__fish_davit_using_subcommand init" -l name -d 'The name of the Application. Default: the name of the repository or of the directory' -r
complete -c davit -n "__fish_davit_using_subcommand init" -l port -d 'The port on which the container listens. Default: EXPOSE of the Dockerfile' -r
complete -c davit -n "__fish_davit_using_subcommand init" -s f -l file -d 'The file to write, in the directory' -r -F
complete -c davit -n "__fish_davit_using_subcommand init" -l force -d 'Replace the file if it exists'
complete -c davit -n "__fish_davit_using_subcommand init" -l dry-run -d 'Print the YAML, and write nothing'
complete -c davit -n "__fish_davit_using_subcommand init" -s h -l help -d 'Print help'
complete -c davit -n "__fish_davit_using_subcommand init" -s V -l version -d 'Print version'
complete -c davit -n "__fish_davit_using_subcommand help; and not __fish_seen_subcommand_from up controller crds backup restore status history deploy redeploy rollback cancel stop start restart suspend resume clear init help" -f -a "up" -d 'Run everything on this machine: API server, controller, and the local Docker Engine'
complete -c davit -n "__fish_davit_using_subcommand help; and not __fish_seen_subcommand_from up controller crds backup restore status history deploy redeploy rollback cancel stop start restart suspend resume clear init help" -f -a "controller" -d 'Run the controller against a cluster: KUBECONFIG, or the cluster it runs in'
complete -c davit -n "__fish_davit_using_subcommand help; and not __fish_seen_subcommand_from up controller crds backup restore status history deploy redeploy rollback cancel stop start restart suspend resume clear init help" -f -a "crds" -d 'Print the CustomResourceDefinitions as YAML'
complete -c davit -n "__fish_davit_using_subcommand help; and not __fish_seen_subcommand_from up controller crds backup restore status history deploy redeploy rollback cancel stop start restart suspend resume clear init help" -f -a "backup" -d 'Write everything that a running `davit up` stores to a file'
complete -c davit -n "__fish_davit_using_subcommand help; and not __fish_seen_subcommand_from up controller crds backup restore status history deploy redeploy rollback cancel stop start restart suspend resume clear init help" -f -a "restore" -d 'Make the data directory of a new `davit up` from a backup'
complete -c davit -n "__fish_davit_using_subcommand help; and not __fish_seen_subcommand_from up controller crds backup restore status history deploy redeploy rollback cancel stop start restart suspend resume clear init help" -f -a "status" -d 'Show what runs, since when, why, and what to do next'
complete -c davit -n "__fish_davit_using_subcommand help; and not __fish_seen_subcommand_from up controller crds backup restore status history deploy redeploy rollback cancel stop start restart suspend resume clear init help" -f -a "history" -d 'List the Releases of an Application, the oldest first'
complete -c davit -n "__fish_davit_using_subcommand help; and not __fish_seen_subcommand_from up controller crds backup restore status history deploy redeploy rollback cancel stop start restart suspend resume clear init help" -f -a "deploy" -d 'Deploy what the spec asks for now, or another commit'
complete -c davit -n "__fish_davit_using_subcommand help; and not __fish_seen_subcommand_from up controller crds backup restore status history deploy redeploy rollback cancel stop start restart suspend resume clear init help" -f -a "redeploy" -d 'Build the newest commit that was deployed again, and deploy it'
complete -c davit -n "__fish_davit_using_subcommand help; and not __fish_seen_subcommand_from up controller crds backup restore status history deploy redeploy rollback cancel stop start restart suspend resume clear init help" -f -a "rollback" -d 'Run the image and the configuration of an earlier Release again, and hold automatic deployments'
complete -c davit -n "__fish_davit_using_subcommand help; and not __fish_seen_subcommand_from up controller crds backup restore status history deploy redeploy rollback cancel stop start restart suspend resume clear init help" -f -a "cancel" -d 'Cancel the Releases that are under way, or one of them'
complete -c davit -n "__fish_davit_using_subcommand help; and not __fish_seen_subcommand_from up controller crds backup restore status history deploy redeploy rollback cancel stop start restart suspend resume clear init help" -f -a "stop" -d 'Stop the containers; everything else stays'
complete -c davit -n "__fish_davit_using_subcommand help; and not __fish_seen_subcommand_from up controller crds backup restore status history deploy redeploy rollback cancel stop start restart suspend resume clear init help" -f -a "start" -d 'Start the containers again, as many as before'
complete -c davit -n "__fish_davit_using_subcommand help; and not __fish_seen_subcommand_from up controller crds backup restore status history deploy redeploy rollback cancel stop start restart suspend resume clear init help" -f -a "restart" -d 'Replace the containers by new ones of the same Release, without a gap'
complete -c davit -n "__fish_davit_using_subcommand help; and not __fish_seen_subcommand_from up controller crds backup restore status history deploy redeploy rollback cancel stop start restart suspend resume clear init help" -f -a "suspend" -d 'Leave everything as it is: nothing is deployed, repaired or removed until `davit resume`'
complete -c davit -n "__fish_davit_using_subcommand help; and not __fish_seen_subcommand_from up controller crds backup restore status history deploy redeploy rollback cancel stop start restart suspend resume clear init help" -f -a "resume" -d 'End a suspension, and the hold of a rollback: what was held is deployed'
complete -c davit -n "__fish_davit_using_subcommand help; and not __fish_seen_subcommand_from up controller crds backup restore status history deploy redeploy rollback cancel stop start restart suspend resume clear init help" -f -a "clear" -d 'Remove Releases that ended, with their logs and images; what runs, and what a rollback refers to, stays'
complete -c davit -n "__fish_davit_using_subcommand help; and not __fish_seen_subcommand_from up controller crds backup restore status history deploy redeploy rollback cancel stop start restart suspend resume clear init help" -f -a "init" -d 'Inspect a directory and write the Application for it'
complete -c davit -n "__fish_davit_using_subcommand help; and not __fish_seen_subcommand_from up controller crds backup restore status history deploy redeploy rollback cancel stop start restart suspend resume clear init help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
