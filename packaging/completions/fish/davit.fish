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
complete -c davit -n "__fish_davit_needs_command" -f -a "logs" -d 'Show the output of an Application\'s containers, or the log of a build'
complete -c davit -n "__fish_davit_needs_command" -f -a "connect" -d 'Connect a forge: create its Secret and its GitProvider'
complete -c davit -n "__fish_davit_needs_command" -f -a "repos" -d 'List the repositories that a GitProvider reaches'
complete -c davit -n "__fish_davit_needs_command" -f -a "branches" -d 'List the branches of a repository that a GitProvider reaches'
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
complete -c davit -n "__fish_davit_using_subcommand controller" -l api-listen -d 'Where the API server of the cluster forwards logs and listings to, over TLS; nothing is opened by default. The API server must have aggregation, as clusters have' -r
complete -c davit -n "__fish_davit_using_subcommand controller" -l api-service -d 'The Service in front of --api-listen; the controller registers it with an APIService while it runs' -r
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
complete -c davit -n "__fish_davit_using_subcommand logs" -l release -d 'With --build: show the log of this Release' -r
complete -c davit -n "__fish_davit_using_subcommand logs" -l tail -d 'Show at most this many lines of the end of each log. Default: all' -r
complete -c davit -n "__fish_davit_using_subcommand logs" -l since -d 'Show only lines that are not older, such as 30s or 2h' -r
complete -c davit -n "__fish_davit_using_subcommand logs" -l replica -d 'Show one replica: RELEASE.NUMBER as in the prefix of a line, or the name or ID of a container' -r
complete -c davit -n "__fish_davit_using_subcommand logs" -s n -l namespace -d 'The namespace. Default: the one of the context' -r
complete -c davit -n "__fish_davit_using_subcommand logs" -l context -d 'The context of the kubeconfig. Default: the current one' -r
complete -c davit -n "__fish_davit_using_subcommand logs" -l kubeconfig -d 'The kubeconfig. Default: the files in KUBECONFIG, else ~/.kube/config, else that of `davit up` on this machine' -r -F
complete -c davit -n "__fish_davit_using_subcommand logs" -l as -d 'The user to impersonate' -r
complete -c davit -n "__fish_davit_using_subcommand logs" -l color -d 'When to use colours' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set or TERM is dumb'
always\t'Also in a pipe'
never\t'Without colours'"
complete -c davit -n "__fish_davit_using_subcommand logs" -l build -d 'Show the log of the newest Release\'s build'
complete -c davit -n "__fish_davit_using_subcommand logs" -s f -l follow -d 'Continue with what is written from now on, also by replicas that start later'
complete -c davit -n "__fish_davit_using_subcommand logs" -l timestamps -d 'Begin each line with its time'
complete -c davit -n "__fish_davit_using_subcommand logs" -s p -l previous -d 'Show the output from before the last start of each container'
complete -c davit -n "__fish_davit_using_subcommand logs" -l prefix -d 'Begin each line with the name of its replica. Default: if the Application has several'
complete -c davit -n "__fish_davit_using_subcommand logs" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c davit -n "__fish_davit_using_subcommand logs" -s V -l version -d 'Print version'
complete -c davit -n "__fish_davit_using_subcommand connect" -l name -d 'The name of the GitProvider and of its Secret. Default: that of the forge' -r
complete -c davit -n "__fish_davit_using_subcommand connect" -l url -d 'The address of the forge as in a browser. Default: the hosted one, if there is one' -r
complete -c davit -n "__fish_davit_using_subcommand connect" -l organization -d 'The organization that shall own the App. Default: the account of the browser' -r
complete -c davit -n "__fish_davit_using_subcommand connect" -l group -d 'List only the projects of this group' -r
complete -c davit -n "__fish_davit_using_subcommand connect" -l workspace -d 'The workspace of the repositories' -r
complete -c davit -n "__fish_davit_using_subcommand connect" -l email -d 'The e-mail address of the account, if the token is an API token' -r
complete -c davit -n "__fish_davit_using_subcommand connect" -s o -l output -d 'The form of the output' -r -f -a "wide\t'A table with more columns'
name\t'Kind and name only, for scripts'
json\t'The object as JSON'
yaml\t'The object as YAML'"
complete -c davit -n "__fish_davit_using_subcommand connect" -s n -l namespace -d 'The namespace. Default: the one of the context' -r
complete -c davit -n "__fish_davit_using_subcommand connect" -l context -d 'The context of the kubeconfig. Default: the current one' -r
complete -c davit -n "__fish_davit_using_subcommand connect" -l kubeconfig -d 'The kubeconfig. Default: the files in KUBECONFIG, else ~/.kube/config, else that of `davit up` on this machine' -r -F
complete -c davit -n "__fish_davit_using_subcommand connect" -l as -d 'The user to impersonate' -r
complete -c davit -n "__fish_davit_using_subcommand connect" -l color -d 'When to use colours' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set or TERM is dumb'
always\t'Also in a pipe'
never\t'Without colours'"
complete -c davit -n "__fish_davit_using_subcommand connect" -l token-stdin -d 'Read a token from standard input. A forge without Apps always does'
complete -c davit -n "__fish_davit_using_subcommand connect" -l all-namespaces -d 'Let Applications of all namespaces use the connection'
complete -c davit -n "__fish_davit_using_subcommand connect" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c davit -n "__fish_davit_using_subcommand connect" -s V -l version -d 'Print version'
complete -c davit -n "__fish_davit_using_subcommand repos" -l filter -d 'Show only names that contain this text; letter case is ignored' -r
complete -c davit -n "__fish_davit_using_subcommand repos" -s o -l output -d 'The form of the output' -r -f -a "wide\t'A table with more columns'
name\t'Kind and name only, for scripts'
json\t'The object as JSON'
yaml\t'The object as YAML'"
complete -c davit -n "__fish_davit_using_subcommand repos" -s n -l namespace -d 'The namespace. Default: the one of the context' -r
complete -c davit -n "__fish_davit_using_subcommand repos" -l context -d 'The context of the kubeconfig. Default: the current one' -r
complete -c davit -n "__fish_davit_using_subcommand repos" -l kubeconfig -d 'The kubeconfig. Default: the files in KUBECONFIG, else ~/.kube/config, else that of `davit up` on this machine' -r -F
complete -c davit -n "__fish_davit_using_subcommand repos" -l as -d 'The user to impersonate' -r
complete -c davit -n "__fish_davit_using_subcommand repos" -l color -d 'When to use colours' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set or TERM is dumb'
always\t'Also in a pipe'
never\t'Without colours'"
complete -c davit -n "__fish_davit_using_subcommand repos" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c davit -n "__fish_davit_using_subcommand repos" -s V -l version -d 'Print version'
complete -c davit -n "__fish_davit_using_subcommand branches" -l filter -d 'Show only names that contain this text; letter case is ignored' -r
complete -c davit -n "__fish_davit_using_subcommand branches" -s o -l output -d 'The form of the output' -r -f -a "wide\t'A table with more columns'
name\t'Kind and name only, for scripts'
json\t'The object as JSON'
yaml\t'The object as YAML'"
complete -c davit -n "__fish_davit_using_subcommand branches" -s n -l namespace -d 'The namespace. Default: the one of the context' -r
complete -c davit -n "__fish_davit_using_subcommand branches" -l context -d 'The context of the kubeconfig. Default: the current one' -r
complete -c davit -n "__fish_davit_using_subcommand branches" -l kubeconfig -d 'The kubeconfig. Default: the files in KUBECONFIG, else ~/.kube/config, else that of `davit up` on this machine' -r -F
complete -c davit -n "__fish_davit_using_subcommand branches" -l as -d 'The user to impersonate' -r
complete -c davit -n "__fish_davit_using_subcommand branches" -l color -d 'When to use colours' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set or TERM is dumb'
always\t'Also in a pipe'
never\t'Without colours'"
complete -c davit -n "__fish_davit_using_subcommand branches" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c davit -n "__fish_davit_using_subcommand branches" -s V -l version -d 'Print version'
complete -c davit -n "__fish_davit_using_subcommand help; and not __fish_seen_subcommand_from up controller crds backup restore status deploy logs connect repos branches help" -f -a "up" -d 'Run everything on this machine: API server, controller, and the local Docker Engine'
complete -c davit -n "__fish_davit_using_subcommand help; and not __fish_seen_subcommand_from up controller crds backup restore status deploy logs connect repos branches help" -f -a "controller" -d 'Run the controller against a cluster: KUBECONFIG, or the cluster it runs in'
complete -c davit -n "__fish_davit_using_subcommand help; and not __fish_seen_subcommand_from up controller crds backup restore status deploy logs connect repos branches help" -f -a "crds" -d 'Print the CustomResourceDefinitions as YAML'
complete -c davit -n "__fish_davit_using_subcommand help; and not __fish_seen_subcommand_from up controller crds backup restore status deploy logs connect repos branches help" -f -a "backup" -d 'Write everything that a running `davit up` stores to a file'
complete -c davit -n "__fish_davit_using_subcommand help; and not __fish_seen_subcommand_from up controller crds backup restore status deploy logs connect repos branches help" -f -a "restore" -d 'Make the data directory of a new `davit up` from a backup'
complete -c davit -n "__fish_davit_using_subcommand help; and not __fish_seen_subcommand_from up controller crds backup restore status deploy logs connect repos branches help" -f -a "status" -d 'Show what runs, since when, why, and what to do next'
complete -c davit -n "__fish_davit_using_subcommand help; and not __fish_seen_subcommand_from up controller crds backup restore status deploy logs connect repos branches help" -f -a "deploy" -d 'Deploy what the spec asks for now, or another commit'
complete -c davit -n "__fish_davit_using_subcommand help; and not __fish_seen_subcommand_from up controller crds backup restore status deploy logs connect repos branches help" -f -a "logs" -d 'Show the output of an Application\'s containers, or the log of a build'
complete -c davit -n "__fish_davit_using_subcommand help; and not __fish_seen_subcommand_from up controller crds backup restore status deploy logs connect repos branches help" -f -a "connect" -d 'Connect a forge: create its Secret and its GitProvider'
complete -c davit -n "__fish_davit_using_subcommand help; and not __fish_seen_subcommand_from up controller crds backup restore status deploy logs connect repos branches help" -f -a "repos" -d 'List the repositories that a GitProvider reaches'
complete -c davit -n "__fish_davit_using_subcommand help; and not __fish_seen_subcommand_from up controller crds backup restore status deploy logs connect repos branches help" -f -a "branches" -d 'List the branches of a repository that a GitProvider reaches'
complete -c davit -n "__fish_davit_using_subcommand help; and not __fish_seen_subcommand_from up controller crds backup restore status deploy logs connect repos branches help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
