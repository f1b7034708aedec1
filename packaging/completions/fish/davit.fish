# fish completion of davit. The candidates, also names of Applications, Releases and namespaces, come from the program.
function __davit_candidates
    set -l words (commandline -opc)
    set -l typed (commandline -ct)
    # The candidates for --namespace=TEXT are what follows the sign.
    set -l before ''
    if string match -qr -- '^-[^=]*=' "$typed"
        set before (string replace -r -- '=.*' '=' "$typed")
    end
    for candidate in ($words[1] __complete -- $words[2..-1] "$typed" 2>/dev/null | string match -v ':*')
        echo "$before$candidate"
    end
end
complete -c davit -a '(__davit_candidates)'
complete -c kubectl-davit -a '(__davit_candidates)'
