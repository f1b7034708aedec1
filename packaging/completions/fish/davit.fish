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
complete -c davit -n "__fish_davit_needs_command" -f -a "deploy" -d 'Deploy what the spec asks for now, or another commit'
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
complete -c davit -n "__fish_davit_using_subcommand up" -l registry -d 'The registry, with the beginning of a path if it has one, to which every built image is pushed: registry.example.com/davit. The repository is below it, NAMESPACE/NAME; spec.image of an Application names another one' -r
complete -c davit -n "__fish_davit_using_subcommand up" -l registry-config -d 'The credentials of --registry: a Docker configuration, such as config.json of docker login. It is read at each use' -r -F
complete -c davit -n "__fish_davit_using_subcommand up" -l insecure-registry -d 'A registry where Davit deletes old images over plain HTTP; may be given several times. The engine, which pushes and pulls, needs the same registry in its insecure-registries' -r
complete -c davit -n "__fish_davit_using_subcommand up" -l railpack -d 'The railpack program, for Applications that are built with it. Default: railpack in the usual directories for programs' -r -F
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
complete -c davit -n "__fish_davit_using_subcommand controller" -l registry -d 'The registry, with the beginning of a path if it has one, to which every built image is pushed: registry.example.com/davit. The repository is below it, NAMESPACE/NAME; spec.image of an Application names another one' -r
complete -c davit -n "__fish_davit_using_subcommand controller" -l registry-config -d 'The credentials of --registry: a Docker configuration, such as config.json of docker login. It is read at each use' -r -F
complete -c davit -n "__fish_davit_using_subcommand controller" -l insecure-registry -d 'A registry where Davit deletes old images over plain HTTP; may be given several times. The engine, which pushes and pulls, needs the same registry in its insecure-registries' -r
complete -c davit -n "__fish_davit_using_subcommand controller" -l railpack -d 'The railpack program, for Applications that are built with it. Default: railpack in the usual directories for programs' -r -F
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
complete -c davit -n "__fish_davit_using_subcommand deploy" -l title -d 'The title of the Release. Default: Manual deployment' -r
complete -c davit -n "__fish_davit_using_subcommand deploy" -l description -d 'More about the Release' -r
complete -c davit -n "__fish_davit_using_subcommand deploy" -l revision -d 'A full commit hash or image digest in place of what the ref names now' -r
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
complete -c davit -n "__fish_davit_using_subcommand help; and not __fish_seen_subcommand_from up controller crds backup restore status deploy help" -f -a "up" -d 'Run everything on this machine: API server, controller, and the local Docker Engine'
complete -c davit -n "__fish_davit_using_subcommand help; and not __fish_seen_subcommand_from up controller crds backup restore status deploy help" -f -a "controller" -d 'Run the controller against a cluster: KUBECONFIG, or the cluster it runs in'
complete -c davit -n "__fish_davit_using_subcommand help; and not __fish_seen_subcommand_from up controller crds backup restore status deploy help" -f -a "crds" -d 'Print the CustomResourceDefinitions as YAML'
complete -c davit -n "__fish_davit_using_subcommand help; and not __fish_seen_subcommand_from up controller crds backup restore status deploy help" -f -a "backup" -d 'Write everything that a running `davit up` stores to a file'
complete -c davit -n "__fish_davit_using_subcommand help; and not __fish_seen_subcommand_from up controller crds backup restore status deploy help" -f -a "restore" -d 'Make the data directory of a new `davit up` from a backup'
complete -c davit -n "__fish_davit_using_subcommand help; and not __fish_seen_subcommand_from up controller crds backup restore status deploy help" -f -a "status" -d 'Show what runs, since when, why, and what to do next'
complete -c davit -n "__fish_davit_using_subcommand help; and not __fish_seen_subcommand_from up controller crds backup restore status deploy help" -f -a "deploy" -d 'Deploy what the spec asks for now, or another commit'
complete -c davit -n "__fish_davit_using_subcommand help; and not __fish_seen_subcommand_from up controller crds backup restore status deploy help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
