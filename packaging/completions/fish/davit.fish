# fish completion of davit. The candidates, also names of Applications, Releases and namespaces, come from the program.
function __davit_candidates
    set -l words (commandline -opc)
    davit __complete -- $words[2..-1] (commandline -ct) 2>/dev/null | string match -v ':*'
end
complete -c davit -a '(__davit_candidates)'
