# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_nomad_global_optspecs
    string join \n e/endpoint= c/context= o/output= timeout= y/yes q/quiet v/verbose color= h/help V/version
end

function __fish_nomad_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_nomad_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_nomad_using_subcommand
    set -l cmd (__fish_nomad_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c nomad -n "__fish_nomad_needs_command" -s e -l endpoint -d 'Members to talk to, instead of the context\'s' -r
complete -c nomad -n "__fish_nomad_needs_command" -s c -l context -d 'Which cluster, by the name of a context or by its file (with a `/` in it or ending in .toml)' -r
complete -c nomad -n "__fish_nomad_needs_command" -s o -l output -d 'How answers are written' -r -f -a "table\t'For people; may change any day'
json\t'One JSON document; a stable contract'
jsonl\t'One JSON object a line'
raw\t'The bare thing: a value\'s exact bytes, ids, a token'"
complete -c nomad -n "__fish_nomad_needs_command" -l timeout -d 'How long to wait, such as 500ms, 30s or 2m [default: 10s]' -r
complete -c nomad -n "__fish_nomad_needs_command" -l color -d 'When to colour; NO_COLOR is honoured' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t''
never\t''"
complete -c nomad -n "__fish_nomad_needs_command" -s y -l yes -d 'Answer questions with yes'
complete -c nomad -n "__fish_nomad_needs_command" -s q -l quiet -d 'Only the answer: no notes, no progress'
complete -c nomad -n "__fish_nomad_needs_command" -s v -l verbose -d 'Log to stderr what happens; twice: more of it'
complete -c nomad -n "__fish_nomad_needs_command" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c nomad -n "__fish_nomad_needs_command" -s V -l version -d 'Print version'
complete -c nomad -n "__fish_nomad_needs_command" -f -a "demo" -d 'Take the guided tour: local nodes, a load, a kill, shards that move, and proof that nothing was lost'
complete -c nomad -n "__fish_nomad_needs_command" -f -a "up" -d 'Run a local cluster until ctrl-C'
complete -c nomad -n "__fish_nomad_needs_command" -f -a "serve" -d 'Run one node of a cluster'
complete -c nomad -n "__fish_nomad_needs_command" -f -a "status" -d 'Show whether the cluster is healthy'
complete -c nomad -n "__fish_nomad_needs_command" -f -a "kv" -d 'Read and write single keys'
complete -c nomad -n "__fish_nomad_needs_command" -f -a "range" -d 'Print keys and values in order'
complete -c nomad -n "__fish_nomad_needs_command" -f -a "bench" -d 'Measure a cluster under load'
complete -c nomad -n "__fish_nomad_needs_command" -f -a "shard" -d 'Show shards and their replicas, let others lead, split and merge them'
complete -c nomad -n "__fish_nomad_needs_command" -f -a "migrate" -d 'Move a replica of a shard to another node, live'
complete -c nomad -n "__fish_nomad_needs_command" -f -a "node" -d 'Show the nodes of the cluster, and have one go'
complete -c nomad -n "__fish_nomad_needs_command" -f -a "ring" -d 'Show the ring: shares of the nodes, positions of the shards'
complete -c nomad -n "__fish_nomad_needs_command" -f -a "why" -d 'Say why something is where it is, moves, waits or is stuck, and what would help'
complete -c nomad -n "__fish_nomad_needs_command" -f -a "token" -d 'Make, list and revoke the tokens with which nodes join'
complete -c nomad -n "__fish_nomad_needs_command" -f -a "context" -d 'Choose which cluster to talk to'
complete -c nomad -n "__fish_nomad_needs_command" -f -a "config" -d 'Read and change the settings of the cluster'
complete -c nomad -n "__fish_nomad_needs_command" -f -a "meta" -d 'Read the cluster\'s own records (keys that start with `_/`)'
complete -c nomad -n "__fish_nomad_needs_command" -f -a "debug" -d 'Inspect and verify a node\'s files while it does not run'
complete -c nomad -n "__fish_nomad_needs_command" -f -a "completions" -d 'Print the completion script of a shell'
complete -c nomad -n "__fish_nomad_needs_command" -f -a "man" -d 'Write the manual pages into a folder'
complete -c nomad -n "__fish_nomad_needs_command" -f -a "version" -d 'Print the version'
complete -c nomad -n "__fish_nomad_using_subcommand demo" -s e -l endpoint -d 'Members to talk to, instead of the context\'s' -r
complete -c nomad -n "__fish_nomad_using_subcommand demo" -s c -l context -d 'Which cluster, by the name of a context or by its file (with a `/` in it or ending in .toml)' -r
complete -c nomad -n "__fish_nomad_using_subcommand demo" -s o -l output -d 'How answers are written' -r -f -a "table\t'For people; may change any day'
json\t'One JSON document; a stable contract'
jsonl\t'One JSON object a line'
raw\t'The bare thing: a value\'s exact bytes, ids, a token'"
complete -c nomad -n "__fish_nomad_using_subcommand demo" -l timeout -d 'How long to wait, such as 500ms, 30s or 2m [default: 10s]' -r
complete -c nomad -n "__fish_nomad_using_subcommand demo" -l color -d 'When to colour; NO_COLOR is honoured' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t''
never\t''"
complete -c nomad -n "__fish_nomad_using_subcommand demo" -s y -l yes -d 'Answer questions with yes'
complete -c nomad -n "__fish_nomad_using_subcommand demo" -s q -l quiet -d 'Only the answer: no notes, no progress'
complete -c nomad -n "__fish_nomad_using_subcommand demo" -s v -l verbose -d 'Log to stderr what happens; twice: more of it'
complete -c nomad -n "__fish_nomad_using_subcommand demo" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c nomad -n "__fish_nomad_using_subcommand up" -s n -l nodes -d 'How many nodes' -r
complete -c nomad -n "__fish_nomad_using_subcommand up" -l dir -d 'Where their data is [default: up in the user\'s data directory]' -r -F
complete -c nomad -n "__fish_nomad_using_subcommand up" -l split-at -d 'The first time: keys at which the key space is split into shards' -r
complete -c nomad -n "__fish_nomad_using_subcommand up" -s e -l endpoint -d 'Members to talk to, instead of the context\'s' -r
complete -c nomad -n "__fish_nomad_using_subcommand up" -s c -l context -d 'Which cluster, by the name of a context or by its file (with a `/` in it or ending in .toml)' -r
complete -c nomad -n "__fish_nomad_using_subcommand up" -s o -l output -d 'How answers are written' -r -f -a "table\t'For people; may change any day'
json\t'One JSON document; a stable contract'
jsonl\t'One JSON object a line'
raw\t'The bare thing: a value\'s exact bytes, ids, a token'"
complete -c nomad -n "__fish_nomad_using_subcommand up" -l timeout -d 'How long to wait, such as 500ms, 30s or 2m [default: 10s]' -r
complete -c nomad -n "__fish_nomad_using_subcommand up" -l color -d 'When to colour; NO_COLOR is honoured' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t''
never\t''"
complete -c nomad -n "__fish_nomad_using_subcommand up" -l no-context -d 'Leave the user\'s own contexts alone'
complete -c nomad -n "__fish_nomad_using_subcommand up" -s y -l yes -d 'Answer questions with yes'
complete -c nomad -n "__fish_nomad_using_subcommand up" -s q -l quiet -d 'Only the answer: no notes, no progress'
complete -c nomad -n "__fish_nomad_using_subcommand up" -s v -l verbose -d 'Log to stderr what happens; twice: more of it'
complete -c nomad -n "__fish_nomad_using_subcommand up" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c nomad -n "__fish_nomad_using_subcommand serve" -l data -d 'Where the node keeps its data' -r -F
complete -c nomad -n "__fish_nomad_using_subcommand serve" -l join -d 'Join a cluster through these members; needs --token' -r
complete -c nomad -n "__fish_nomad_using_subcommand serve" -l token -d 'The token made by `nomad token new` or printed by the first node' -r
complete -c nomad -n "__fish_nomad_using_subcommand serve" -l listen -d 'Where to listen for nodes and clients (UDP); port 0 picks one and keeps it [default: 127.0.0.1:7300]' -r
complete -c nomad -n "__fish_nomad_using_subcommand serve" -l http -d 'Where to listen for health checks and metrics (TCP) [default: as --listen]' -r
complete -c nomad -n "__fish_nomad_using_subcommand serve" -l advertise -d 'Where others reach it, if not at the address it listens on' -r
complete -c nomad -n "__fish_nomad_using_subcommand serve" -l zone -d 'Name of what may fail together, such as a rack; replicas are spread over zones' -r
complete -c nomad -n "__fish_nomad_using_subcommand serve" -l weight -d 'How much it holds compared to others [default: 100]' -r
complete -c nomad -n "__fish_nomad_using_subcommand serve" -l split-at -d 'With --bootstrap: keys at which the key space is split into shards' -r
complete -c nomad -n "__fish_nomad_using_subcommand serve" -l config -d 'A file with the same settings' -r -F
complete -c nomad -n "__fish_nomad_using_subcommand serve" -l log-format -d 'How log lines look [default: human]' -r -f -a "human\t''
json\t''"
complete -c nomad -n "__fish_nomad_using_subcommand serve" -l log-level -d 'What is logged: error, warn, info, debug or trace [default: info]' -r
complete -c nomad -n "__fish_nomad_using_subcommand serve" -s e -l endpoint -d 'Members to talk to, instead of the context\'s' -r
complete -c nomad -n "__fish_nomad_using_subcommand serve" -s c -l context -d 'Which cluster, by the name of a context or by its file (with a `/` in it or ending in .toml)' -r
complete -c nomad -n "__fish_nomad_using_subcommand serve" -s o -l output -d 'How answers are written' -r -f -a "table\t'For people; may change any day'
json\t'One JSON document; a stable contract'
jsonl\t'One JSON object a line'
raw\t'The bare thing: a value\'s exact bytes, ids, a token'"
complete -c nomad -n "__fish_nomad_using_subcommand serve" -l timeout -d 'How long to wait, such as 500ms, 30s or 2m [default: 10s]' -r
complete -c nomad -n "__fish_nomad_using_subcommand serve" -l color -d 'When to colour; NO_COLOR is honoured' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t''
never\t''"
complete -c nomad -n "__fish_nomad_using_subcommand serve" -l bootstrap -d 'Make a new cluster with this as its first node'
complete -c nomad -n "__fish_nomad_using_subcommand serve" -l insecure -d 'No identities, no encryption; only on loopback'
complete -c nomad -n "__fish_nomad_using_subcommand serve" -l no-context -d 'Leave the user\'s own contexts alone'
complete -c nomad -n "__fish_nomad_using_subcommand serve" -s y -l yes -d 'Answer questions with yes'
complete -c nomad -n "__fish_nomad_using_subcommand serve" -s q -l quiet -d 'Only the answer: no notes, no progress'
complete -c nomad -n "__fish_nomad_using_subcommand serve" -s v -l verbose -d 'Log to stderr what happens; twice: more of it'
complete -c nomad -n "__fish_nomad_using_subcommand serve" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c nomad -n "__fish_nomad_using_subcommand status" -s e -l endpoint -d 'Members to talk to, instead of the context\'s' -r
complete -c nomad -n "__fish_nomad_using_subcommand status" -s c -l context -d 'Which cluster, by the name of a context or by its file (with a `/` in it or ending in .toml)' -r
complete -c nomad -n "__fish_nomad_using_subcommand status" -s o -l output -d 'How answers are written' -r -f -a "table\t'For people; may change any day'
json\t'One JSON document; a stable contract'
jsonl\t'One JSON object a line'
raw\t'The bare thing: a value\'s exact bytes, ids, a token'"
complete -c nomad -n "__fish_nomad_using_subcommand status" -l timeout -d 'How long to wait, such as 500ms, 30s or 2m [default: 10s]' -r
complete -c nomad -n "__fish_nomad_using_subcommand status" -l color -d 'When to colour; NO_COLOR is honoured' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t''
never\t''"
complete -c nomad -n "__fish_nomad_using_subcommand status" -s y -l yes -d 'Answer questions with yes'
complete -c nomad -n "__fish_nomad_using_subcommand status" -s q -l quiet -d 'Only the answer: no notes, no progress'
complete -c nomad -n "__fish_nomad_using_subcommand status" -s v -l verbose -d 'Log to stderr what happens; twice: more of it'
complete -c nomad -n "__fish_nomad_using_subcommand status" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c nomad -n "__fish_nomad_using_subcommand kv; and not __fish_seen_subcommand_from get put del cas incr batch" -s e -l endpoint -d 'Members to talk to, instead of the context\'s' -r
complete -c nomad -n "__fish_nomad_using_subcommand kv; and not __fish_seen_subcommand_from get put del cas incr batch" -s c -l context -d 'Which cluster, by the name of a context or by its file (with a `/` in it or ending in .toml)' -r
complete -c nomad -n "__fish_nomad_using_subcommand kv; and not __fish_seen_subcommand_from get put del cas incr batch" -s o -l output -d 'How answers are written' -r -f -a "table\t'For people; may change any day'
json\t'One JSON document; a stable contract'
jsonl\t'One JSON object a line'
raw\t'The bare thing: a value\'s exact bytes, ids, a token'"
complete -c nomad -n "__fish_nomad_using_subcommand kv; and not __fish_seen_subcommand_from get put del cas incr batch" -l timeout -d 'How long to wait, such as 500ms, 30s or 2m [default: 10s]' -r
complete -c nomad -n "__fish_nomad_using_subcommand kv; and not __fish_seen_subcommand_from get put del cas incr batch" -l color -d 'When to colour; NO_COLOR is honoured' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t''
never\t''"
complete -c nomad -n "__fish_nomad_using_subcommand kv; and not __fish_seen_subcommand_from get put del cas incr batch" -s y -l yes -d 'Answer questions with yes'
complete -c nomad -n "__fish_nomad_using_subcommand kv; and not __fish_seen_subcommand_from get put del cas incr batch" -s q -l quiet -d 'Only the answer: no notes, no progress'
complete -c nomad -n "__fish_nomad_using_subcommand kv; and not __fish_seen_subcommand_from get put del cas incr batch" -s v -l verbose -d 'Log to stderr what happens; twice: more of it'
complete -c nomad -n "__fish_nomad_using_subcommand kv; and not __fish_seen_subcommand_from get put del cas incr batch" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c nomad -n "__fish_nomad_using_subcommand kv; and not __fish_seen_subcommand_from get put del cas incr batch" -f -a "get" -d 'Print the value of a key'
complete -c nomad -n "__fish_nomad_using_subcommand kv; and not __fish_seen_subcommand_from get put del cas incr batch" -f -a "put" -d 'Write a value'
complete -c nomad -n "__fish_nomad_using_subcommand kv; and not __fish_seen_subcommand_from get put del cas incr batch" -f -a "del" -d 'Remove a key'
complete -c nomad -n "__fish_nomad_using_subcommand kv; and not __fish_seen_subcommand_from get put del cas incr batch" -f -a "cas" -d 'Write a value if the key still has the expected one'
complete -c nomad -n "__fish_nomad_using_subcommand kv; and not __fish_seen_subcommand_from get put del cas incr batch" -f -a "incr" -d 'Add to a number and print the new one'
complete -c nomad -n "__fish_nomad_using_subcommand kv; and not __fish_seen_subcommand_from get put del cas incr batch" -f -a "batch" -d 'Write many keys from JSON lines'
complete -c nomad -n "__fish_nomad_using_subcommand kv; and __fish_seen_subcommand_from get" -l consistency -d 'How fresh the answer must be' -r -f -a "linearizable\t'Everything acknowledged before'
session\t'Everything this client has seen'
stale\t'Whatever the nearest replica has'"
complete -c nomad -n "__fish_nomad_using_subcommand kv; and __fish_seen_subcommand_from get" -l at -d 'As of a timestamp: a number as shown by `ts`, or a moment such as 2026-01-31T12:00:00Z' -r
complete -c nomad -n "__fish_nomad_using_subcommand kv; and __fish_seen_subcommand_from get" -s e -l endpoint -d 'Members to talk to, instead of the context\'s' -r
complete -c nomad -n "__fish_nomad_using_subcommand kv; and __fish_seen_subcommand_from get" -s c -l context -d 'Which cluster, by the name of a context or by its file (with a `/` in it or ending in .toml)' -r
complete -c nomad -n "__fish_nomad_using_subcommand kv; and __fish_seen_subcommand_from get" -s o -l output -d 'How answers are written' -r -f -a "table\t'For people; may change any day'
json\t'One JSON document; a stable contract'
jsonl\t'One JSON object a line'
raw\t'The bare thing: a value\'s exact bytes, ids, a token'"
complete -c nomad -n "__fish_nomad_using_subcommand kv; and __fish_seen_subcommand_from get" -l timeout -d 'How long to wait, such as 500ms, 30s or 2m [default: 10s]' -r
complete -c nomad -n "__fish_nomad_using_subcommand kv; and __fish_seen_subcommand_from get" -l color -d 'When to colour; NO_COLOR is honoured' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t''
never\t''"
complete -c nomad -n "__fish_nomad_using_subcommand kv; and __fish_seen_subcommand_from get" -l meta -d 'Show when it was written and how long it still lives'
complete -c nomad -n "__fish_nomad_using_subcommand kv; and __fish_seen_subcommand_from get" -s y -l yes -d 'Answer questions with yes'
complete -c nomad -n "__fish_nomad_using_subcommand kv; and __fish_seen_subcommand_from get" -s q -l quiet -d 'Only the answer: no notes, no progress'
complete -c nomad -n "__fish_nomad_using_subcommand kv; and __fish_seen_subcommand_from get" -s v -l verbose -d 'Log to stderr what happens; twice: more of it'
complete -c nomad -n "__fish_nomad_using_subcommand kv; and __fish_seen_subcommand_from get" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c nomad -n "__fish_nomad_using_subcommand kv; and __fish_seen_subcommand_from put" -l file -d 'Take the value from a file' -r -F
complete -c nomad -n "__fish_nomad_using_subcommand kv; and __fish_seen_subcommand_from put" -l ttl -d 'How long it lives, such as 30m or 12h; for ever unless given' -r
complete -c nomad -n "__fish_nomad_using_subcommand kv; and __fish_seen_subcommand_from put" -s e -l endpoint -d 'Members to talk to, instead of the context\'s' -r
complete -c nomad -n "__fish_nomad_using_subcommand kv; and __fish_seen_subcommand_from put" -s c -l context -d 'Which cluster, by the name of a context or by its file (with a `/` in it or ending in .toml)' -r
complete -c nomad -n "__fish_nomad_using_subcommand kv; and __fish_seen_subcommand_from put" -s o -l output -d 'How answers are written' -r -f -a "table\t'For people; may change any day'
json\t'One JSON document; a stable contract'
jsonl\t'One JSON object a line'
raw\t'The bare thing: a value\'s exact bytes, ids, a token'"
complete -c nomad -n "__fish_nomad_using_subcommand kv; and __fish_seen_subcommand_from put" -l timeout -d 'How long to wait, such as 500ms, 30s or 2m [default: 10s]' -r
complete -c nomad -n "__fish_nomad_using_subcommand kv; and __fish_seen_subcommand_from put" -l color -d 'When to colour; NO_COLOR is honoured' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t''
never\t''"
complete -c nomad -n "__fish_nomad_using_subcommand kv; and __fish_seen_subcommand_from put" -s y -l yes -d 'Answer questions with yes'
complete -c nomad -n "__fish_nomad_using_subcommand kv; and __fish_seen_subcommand_from put" -s q -l quiet -d 'Only the answer: no notes, no progress'
complete -c nomad -n "__fish_nomad_using_subcommand kv; and __fish_seen_subcommand_from put" -s v -l verbose -d 'Log to stderr what happens; twice: more of it'
complete -c nomad -n "__fish_nomad_using_subcommand kv; and __fish_seen_subcommand_from put" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c nomad -n "__fish_nomad_using_subcommand kv; and __fish_seen_subcommand_from del" -s e -l endpoint -d 'Members to talk to, instead of the context\'s' -r
complete -c nomad -n "__fish_nomad_using_subcommand kv; and __fish_seen_subcommand_from del" -s c -l context -d 'Which cluster, by the name of a context or by its file (with a `/` in it or ending in .toml)' -r
complete -c nomad -n "__fish_nomad_using_subcommand kv; and __fish_seen_subcommand_from del" -s o -l output -d 'How answers are written' -r -f -a "table\t'For people; may change any day'
json\t'One JSON document; a stable contract'
jsonl\t'One JSON object a line'
raw\t'The bare thing: a value\'s exact bytes, ids, a token'"
complete -c nomad -n "__fish_nomad_using_subcommand kv; and __fish_seen_subcommand_from del" -l timeout -d 'How long to wait, such as 500ms, 30s or 2m [default: 10s]' -r
complete -c nomad -n "__fish_nomad_using_subcommand kv; and __fish_seen_subcommand_from del" -l color -d 'When to colour; NO_COLOR is honoured' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t''
never\t''"
complete -c nomad -n "__fish_nomad_using_subcommand kv; and __fish_seen_subcommand_from del" -s y -l yes -d 'Answer questions with yes'
complete -c nomad -n "__fish_nomad_using_subcommand kv; and __fish_seen_subcommand_from del" -s q -l quiet -d 'Only the answer: no notes, no progress'
complete -c nomad -n "__fish_nomad_using_subcommand kv; and __fish_seen_subcommand_from del" -s v -l verbose -d 'Log to stderr what happens; twice: more of it'
complete -c nomad -n "__fish_nomad_using_subcommand kv; and __fish_seen_subcommand_from del" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c nomad -n "__fish_nomad_using_subcommand kv; and __fish_seen_subcommand_from cas" -s e -l endpoint -d 'Members to talk to, instead of the context\'s' -r
complete -c nomad -n "__fish_nomad_using_subcommand kv; and __fish_seen_subcommand_from cas" -s c -l context -d 'Which cluster, by the name of a context or by its file (with a `/` in it or ending in .toml)' -r
complete -c nomad -n "__fish_nomad_using_subcommand kv; and __fish_seen_subcommand_from cas" -s o -l output -d 'How answers are written' -r -f -a "table\t'For people; may change any day'
json\t'One JSON document; a stable contract'
jsonl\t'One JSON object a line'
raw\t'The bare thing: a value\'s exact bytes, ids, a token'"
complete -c nomad -n "__fish_nomad_using_subcommand kv; and __fish_seen_subcommand_from cas" -l timeout -d 'How long to wait, such as 500ms, 30s or 2m [default: 10s]' -r
complete -c nomad -n "__fish_nomad_using_subcommand kv; and __fish_seen_subcommand_from cas" -l color -d 'When to colour; NO_COLOR is honoured' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t''
never\t''"
complete -c nomad -n "__fish_nomad_using_subcommand kv; and __fish_seen_subcommand_from cas" -l absent -d 'Expect that the key is absent'
complete -c nomad -n "__fish_nomad_using_subcommand kv; and __fish_seen_subcommand_from cas" -s y -l yes -d 'Answer questions with yes'
complete -c nomad -n "__fish_nomad_using_subcommand kv; and __fish_seen_subcommand_from cas" -s q -l quiet -d 'Only the answer: no notes, no progress'
complete -c nomad -n "__fish_nomad_using_subcommand kv; and __fish_seen_subcommand_from cas" -s v -l verbose -d 'Log to stderr what happens; twice: more of it'
complete -c nomad -n "__fish_nomad_using_subcommand kv; and __fish_seen_subcommand_from cas" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c nomad -n "__fish_nomad_using_subcommand kv; and __fish_seen_subcommand_from incr" -s e -l endpoint -d 'Members to talk to, instead of the context\'s' -r
complete -c nomad -n "__fish_nomad_using_subcommand kv; and __fish_seen_subcommand_from incr" -s c -l context -d 'Which cluster, by the name of a context or by its file (with a `/` in it or ending in .toml)' -r
complete -c nomad -n "__fish_nomad_using_subcommand kv; and __fish_seen_subcommand_from incr" -s o -l output -d 'How answers are written' -r -f -a "table\t'For people; may change any day'
json\t'One JSON document; a stable contract'
jsonl\t'One JSON object a line'
raw\t'The bare thing: a value\'s exact bytes, ids, a token'"
complete -c nomad -n "__fish_nomad_using_subcommand kv; and __fish_seen_subcommand_from incr" -l timeout -d 'How long to wait, such as 500ms, 30s or 2m [default: 10s]' -r
complete -c nomad -n "__fish_nomad_using_subcommand kv; and __fish_seen_subcommand_from incr" -l color -d 'When to colour; NO_COLOR is honoured' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t''
never\t''"
complete -c nomad -n "__fish_nomad_using_subcommand kv; and __fish_seen_subcommand_from incr" -s y -l yes -d 'Answer questions with yes'
complete -c nomad -n "__fish_nomad_using_subcommand kv; and __fish_seen_subcommand_from incr" -s q -l quiet -d 'Only the answer: no notes, no progress'
complete -c nomad -n "__fish_nomad_using_subcommand kv; and __fish_seen_subcommand_from incr" -s v -l verbose -d 'Log to stderr what happens; twice: more of it'
complete -c nomad -n "__fish_nomad_using_subcommand kv; and __fish_seen_subcommand_from incr" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c nomad -n "__fish_nomad_using_subcommand kv; and __fish_seen_subcommand_from batch" -s e -l endpoint -d 'Members to talk to, instead of the context\'s' -r
complete -c nomad -n "__fish_nomad_using_subcommand kv; and __fish_seen_subcommand_from batch" -s c -l context -d 'Which cluster, by the name of a context or by its file (with a `/` in it or ending in .toml)' -r
complete -c nomad -n "__fish_nomad_using_subcommand kv; and __fish_seen_subcommand_from batch" -s o -l output -d 'How answers are written' -r -f -a "table\t'For people; may change any day'
json\t'One JSON document; a stable contract'
jsonl\t'One JSON object a line'
raw\t'The bare thing: a value\'s exact bytes, ids, a token'"
complete -c nomad -n "__fish_nomad_using_subcommand kv; and __fish_seen_subcommand_from batch" -l timeout -d 'How long to wait, such as 500ms, 30s or 2m [default: 10s]' -r
complete -c nomad -n "__fish_nomad_using_subcommand kv; and __fish_seen_subcommand_from batch" -l color -d 'When to colour; NO_COLOR is honoured' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t''
never\t''"
complete -c nomad -n "__fish_nomad_using_subcommand kv; and __fish_seen_subcommand_from batch" -s y -l yes -d 'Answer questions with yes'
complete -c nomad -n "__fish_nomad_using_subcommand kv; and __fish_seen_subcommand_from batch" -s q -l quiet -d 'Only the answer: no notes, no progress'
complete -c nomad -n "__fish_nomad_using_subcommand kv; and __fish_seen_subcommand_from batch" -s v -l verbose -d 'Log to stderr what happens; twice: more of it'
complete -c nomad -n "__fish_nomad_using_subcommand kv; and __fish_seen_subcommand_from batch" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c nomad -n "__fish_nomad_using_subcommand range" -l prefix -d 'All keys that start so' -r
complete -c nomad -n "__fish_nomad_using_subcommand range" -l limit -d 'At most so many' -r
complete -c nomad -n "__fish_nomad_using_subcommand range" -l consistency -d 'How fresh the answer must be' -r -f -a "linearizable\t'Everything acknowledged before'
session\t'Everything this client has seen'
stale\t'Whatever the nearest replica has'"
complete -c nomad -n "__fish_nomad_using_subcommand range" -l at -d 'As of a timestamp: a number as shown by `ts`, or a moment such as 2026-01-31T12:00:00Z' -r
complete -c nomad -n "__fish_nomad_using_subcommand range" -s e -l endpoint -d 'Members to talk to, instead of the context\'s' -r
complete -c nomad -n "__fish_nomad_using_subcommand range" -s c -l context -d 'Which cluster, by the name of a context or by its file (with a `/` in it or ending in .toml)' -r
complete -c nomad -n "__fish_nomad_using_subcommand range" -s o -l output -d 'How answers are written' -r -f -a "table\t'For people; may change any day'
json\t'One JSON document; a stable contract'
jsonl\t'One JSON object a line'
raw\t'The bare thing: a value\'s exact bytes, ids, a token'"
complete -c nomad -n "__fish_nomad_using_subcommand range" -l timeout -d 'How long to wait, such as 500ms, 30s or 2m [default: 10s]' -r
complete -c nomad -n "__fish_nomad_using_subcommand range" -l color -d 'When to colour; NO_COLOR is honoured' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t''
never\t''"
complete -c nomad -n "__fish_nomad_using_subcommand range" -l reverse -d 'From the last to the first'
complete -c nomad -n "__fish_nomad_using_subcommand range" -s y -l yes -d 'Answer questions with yes'
complete -c nomad -n "__fish_nomad_using_subcommand range" -s q -l quiet -d 'Only the answer: no notes, no progress'
complete -c nomad -n "__fish_nomad_using_subcommand range" -s v -l verbose -d 'Log to stderr what happens; twice: more of it'
complete -c nomad -n "__fish_nomad_using_subcommand range" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c nomad -n "__fish_nomad_using_subcommand bench" -l clients -d 'Clients at work at once' -r
complete -c nomad -n "__fish_nomad_using_subcommand bench" -l connections -d 'Connections to each node, which the clients share' -r
complete -c nomad -n "__fish_nomad_using_subcommand bench" -l value-bytes -d 'Size of a value, in bytes' -r
complete -c nomad -n "__fish_nomad_using_subcommand bench" -l keys -d 'How many keys to choose from' -r
complete -c nomad -n "__fish_nomad_using_subcommand bench" -l seconds -d 'How long to measure, in seconds, such as 10 or 0.5' -r
complete -c nomad -n "__fish_nomad_using_subcommand bench" -l warm-up -d 'How long to work before measuring, in seconds' -r
complete -c nomad -n "__fish_nomad_using_subcommand bench" -l rate -d 'Operations a second, of all clients together, each due at its time: latency counts from then [default: as fast as they go]' -r
complete -c nomad -n "__fish_nomad_using_subcommand bench" -l consistency -d 'How fresh reads must be' -r -f -a "linearizable\t'Everything acknowledged before'
session\t'Everything this client has seen'
stale\t'Whatever the nearest replica has'"
complete -c nomad -n "__fish_nomad_using_subcommand bench" -l scan-length -d 'Rows of a scan' -r
complete -c nomad -n "__fish_nomad_using_subcommand bench" -l seed -d 'Decides which operations on which keys' -r
complete -c nomad -n "__fish_nomad_using_subcommand bench" -l prefix -d 'What all keys begin with' -r
complete -c nomad -n "__fish_nomad_using_subcommand bench" -s e -l endpoint -d 'Members to talk to, instead of the context\'s' -r
complete -c nomad -n "__fish_nomad_using_subcommand bench" -s c -l context -d 'Which cluster, by the name of a context or by its file (with a `/` in it or ending in .toml)' -r
complete -c nomad -n "__fish_nomad_using_subcommand bench" -s o -l output -d 'How answers are written' -r -f -a "table\t'For people; may change any day'
json\t'One JSON document; a stable contract'
jsonl\t'One JSON object a line'
raw\t'The bare thing: a value\'s exact bytes, ids, a token'"
complete -c nomad -n "__fish_nomad_using_subcommand bench" -l timeout -d 'How long to wait, such as 500ms, 30s or 2m [default: 10s]' -r
complete -c nomad -n "__fish_nomad_using_subcommand bench" -l color -d 'When to colour; NO_COLOR is honoured' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t''
never\t''"
complete -c nomad -n "__fish_nomad_using_subcommand bench" -l load-only -d 'Load the keys if they are not there, and nothing else'
complete -c nomad -n "__fish_nomad_using_subcommand bench" -l verify -d 'Read everything back afterwards: is each acknowledged write there, and nothing that failed? Nobody else may write below the prefix meanwhile'
complete -c nomad -n "__fish_nomad_using_subcommand bench" -l check -d 'Note what every client asked and was told, and check afterwards that it is linearizable: that one copy of each key could have told all that. On keys of its own below the prefix, removed afterwards if all is well. The more operations a key has the sharper the check: best with few --keys, such as 1000'
complete -c nomad -n "__fish_nomad_using_subcommand bench" -s y -l yes -d 'Answer questions with yes'
complete -c nomad -n "__fish_nomad_using_subcommand bench" -s q -l quiet -d 'Only the answer: no notes, no progress'
complete -c nomad -n "__fish_nomad_using_subcommand bench" -s v -l verbose -d 'Log to stderr what happens; twice: more of it'
complete -c nomad -n "__fish_nomad_using_subcommand bench" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c nomad -n "__fish_nomad_using_subcommand shard; and not __fish_seen_subcommand_from ls show lead split merge" -s e -l endpoint -d 'Members to talk to, instead of the context\'s' -r
complete -c nomad -n "__fish_nomad_using_subcommand shard; and not __fish_seen_subcommand_from ls show lead split merge" -s c -l context -d 'Which cluster, by the name of a context or by its file (with a `/` in it or ending in .toml)' -r
complete -c nomad -n "__fish_nomad_using_subcommand shard; and not __fish_seen_subcommand_from ls show lead split merge" -s o -l output -d 'How answers are written' -r -f -a "table\t'For people; may change any day'
json\t'One JSON document; a stable contract'
jsonl\t'One JSON object a line'
raw\t'The bare thing: a value\'s exact bytes, ids, a token'"
complete -c nomad -n "__fish_nomad_using_subcommand shard; and not __fish_seen_subcommand_from ls show lead split merge" -l timeout -d 'How long to wait, such as 500ms, 30s or 2m [default: 10s]' -r
complete -c nomad -n "__fish_nomad_using_subcommand shard; and not __fish_seen_subcommand_from ls show lead split merge" -l color -d 'When to colour; NO_COLOR is honoured' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t''
never\t''"
complete -c nomad -n "__fish_nomad_using_subcommand shard; and not __fish_seen_subcommand_from ls show lead split merge" -s y -l yes -d 'Answer questions with yes'
complete -c nomad -n "__fish_nomad_using_subcommand shard; and not __fish_seen_subcommand_from ls show lead split merge" -s q -l quiet -d 'Only the answer: no notes, no progress'
complete -c nomad -n "__fish_nomad_using_subcommand shard; and not __fish_seen_subcommand_from ls show lead split merge" -s v -l verbose -d 'Log to stderr what happens; twice: more of it'
complete -c nomad -n "__fish_nomad_using_subcommand shard; and not __fish_seen_subcommand_from ls show lead split merge" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c nomad -n "__fish_nomad_using_subcommand shard; and not __fish_seen_subcommand_from ls show lead split merge" -f -a "ls" -d 'List all shards, the meta shard first'
complete -c nomad -n "__fish_nomad_using_subcommand shard; and not __fish_seen_subcommand_from ls show lead split merge" -f -a "show" -d 'Show one shard and how far each replica is'
complete -c nomad -n "__fish_nomad_using_subcommand shard; and not __fish_seen_subcommand_from ls show lead split merge" -f -a "lead" -d 'Let another replica lead, which serves its writes and newest reads'
complete -c nomad -n "__fish_nomad_using_subcommand shard; and not __fish_seen_subcommand_from ls show lead split merge" -f -a "split" -d 'Split a shard in two: the upper part of its keys becomes a shard of its own'
complete -c nomad -n "__fish_nomad_using_subcommand shard; and not __fish_seen_subcommand_from ls show lead split merge" -f -a "merge" -d 'Merge a shard with the one whose keys follow: it takes them over'
complete -c nomad -n "__fish_nomad_using_subcommand shard; and __fish_seen_subcommand_from ls" -s e -l endpoint -d 'Members to talk to, instead of the context\'s' -r
complete -c nomad -n "__fish_nomad_using_subcommand shard; and __fish_seen_subcommand_from ls" -s c -l context -d 'Which cluster, by the name of a context or by its file (with a `/` in it or ending in .toml)' -r
complete -c nomad -n "__fish_nomad_using_subcommand shard; and __fish_seen_subcommand_from ls" -s o -l output -d 'How answers are written' -r -f -a "table\t'For people; may change any day'
json\t'One JSON document; a stable contract'
jsonl\t'One JSON object a line'
raw\t'The bare thing: a value\'s exact bytes, ids, a token'"
complete -c nomad -n "__fish_nomad_using_subcommand shard; and __fish_seen_subcommand_from ls" -l timeout -d 'How long to wait, such as 500ms, 30s or 2m [default: 10s]' -r
complete -c nomad -n "__fish_nomad_using_subcommand shard; and __fish_seen_subcommand_from ls" -l color -d 'When to colour; NO_COLOR is honoured' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t''
never\t''"
complete -c nomad -n "__fish_nomad_using_subcommand shard; and __fish_seen_subcommand_from ls" -s y -l yes -d 'Answer questions with yes'
complete -c nomad -n "__fish_nomad_using_subcommand shard; and __fish_seen_subcommand_from ls" -s q -l quiet -d 'Only the answer: no notes, no progress'
complete -c nomad -n "__fish_nomad_using_subcommand shard; and __fish_seen_subcommand_from ls" -s v -l verbose -d 'Log to stderr what happens; twice: more of it'
complete -c nomad -n "__fish_nomad_using_subcommand shard; and __fish_seen_subcommand_from ls" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c nomad -n "__fish_nomad_using_subcommand shard; and __fish_seen_subcommand_from show" -s e -l endpoint -d 'Members to talk to, instead of the context\'s' -r
complete -c nomad -n "__fish_nomad_using_subcommand shard; and __fish_seen_subcommand_from show" -s c -l context -d 'Which cluster, by the name of a context or by its file (with a `/` in it or ending in .toml)' -r
complete -c nomad -n "__fish_nomad_using_subcommand shard; and __fish_seen_subcommand_from show" -s o -l output -d 'How answers are written' -r -f -a "table\t'For people; may change any day'
json\t'One JSON document; a stable contract'
jsonl\t'One JSON object a line'
raw\t'The bare thing: a value\'s exact bytes, ids, a token'"
complete -c nomad -n "__fish_nomad_using_subcommand shard; and __fish_seen_subcommand_from show" -l timeout -d 'How long to wait, such as 500ms, 30s or 2m [default: 10s]' -r
complete -c nomad -n "__fish_nomad_using_subcommand shard; and __fish_seen_subcommand_from show" -l color -d 'When to colour; NO_COLOR is honoured' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t''
never\t''"
complete -c nomad -n "__fish_nomad_using_subcommand shard; and __fish_seen_subcommand_from show" -s y -l yes -d 'Answer questions with yes'
complete -c nomad -n "__fish_nomad_using_subcommand shard; and __fish_seen_subcommand_from show" -s q -l quiet -d 'Only the answer: no notes, no progress'
complete -c nomad -n "__fish_nomad_using_subcommand shard; and __fish_seen_subcommand_from show" -s v -l verbose -d 'Log to stderr what happens; twice: more of it'
complete -c nomad -n "__fish_nomad_using_subcommand shard; and __fish_seen_subcommand_from show" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c nomad -n "__fish_nomad_using_subcommand shard; and __fish_seen_subcommand_from lead" -l to -d 'From which node, as `node ls` shows it' -r
complete -c nomad -n "__fish_nomad_using_subcommand shard; and __fish_seen_subcommand_from lead" -s e -l endpoint -d 'Members to talk to, instead of the context\'s' -r
complete -c nomad -n "__fish_nomad_using_subcommand shard; and __fish_seen_subcommand_from lead" -s c -l context -d 'Which cluster, by the name of a context or by its file (with a `/` in it or ending in .toml)' -r
complete -c nomad -n "__fish_nomad_using_subcommand shard; and __fish_seen_subcommand_from lead" -s o -l output -d 'How answers are written' -r -f -a "table\t'For people; may change any day'
json\t'One JSON document; a stable contract'
jsonl\t'One JSON object a line'
raw\t'The bare thing: a value\'s exact bytes, ids, a token'"
complete -c nomad -n "__fish_nomad_using_subcommand shard; and __fish_seen_subcommand_from lead" -l timeout -d 'How long to wait, such as 500ms, 30s or 2m [default: 10s]' -r
complete -c nomad -n "__fish_nomad_using_subcommand shard; and __fish_seen_subcommand_from lead" -l color -d 'When to colour; NO_COLOR is honoured' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t''
never\t''"
complete -c nomad -n "__fish_nomad_using_subcommand shard; and __fish_seen_subcommand_from lead" -s y -l yes -d 'Answer questions with yes'
complete -c nomad -n "__fish_nomad_using_subcommand shard; and __fish_seen_subcommand_from lead" -s q -l quiet -d 'Only the answer: no notes, no progress'
complete -c nomad -n "__fish_nomad_using_subcommand shard; and __fish_seen_subcommand_from lead" -s v -l verbose -d 'Log to stderr what happens; twice: more of it'
complete -c nomad -n "__fish_nomad_using_subcommand shard; and __fish_seen_subcommand_from lead" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c nomad -n "__fish_nomad_using_subcommand shard; and __fish_seen_subcommand_from split" -l at -d 'The new shard\'s first key [default: the one with as many bytes before it as behind it]' -r
complete -c nomad -n "__fish_nomad_using_subcommand shard; and __fish_seen_subcommand_from split" -s e -l endpoint -d 'Members to talk to, instead of the context\'s' -r
complete -c nomad -n "__fish_nomad_using_subcommand shard; and __fish_seen_subcommand_from split" -s c -l context -d 'Which cluster, by the name of a context or by its file (with a `/` in it or ending in .toml)' -r
complete -c nomad -n "__fish_nomad_using_subcommand shard; and __fish_seen_subcommand_from split" -s o -l output -d 'How answers are written' -r -f -a "table\t'For people; may change any day'
json\t'One JSON document; a stable contract'
jsonl\t'One JSON object a line'
raw\t'The bare thing: a value\'s exact bytes, ids, a token'"
complete -c nomad -n "__fish_nomad_using_subcommand shard; and __fish_seen_subcommand_from split" -l timeout -d 'How long to wait, such as 500ms, 30s or 2m [default: 10s]' -r
complete -c nomad -n "__fish_nomad_using_subcommand shard; and __fish_seen_subcommand_from split" -l color -d 'When to colour; NO_COLOR is honoured' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t''
never\t''"
complete -c nomad -n "__fish_nomad_using_subcommand shard; and __fish_seen_subcommand_from split" -s y -l yes -d 'Answer questions with yes'
complete -c nomad -n "__fish_nomad_using_subcommand shard; and __fish_seen_subcommand_from split" -s q -l quiet -d 'Only the answer: no notes, no progress'
complete -c nomad -n "__fish_nomad_using_subcommand shard; and __fish_seen_subcommand_from split" -s v -l verbose -d 'Log to stderr what happens; twice: more of it'
complete -c nomad -n "__fish_nomad_using_subcommand shard; and __fish_seen_subcommand_from split" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c nomad -n "__fish_nomad_using_subcommand shard; and __fish_seen_subcommand_from merge" -s e -l endpoint -d 'Members to talk to, instead of the context\'s' -r
complete -c nomad -n "__fish_nomad_using_subcommand shard; and __fish_seen_subcommand_from merge" -s c -l context -d 'Which cluster, by the name of a context or by its file (with a `/` in it or ending in .toml)' -r
complete -c nomad -n "__fish_nomad_using_subcommand shard; and __fish_seen_subcommand_from merge" -s o -l output -d 'How answers are written' -r -f -a "table\t'For people; may change any day'
json\t'One JSON document; a stable contract'
jsonl\t'One JSON object a line'
raw\t'The bare thing: a value\'s exact bytes, ids, a token'"
complete -c nomad -n "__fish_nomad_using_subcommand shard; and __fish_seen_subcommand_from merge" -l timeout -d 'How long to wait, such as 500ms, 30s or 2m [default: 10s]' -r
complete -c nomad -n "__fish_nomad_using_subcommand shard; and __fish_seen_subcommand_from merge" -l color -d 'When to colour; NO_COLOR is honoured' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t''
never\t''"
complete -c nomad -n "__fish_nomad_using_subcommand shard; and __fish_seen_subcommand_from merge" -s y -l yes -d 'Answer questions with yes'
complete -c nomad -n "__fish_nomad_using_subcommand shard; and __fish_seen_subcommand_from merge" -s q -l quiet -d 'Only the answer: no notes, no progress'
complete -c nomad -n "__fish_nomad_using_subcommand shard; and __fish_seen_subcommand_from merge" -s v -l verbose -d 'Log to stderr what happens; twice: more of it'
complete -c nomad -n "__fish_nomad_using_subcommand shard; and __fish_seen_subcommand_from merge" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c nomad -n "__fish_nomad_using_subcommand migrate; and not __fish_seen_subcommand_from ls show plan apply plans stop pause resume cancel limit undo" -l shard -d 'Which shard, as `shard ls` shows it' -r
complete -c nomad -n "__fish_nomad_using_subcommand migrate; and not __fish_seen_subcommand_from ls show plan apply plans stop pause resume cancel limit undo" -l to -d 'Where to, as `node ls` shows it' -r
complete -c nomad -n "__fish_nomad_using_subcommand migrate; and not __fish_seen_subcommand_from ls show plan apply plans stop pause resume cancel limit undo" -l from -d 'Which replica moves: the one on this node [default: where only one can be meant]' -r
complete -c nomad -n "__fish_nomad_using_subcommand migrate; and not __fish_seen_subcommand_from ls show plan apply plans stop pause resume cancel limit undo" -l keep-p99 -d 'Copy slower while a hundredth of the requests at its nodes takes longer than this, such as 10ms [default: the setting `migration_keep_p99_ms`]' -r
complete -c nomad -n "__fish_nomad_using_subcommand migrate; and not __fish_seen_subcommand_from ls show plan apply plans stop pause resume cancel limit undo" -s e -l endpoint -d 'Members to talk to, instead of the context\'s' -r
complete -c nomad -n "__fish_nomad_using_subcommand migrate; and not __fish_seen_subcommand_from ls show plan apply plans stop pause resume cancel limit undo" -s c -l context -d 'Which cluster, by the name of a context or by its file (with a `/` in it or ending in .toml)' -r
complete -c nomad -n "__fish_nomad_using_subcommand migrate; and not __fish_seen_subcommand_from ls show plan apply plans stop pause resume cancel limit undo" -s o -l output -d 'How answers are written' -r -f -a "table\t'For people; may change any day'
json\t'One JSON document; a stable contract'
jsonl\t'One JSON object a line'
raw\t'The bare thing: a value\'s exact bytes, ids, a token'"
complete -c nomad -n "__fish_nomad_using_subcommand migrate; and not __fish_seen_subcommand_from ls show plan apply plans stop pause resume cancel limit undo" -l timeout -d 'How long to wait, such as 500ms, 30s or 2m [default: 10s]' -r
complete -c nomad -n "__fish_nomad_using_subcommand migrate; and not __fish_seen_subcommand_from ls show plan apply plans stop pause resume cancel limit undo" -l color -d 'When to colour; NO_COLOR is honoured' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t''
never\t''"
complete -c nomad -n "__fish_nomad_using_subcommand migrate; and not __fish_seen_subcommand_from ls show plan apply plans stop pause resume cancel limit undo" -l force -d 'Also where that puts two replicas into a zone that could be apart'
complete -c nomad -n "__fish_nomad_using_subcommand migrate; and not __fish_seen_subcommand_from ls show plan apply plans stop pause resume cancel limit undo" -l detach -d 'Begin it and do not watch'
complete -c nomad -n "__fish_nomad_using_subcommand migrate; and not __fish_seen_subcommand_from ls show plan apply plans stop pause resume cancel limit undo" -l wait -d 'Watch until it cannot be undone any more and nothing is left of the old replica'
complete -c nomad -n "__fish_nomad_using_subcommand migrate; and not __fish_seen_subcommand_from ls show plan apply plans stop pause resume cancel limit undo" -s y -l yes -d 'Answer questions with yes'
complete -c nomad -n "__fish_nomad_using_subcommand migrate; and not __fish_seen_subcommand_from ls show plan apply plans stop pause resume cancel limit undo" -s q -l quiet -d 'Only the answer: no notes, no progress'
complete -c nomad -n "__fish_nomad_using_subcommand migrate; and not __fish_seen_subcommand_from ls show plan apply plans stop pause resume cancel limit undo" -s v -l verbose -d 'Log to stderr what happens; twice: more of it'
complete -c nomad -n "__fish_nomad_using_subcommand migrate; and not __fish_seen_subcommand_from ls show plan apply plans stop pause resume cancel limit undo" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c nomad -n "__fish_nomad_using_subcommand migrate; and not __fish_seen_subcommand_from ls show plan apply plans stop pause resume cancel limit undo" -f -a "ls" -d 'List those under way and those that ended within a day, oldest first'
complete -c nomad -n "__fish_nomad_using_subcommand migrate; and not __fish_seen_subcommand_from ls show plan apply plans stop pause resume cancel limit undo" -f -a "show" -d 'Show one'
complete -c nomad -n "__fish_nomad_using_subcommand migrate; and not __fish_seen_subcommand_from ls show plan apply plans stop pause resume cancel limit undo" -f -a "plan" -d 'Show what would move if something happened, and move nothing'
complete -c nomad -n "__fish_nomad_using_subcommand migrate; and not __fish_seen_subcommand_from ls show plan apply plans stop pause resume cancel limit undo" -f -a "apply" -d 'Carry out a plan, exactly as it was printed, if replicas and nodes are still where they were'
complete -c nomad -n "__fish_nomad_using_subcommand migrate; and not __fish_seen_subcommand_from ls show plan apply plans stop pause resume cancel limit undo" -f -a "plans" -d 'List the plans that are, or were, carried out, oldest first'
complete -c nomad -n "__fish_nomad_using_subcommand migrate; and not __fish_seen_subcommand_from ls show plan apply plans stop pause resume cancel limit undo" -f -a "stop" -d 'Begin nothing more of a plan; what has begun comes to its end'
complete -c nomad -n "__fish_nomad_using_subcommand migrate; and not __fish_seen_subcommand_from ls show plan apply plans stop pause resume cancel limit undo" -f -a "pause" -d 'Have one stand still'
complete -c nomad -n "__fish_nomad_using_subcommand migrate; and not __fish_seen_subcommand_from ls show plan apply plans stop pause resume cancel limit undo" -f -a "resume" -d 'Let one go on'
complete -c nomad -n "__fish_nomad_using_subcommand migrate; and not __fish_seen_subcommand_from ls show plan apply plans stop pause resume cancel limit undo" -f -a "cancel" -d 'Give one up before its cut-over: everything is as it was'
complete -c nomad -n "__fish_nomad_using_subcommand migrate; and not __fish_seen_subcommand_from ls show plan apply plans stop pause resume cancel limit undo" -f -a "limit" -d 'Bound how fast shards are copied, on all nodes, now'
complete -c nomad -n "__fish_nomad_using_subcommand migrate; and not __fish_seen_subcommand_from ls show plan apply plans stop pause resume cancel limit undo" -f -a "undo" -d 'Take one back after its cut-over: nothing is copied'
complete -c nomad -n "__fish_nomad_using_subcommand migrate; and __fish_seen_subcommand_from ls" -s e -l endpoint -d 'Members to talk to, instead of the context\'s' -r
complete -c nomad -n "__fish_nomad_using_subcommand migrate; and __fish_seen_subcommand_from ls" -s c -l context -d 'Which cluster, by the name of a context or by its file (with a `/` in it or ending in .toml)' -r
complete -c nomad -n "__fish_nomad_using_subcommand migrate; and __fish_seen_subcommand_from ls" -s o -l output -d 'How answers are written' -r -f -a "table\t'For people; may change any day'
json\t'One JSON document; a stable contract'
jsonl\t'One JSON object a line'
raw\t'The bare thing: a value\'s exact bytes, ids, a token'"
complete -c nomad -n "__fish_nomad_using_subcommand migrate; and __fish_seen_subcommand_from ls" -l timeout -d 'How long to wait, such as 500ms, 30s or 2m [default: 10s]' -r
complete -c nomad -n "__fish_nomad_using_subcommand migrate; and __fish_seen_subcommand_from ls" -l color -d 'When to colour; NO_COLOR is honoured' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t''
never\t''"
complete -c nomad -n "__fish_nomad_using_subcommand migrate; and __fish_seen_subcommand_from ls" -s y -l yes -d 'Answer questions with yes'
complete -c nomad -n "__fish_nomad_using_subcommand migrate; and __fish_seen_subcommand_from ls" -s q -l quiet -d 'Only the answer: no notes, no progress'
complete -c nomad -n "__fish_nomad_using_subcommand migrate; and __fish_seen_subcommand_from ls" -s v -l verbose -d 'Log to stderr what happens; twice: more of it'
complete -c nomad -n "__fish_nomad_using_subcommand migrate; and __fish_seen_subcommand_from ls" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c nomad -n "__fish_nomad_using_subcommand migrate; and __fish_seen_subcommand_from show" -s e -l endpoint -d 'Members to talk to, instead of the context\'s' -r
complete -c nomad -n "__fish_nomad_using_subcommand migrate; and __fish_seen_subcommand_from show" -s c -l context -d 'Which cluster, by the name of a context or by its file (with a `/` in it or ending in .toml)' -r
complete -c nomad -n "__fish_nomad_using_subcommand migrate; and __fish_seen_subcommand_from show" -s o -l output -d 'How answers are written' -r -f -a "table\t'For people; may change any day'
json\t'One JSON document; a stable contract'
jsonl\t'One JSON object a line'
raw\t'The bare thing: a value\'s exact bytes, ids, a token'"
complete -c nomad -n "__fish_nomad_using_subcommand migrate; and __fish_seen_subcommand_from show" -l timeout -d 'How long to wait, such as 500ms, 30s or 2m [default: 10s]' -r
complete -c nomad -n "__fish_nomad_using_subcommand migrate; and __fish_seen_subcommand_from show" -l color -d 'When to colour; NO_COLOR is honoured' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t''
never\t''"
complete -c nomad -n "__fish_nomad_using_subcommand migrate; and __fish_seen_subcommand_from show" -s w -l watch -d 'Watch it until the shard is where it will stay'
complete -c nomad -n "__fish_nomad_using_subcommand migrate; and __fish_seen_subcommand_from show" -s y -l yes -d 'Answer questions with yes'
complete -c nomad -n "__fish_nomad_using_subcommand migrate; and __fish_seen_subcommand_from show" -s q -l quiet -d 'Only the answer: no notes, no progress'
complete -c nomad -n "__fish_nomad_using_subcommand migrate; and __fish_seen_subcommand_from show" -s v -l verbose -d 'Log to stderr what happens; twice: more of it'
complete -c nomad -n "__fish_nomad_using_subcommand migrate; and __fish_seen_subcommand_from show" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c nomad -n "__fish_nomad_using_subcommand migrate; and __fish_seen_subcommand_from plan" -l drain -d 'If this node were drained' -r
complete -c nomad -n "__fish_nomad_using_subcommand migrate; and __fish_seen_subcommand_from plan" -l join -d 'What this node, which has joined, is still to get' -r
complete -c nomad -n "__fish_nomad_using_subcommand migrate; and __fish_seen_subcommand_from plan" -l shard -d 'If a replica of this shard were moved' -r
complete -c nomad -n "__fish_nomad_using_subcommand migrate; and __fish_seen_subcommand_from plan" -l to -d 'With --shard: where to' -r
complete -c nomad -n "__fish_nomad_using_subcommand migrate; and __fish_seen_subcommand_from plan" -l from -d 'With --shard: which replica [default: where only one can be meant]' -r
complete -c nomad -n "__fish_nomad_using_subcommand migrate; and __fish_seen_subcommand_from plan" -s e -l endpoint -d 'Members to talk to, instead of the context\'s' -r
complete -c nomad -n "__fish_nomad_using_subcommand migrate; and __fish_seen_subcommand_from plan" -s c -l context -d 'Which cluster, by the name of a context or by its file (with a `/` in it or ending in .toml)' -r
complete -c nomad -n "__fish_nomad_using_subcommand migrate; and __fish_seen_subcommand_from plan" -s o -l output -d 'How answers are written' -r -f -a "table\t'For people; may change any day'
json\t'One JSON document; a stable contract'
jsonl\t'One JSON object a line'
raw\t'The bare thing: a value\'s exact bytes, ids, a token'"
complete -c nomad -n "__fish_nomad_using_subcommand migrate; and __fish_seen_subcommand_from plan" -l timeout -d 'How long to wait, such as 500ms, 30s or 2m [default: 10s]' -r
complete -c nomad -n "__fish_nomad_using_subcommand migrate; and __fish_seen_subcommand_from plan" -l color -d 'When to colour; NO_COLOR is honoured' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t''
never\t''"
complete -c nomad -n "__fish_nomad_using_subcommand migrate; and __fish_seen_subcommand_from plan" -l rebalance -d 'If nodes were evened out'
complete -c nomad -n "__fish_nomad_using_subcommand migrate; and __fish_seen_subcommand_from plan" -s y -l yes -d 'Answer questions with yes'
complete -c nomad -n "__fish_nomad_using_subcommand migrate; and __fish_seen_subcommand_from plan" -s q -l quiet -d 'Only the answer: no notes, no progress'
complete -c nomad -n "__fish_nomad_using_subcommand migrate; and __fish_seen_subcommand_from plan" -s v -l verbose -d 'Log to stderr what happens; twice: more of it'
complete -c nomad -n "__fish_nomad_using_subcommand migrate; and __fish_seen_subcommand_from plan" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c nomad -n "__fish_nomad_using_subcommand migrate; and __fish_seen_subcommand_from apply" -s e -l endpoint -d 'Members to talk to, instead of the context\'s' -r
complete -c nomad -n "__fish_nomad_using_subcommand migrate; and __fish_seen_subcommand_from apply" -s c -l context -d 'Which cluster, by the name of a context or by its file (with a `/` in it or ending in .toml)' -r
complete -c nomad -n "__fish_nomad_using_subcommand migrate; and __fish_seen_subcommand_from apply" -s o -l output -d 'How answers are written' -r -f -a "table\t'For people; may change any day'
json\t'One JSON document; a stable contract'
jsonl\t'One JSON object a line'
raw\t'The bare thing: a value\'s exact bytes, ids, a token'"
complete -c nomad -n "__fish_nomad_using_subcommand migrate; and __fish_seen_subcommand_from apply" -l timeout -d 'How long to wait, such as 500ms, 30s or 2m [default: 10s]' -r
complete -c nomad -n "__fish_nomad_using_subcommand migrate; and __fish_seen_subcommand_from apply" -l color -d 'When to colour; NO_COLOR is honoured' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t''
never\t''"
complete -c nomad -n "__fish_nomad_using_subcommand migrate; and __fish_seen_subcommand_from apply" -l detach -d 'Begin it and do not watch'
complete -c nomad -n "__fish_nomad_using_subcommand migrate; and __fish_seen_subcommand_from apply" -s y -l yes -d 'Answer questions with yes'
complete -c nomad -n "__fish_nomad_using_subcommand migrate; and __fish_seen_subcommand_from apply" -s q -l quiet -d 'Only the answer: no notes, no progress'
complete -c nomad -n "__fish_nomad_using_subcommand migrate; and __fish_seen_subcommand_from apply" -s v -l verbose -d 'Log to stderr what happens; twice: more of it'
complete -c nomad -n "__fish_nomad_using_subcommand migrate; and __fish_seen_subcommand_from apply" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c nomad -n "__fish_nomad_using_subcommand migrate; and __fish_seen_subcommand_from plans" -s e -l endpoint -d 'Members to talk to, instead of the context\'s' -r
complete -c nomad -n "__fish_nomad_using_subcommand migrate; and __fish_seen_subcommand_from plans" -s c -l context -d 'Which cluster, by the name of a context or by its file (with a `/` in it or ending in .toml)' -r
complete -c nomad -n "__fish_nomad_using_subcommand migrate; and __fish_seen_subcommand_from plans" -s o -l output -d 'How answers are written' -r -f -a "table\t'For people; may change any day'
json\t'One JSON document; a stable contract'
jsonl\t'One JSON object a line'
raw\t'The bare thing: a value\'s exact bytes, ids, a token'"
complete -c nomad -n "__fish_nomad_using_subcommand migrate; and __fish_seen_subcommand_from plans" -l timeout -d 'How long to wait, such as 500ms, 30s or 2m [default: 10s]' -r
complete -c nomad -n "__fish_nomad_using_subcommand migrate; and __fish_seen_subcommand_from plans" -l color -d 'When to colour; NO_COLOR is honoured' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t''
never\t''"
complete -c nomad -n "__fish_nomad_using_subcommand migrate; and __fish_seen_subcommand_from plans" -s y -l yes -d 'Answer questions with yes'
complete -c nomad -n "__fish_nomad_using_subcommand migrate; and __fish_seen_subcommand_from plans" -s q -l quiet -d 'Only the answer: no notes, no progress'
complete -c nomad -n "__fish_nomad_using_subcommand migrate; and __fish_seen_subcommand_from plans" -s v -l verbose -d 'Log to stderr what happens; twice: more of it'
complete -c nomad -n "__fish_nomad_using_subcommand migrate; and __fish_seen_subcommand_from plans" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c nomad -n "__fish_nomad_using_subcommand migrate; and __fish_seen_subcommand_from stop" -s e -l endpoint -d 'Members to talk to, instead of the context\'s' -r
complete -c nomad -n "__fish_nomad_using_subcommand migrate; and __fish_seen_subcommand_from stop" -s c -l context -d 'Which cluster, by the name of a context or by its file (with a `/` in it or ending in .toml)' -r
complete -c nomad -n "__fish_nomad_using_subcommand migrate; and __fish_seen_subcommand_from stop" -s o -l output -d 'How answers are written' -r -f -a "table\t'For people; may change any day'
json\t'One JSON document; a stable contract'
jsonl\t'One JSON object a line'
raw\t'The bare thing: a value\'s exact bytes, ids, a token'"
complete -c nomad -n "__fish_nomad_using_subcommand migrate; and __fish_seen_subcommand_from stop" -l timeout -d 'How long to wait, such as 500ms, 30s or 2m [default: 10s]' -r
complete -c nomad -n "__fish_nomad_using_subcommand migrate; and __fish_seen_subcommand_from stop" -l color -d 'When to colour; NO_COLOR is honoured' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t''
never\t''"
complete -c nomad -n "__fish_nomad_using_subcommand migrate; and __fish_seen_subcommand_from stop" -s y -l yes -d 'Answer questions with yes'
complete -c nomad -n "__fish_nomad_using_subcommand migrate; and __fish_seen_subcommand_from stop" -s q -l quiet -d 'Only the answer: no notes, no progress'
complete -c nomad -n "__fish_nomad_using_subcommand migrate; and __fish_seen_subcommand_from stop" -s v -l verbose -d 'Log to stderr what happens; twice: more of it'
complete -c nomad -n "__fish_nomad_using_subcommand migrate; and __fish_seen_subcommand_from stop" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c nomad -n "__fish_nomad_using_subcommand migrate; and __fish_seen_subcommand_from pause" -s e -l endpoint -d 'Members to talk to, instead of the context\'s' -r
complete -c nomad -n "__fish_nomad_using_subcommand migrate; and __fish_seen_subcommand_from pause" -s c -l context -d 'Which cluster, by the name of a context or by its file (with a `/` in it or ending in .toml)' -r
complete -c nomad -n "__fish_nomad_using_subcommand migrate; and __fish_seen_subcommand_from pause" -s o -l output -d 'How answers are written' -r -f -a "table\t'For people; may change any day'
json\t'One JSON document; a stable contract'
jsonl\t'One JSON object a line'
raw\t'The bare thing: a value\'s exact bytes, ids, a token'"
complete -c nomad -n "__fish_nomad_using_subcommand migrate; and __fish_seen_subcommand_from pause" -l timeout -d 'How long to wait, such as 500ms, 30s or 2m [default: 10s]' -r
complete -c nomad -n "__fish_nomad_using_subcommand migrate; and __fish_seen_subcommand_from pause" -l color -d 'When to colour; NO_COLOR is honoured' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t''
never\t''"
complete -c nomad -n "__fish_nomad_using_subcommand migrate; and __fish_seen_subcommand_from pause" -s y -l yes -d 'Answer questions with yes'
complete -c nomad -n "__fish_nomad_using_subcommand migrate; and __fish_seen_subcommand_from pause" -s q -l quiet -d 'Only the answer: no notes, no progress'
complete -c nomad -n "__fish_nomad_using_subcommand migrate; and __fish_seen_subcommand_from pause" -s v -l verbose -d 'Log to stderr what happens; twice: more of it'
complete -c nomad -n "__fish_nomad_using_subcommand migrate; and __fish_seen_subcommand_from pause" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c nomad -n "__fish_nomad_using_subcommand migrate; and __fish_seen_subcommand_from resume" -s e -l endpoint -d 'Members to talk to, instead of the context\'s' -r
complete -c nomad -n "__fish_nomad_using_subcommand migrate; and __fish_seen_subcommand_from resume" -s c -l context -d 'Which cluster, by the name of a context or by its file (with a `/` in it or ending in .toml)' -r
complete -c nomad -n "__fish_nomad_using_subcommand migrate; and __fish_seen_subcommand_from resume" -s o -l output -d 'How answers are written' -r -f -a "table\t'For people; may change any day'
json\t'One JSON document; a stable contract'
jsonl\t'One JSON object a line'
raw\t'The bare thing: a value\'s exact bytes, ids, a token'"
complete -c nomad -n "__fish_nomad_using_subcommand migrate; and __fish_seen_subcommand_from resume" -l timeout -d 'How long to wait, such as 500ms, 30s or 2m [default: 10s]' -r
complete -c nomad -n "__fish_nomad_using_subcommand migrate; and __fish_seen_subcommand_from resume" -l color -d 'When to colour; NO_COLOR is honoured' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t''
never\t''"
complete -c nomad -n "__fish_nomad_using_subcommand migrate; and __fish_seen_subcommand_from resume" -s y -l yes -d 'Answer questions with yes'
complete -c nomad -n "__fish_nomad_using_subcommand migrate; and __fish_seen_subcommand_from resume" -s q -l quiet -d 'Only the answer: no notes, no progress'
complete -c nomad -n "__fish_nomad_using_subcommand migrate; and __fish_seen_subcommand_from resume" -s v -l verbose -d 'Log to stderr what happens; twice: more of it'
complete -c nomad -n "__fish_nomad_using_subcommand migrate; and __fish_seen_subcommand_from resume" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c nomad -n "__fish_nomad_using_subcommand migrate; and __fish_seen_subcommand_from cancel" -s e -l endpoint -d 'Members to talk to, instead of the context\'s' -r
complete -c nomad -n "__fish_nomad_using_subcommand migrate; and __fish_seen_subcommand_from cancel" -s c -l context -d 'Which cluster, by the name of a context or by its file (with a `/` in it or ending in .toml)' -r
complete -c nomad -n "__fish_nomad_using_subcommand migrate; and __fish_seen_subcommand_from cancel" -s o -l output -d 'How answers are written' -r -f -a "table\t'For people; may change any day'
json\t'One JSON document; a stable contract'
jsonl\t'One JSON object a line'
raw\t'The bare thing: a value\'s exact bytes, ids, a token'"
complete -c nomad -n "__fish_nomad_using_subcommand migrate; and __fish_seen_subcommand_from cancel" -l timeout -d 'How long to wait, such as 500ms, 30s or 2m [default: 10s]' -r
complete -c nomad -n "__fish_nomad_using_subcommand migrate; and __fish_seen_subcommand_from cancel" -l color -d 'When to colour; NO_COLOR is honoured' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t''
never\t''"
complete -c nomad -n "__fish_nomad_using_subcommand migrate; and __fish_seen_subcommand_from cancel" -s y -l yes -d 'Answer questions with yes'
complete -c nomad -n "__fish_nomad_using_subcommand migrate; and __fish_seen_subcommand_from cancel" -s q -l quiet -d 'Only the answer: no notes, no progress'
complete -c nomad -n "__fish_nomad_using_subcommand migrate; and __fish_seen_subcommand_from cancel" -s v -l verbose -d 'Log to stderr what happens; twice: more of it'
complete -c nomad -n "__fish_nomad_using_subcommand migrate; and __fish_seen_subcommand_from cancel" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c nomad -n "__fish_nomad_using_subcommand migrate; and __fish_seen_subcommand_from limit" -s e -l endpoint -d 'Members to talk to, instead of the context\'s' -r
complete -c nomad -n "__fish_nomad_using_subcommand migrate; and __fish_seen_subcommand_from limit" -s c -l context -d 'Which cluster, by the name of a context or by its file (with a `/` in it or ending in .toml)' -r
complete -c nomad -n "__fish_nomad_using_subcommand migrate; and __fish_seen_subcommand_from limit" -s o -l output -d 'How answers are written' -r -f -a "table\t'For people; may change any day'
json\t'One JSON document; a stable contract'
jsonl\t'One JSON object a line'
raw\t'The bare thing: a value\'s exact bytes, ids, a token'"
complete -c nomad -n "__fish_nomad_using_subcommand migrate; and __fish_seen_subcommand_from limit" -l timeout -d 'How long to wait, such as 500ms, 30s or 2m [default: 10s]' -r
complete -c nomad -n "__fish_nomad_using_subcommand migrate; and __fish_seen_subcommand_from limit" -l color -d 'When to colour; NO_COLOR is honoured' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t''
never\t''"
complete -c nomad -n "__fish_nomad_using_subcommand migrate; and __fish_seen_subcommand_from limit" -s y -l yes -d 'Answer questions with yes'
complete -c nomad -n "__fish_nomad_using_subcommand migrate; and __fish_seen_subcommand_from limit" -s q -l quiet -d 'Only the answer: no notes, no progress'
complete -c nomad -n "__fish_nomad_using_subcommand migrate; and __fish_seen_subcommand_from limit" -s v -l verbose -d 'Log to stderr what happens; twice: more of it'
complete -c nomad -n "__fish_nomad_using_subcommand migrate; and __fish_seen_subcommand_from limit" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c nomad -n "__fish_nomad_using_subcommand migrate; and __fish_seen_subcommand_from undo" -s e -l endpoint -d 'Members to talk to, instead of the context\'s' -r
complete -c nomad -n "__fish_nomad_using_subcommand migrate; and __fish_seen_subcommand_from undo" -s c -l context -d 'Which cluster, by the name of a context or by its file (with a `/` in it or ending in .toml)' -r
complete -c nomad -n "__fish_nomad_using_subcommand migrate; and __fish_seen_subcommand_from undo" -s o -l output -d 'How answers are written' -r -f -a "table\t'For people; may change any day'
json\t'One JSON document; a stable contract'
jsonl\t'One JSON object a line'
raw\t'The bare thing: a value\'s exact bytes, ids, a token'"
complete -c nomad -n "__fish_nomad_using_subcommand migrate; and __fish_seen_subcommand_from undo" -l timeout -d 'How long to wait, such as 500ms, 30s or 2m [default: 10s]' -r
complete -c nomad -n "__fish_nomad_using_subcommand migrate; and __fish_seen_subcommand_from undo" -l color -d 'When to colour; NO_COLOR is honoured' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t''
never\t''"
complete -c nomad -n "__fish_nomad_using_subcommand migrate; and __fish_seen_subcommand_from undo" -s y -l yes -d 'Answer questions with yes'
complete -c nomad -n "__fish_nomad_using_subcommand migrate; and __fish_seen_subcommand_from undo" -s q -l quiet -d 'Only the answer: no notes, no progress'
complete -c nomad -n "__fish_nomad_using_subcommand migrate; and __fish_seen_subcommand_from undo" -s v -l verbose -d 'Log to stderr what happens; twice: more of it'
complete -c nomad -n "__fish_nomad_using_subcommand migrate; and __fish_seen_subcommand_from undo" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c nomad -n "__fish_nomad_using_subcommand node; and not __fish_seen_subcommand_from ls show drain undrain remove" -s e -l endpoint -d 'Members to talk to, instead of the context\'s' -r
complete -c nomad -n "__fish_nomad_using_subcommand node; and not __fish_seen_subcommand_from ls show drain undrain remove" -s c -l context -d 'Which cluster, by the name of a context or by its file (with a `/` in it or ending in .toml)' -r
complete -c nomad -n "__fish_nomad_using_subcommand node; and not __fish_seen_subcommand_from ls show drain undrain remove" -s o -l output -d 'How answers are written' -r -f -a "table\t'For people; may change any day'
json\t'One JSON document; a stable contract'
jsonl\t'One JSON object a line'
raw\t'The bare thing: a value\'s exact bytes, ids, a token'"
complete -c nomad -n "__fish_nomad_using_subcommand node; and not __fish_seen_subcommand_from ls show drain undrain remove" -l timeout -d 'How long to wait, such as 500ms, 30s or 2m [default: 10s]' -r
complete -c nomad -n "__fish_nomad_using_subcommand node; and not __fish_seen_subcommand_from ls show drain undrain remove" -l color -d 'When to colour; NO_COLOR is honoured' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t''
never\t''"
complete -c nomad -n "__fish_nomad_using_subcommand node; and not __fish_seen_subcommand_from ls show drain undrain remove" -s y -l yes -d 'Answer questions with yes'
complete -c nomad -n "__fish_nomad_using_subcommand node; and not __fish_seen_subcommand_from ls show drain undrain remove" -s q -l quiet -d 'Only the answer: no notes, no progress'
complete -c nomad -n "__fish_nomad_using_subcommand node; and not __fish_seen_subcommand_from ls show drain undrain remove" -s v -l verbose -d 'Log to stderr what happens; twice: more of it'
complete -c nomad -n "__fish_nomad_using_subcommand node; and not __fish_seen_subcommand_from ls show drain undrain remove" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c nomad -n "__fish_nomad_using_subcommand node; and not __fish_seen_subcommand_from ls show drain undrain remove" -f -a "ls" -d 'List all nodes'
complete -c nomad -n "__fish_nomad_using_subcommand node; and not __fish_seen_subcommand_from ls show drain undrain remove" -f -a "show" -d 'Show one node'
complete -c nomad -n "__fish_nomad_using_subcommand node; and not __fish_seen_subcommand_from ls show drain undrain remove" -f -a "drain" -d 'Move all shards of a node elsewhere, live'
complete -c nomad -n "__fish_nomad_using_subcommand node; and not __fish_seen_subcommand_from ls show drain undrain remove" -f -a "undrain" -d 'Let a node that is drained stay after all'
complete -c nomad -n "__fish_nomad_using_subcommand node; and not __fish_seen_subcommand_from ls show drain undrain remove" -f -a "remove" -d 'Take a node out of the cluster for good'
complete -c nomad -n "__fish_nomad_using_subcommand node; and __fish_seen_subcommand_from ls" -s e -l endpoint -d 'Members to talk to, instead of the context\'s' -r
complete -c nomad -n "__fish_nomad_using_subcommand node; and __fish_seen_subcommand_from ls" -s c -l context -d 'Which cluster, by the name of a context or by its file (with a `/` in it or ending in .toml)' -r
complete -c nomad -n "__fish_nomad_using_subcommand node; and __fish_seen_subcommand_from ls" -s o -l output -d 'How answers are written' -r -f -a "table\t'For people; may change any day'
json\t'One JSON document; a stable contract'
jsonl\t'One JSON object a line'
raw\t'The bare thing: a value\'s exact bytes, ids, a token'"
complete -c nomad -n "__fish_nomad_using_subcommand node; and __fish_seen_subcommand_from ls" -l timeout -d 'How long to wait, such as 500ms, 30s or 2m [default: 10s]' -r
complete -c nomad -n "__fish_nomad_using_subcommand node; and __fish_seen_subcommand_from ls" -l color -d 'When to colour; NO_COLOR is honoured' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t''
never\t''"
complete -c nomad -n "__fish_nomad_using_subcommand node; and __fish_seen_subcommand_from ls" -s y -l yes -d 'Answer questions with yes'
complete -c nomad -n "__fish_nomad_using_subcommand node; and __fish_seen_subcommand_from ls" -s q -l quiet -d 'Only the answer: no notes, no progress'
complete -c nomad -n "__fish_nomad_using_subcommand node; and __fish_seen_subcommand_from ls" -s v -l verbose -d 'Log to stderr what happens; twice: more of it'
complete -c nomad -n "__fish_nomad_using_subcommand node; and __fish_seen_subcommand_from ls" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c nomad -n "__fish_nomad_using_subcommand node; and __fish_seen_subcommand_from show" -s e -l endpoint -d 'Members to talk to, instead of the context\'s' -r
complete -c nomad -n "__fish_nomad_using_subcommand node; and __fish_seen_subcommand_from show" -s c -l context -d 'Which cluster, by the name of a context or by its file (with a `/` in it or ending in .toml)' -r
complete -c nomad -n "__fish_nomad_using_subcommand node; and __fish_seen_subcommand_from show" -s o -l output -d 'How answers are written' -r -f -a "table\t'For people; may change any day'
json\t'One JSON document; a stable contract'
jsonl\t'One JSON object a line'
raw\t'The bare thing: a value\'s exact bytes, ids, a token'"
complete -c nomad -n "__fish_nomad_using_subcommand node; and __fish_seen_subcommand_from show" -l timeout -d 'How long to wait, such as 500ms, 30s or 2m [default: 10s]' -r
complete -c nomad -n "__fish_nomad_using_subcommand node; and __fish_seen_subcommand_from show" -l color -d 'When to colour; NO_COLOR is honoured' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t''
never\t''"
complete -c nomad -n "__fish_nomad_using_subcommand node; and __fish_seen_subcommand_from show" -s y -l yes -d 'Answer questions with yes'
complete -c nomad -n "__fish_nomad_using_subcommand node; and __fish_seen_subcommand_from show" -s q -l quiet -d 'Only the answer: no notes, no progress'
complete -c nomad -n "__fish_nomad_using_subcommand node; and __fish_seen_subcommand_from show" -s v -l verbose -d 'Log to stderr what happens; twice: more of it'
complete -c nomad -n "__fish_nomad_using_subcommand node; and __fish_seen_subcommand_from show" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c nomad -n "__fish_nomad_using_subcommand node; and __fish_seen_subcommand_from drain" -s e -l endpoint -d 'Members to talk to, instead of the context\'s' -r
complete -c nomad -n "__fish_nomad_using_subcommand node; and __fish_seen_subcommand_from drain" -s c -l context -d 'Which cluster, by the name of a context or by its file (with a `/` in it or ending in .toml)' -r
complete -c nomad -n "__fish_nomad_using_subcommand node; and __fish_seen_subcommand_from drain" -s o -l output -d 'How answers are written' -r -f -a "table\t'For people; may change any day'
json\t'One JSON document; a stable contract'
jsonl\t'One JSON object a line'
raw\t'The bare thing: a value\'s exact bytes, ids, a token'"
complete -c nomad -n "__fish_nomad_using_subcommand node; and __fish_seen_subcommand_from drain" -l timeout -d 'How long to wait, such as 500ms, 30s or 2m [default: 10s]' -r
complete -c nomad -n "__fish_nomad_using_subcommand node; and __fish_seen_subcommand_from drain" -l color -d 'When to colour; NO_COLOR is honoured' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t''
never\t''"
complete -c nomad -n "__fish_nomad_using_subcommand node; and __fish_seen_subcommand_from drain" -l wait -d 'Watch it until nothing is left on the node'
complete -c nomad -n "__fish_nomad_using_subcommand node; and __fish_seen_subcommand_from drain" -l force -d 'Also where too few nodes are left for as many copies as are set'
complete -c nomad -n "__fish_nomad_using_subcommand node; and __fish_seen_subcommand_from drain" -l dry-run -d 'Show what would move, and move nothing'
complete -c nomad -n "__fish_nomad_using_subcommand node; and __fish_seen_subcommand_from drain" -s y -l yes -d 'Answer questions with yes'
complete -c nomad -n "__fish_nomad_using_subcommand node; and __fish_seen_subcommand_from drain" -s q -l quiet -d 'Only the answer: no notes, no progress'
complete -c nomad -n "__fish_nomad_using_subcommand node; and __fish_seen_subcommand_from drain" -s v -l verbose -d 'Log to stderr what happens; twice: more of it'
complete -c nomad -n "__fish_nomad_using_subcommand node; and __fish_seen_subcommand_from drain" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c nomad -n "__fish_nomad_using_subcommand node; and __fish_seen_subcommand_from undrain" -s e -l endpoint -d 'Members to talk to, instead of the context\'s' -r
complete -c nomad -n "__fish_nomad_using_subcommand node; and __fish_seen_subcommand_from undrain" -s c -l context -d 'Which cluster, by the name of a context or by its file (with a `/` in it or ending in .toml)' -r
complete -c nomad -n "__fish_nomad_using_subcommand node; and __fish_seen_subcommand_from undrain" -s o -l output -d 'How answers are written' -r -f -a "table\t'For people; may change any day'
json\t'One JSON document; a stable contract'
jsonl\t'One JSON object a line'
raw\t'The bare thing: a value\'s exact bytes, ids, a token'"
complete -c nomad -n "__fish_nomad_using_subcommand node; and __fish_seen_subcommand_from undrain" -l timeout -d 'How long to wait, such as 500ms, 30s or 2m [default: 10s]' -r
complete -c nomad -n "__fish_nomad_using_subcommand node; and __fish_seen_subcommand_from undrain" -l color -d 'When to colour; NO_COLOR is honoured' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t''
never\t''"
complete -c nomad -n "__fish_nomad_using_subcommand node; and __fish_seen_subcommand_from undrain" -s y -l yes -d 'Answer questions with yes'
complete -c nomad -n "__fish_nomad_using_subcommand node; and __fish_seen_subcommand_from undrain" -s q -l quiet -d 'Only the answer: no notes, no progress'
complete -c nomad -n "__fish_nomad_using_subcommand node; and __fish_seen_subcommand_from undrain" -s v -l verbose -d 'Log to stderr what happens; twice: more of it'
complete -c nomad -n "__fish_nomad_using_subcommand node; and __fish_seen_subcommand_from undrain" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c nomad -n "__fish_nomad_using_subcommand node; and __fish_seen_subcommand_from remove" -s e -l endpoint -d 'Members to talk to, instead of the context\'s' -r
complete -c nomad -n "__fish_nomad_using_subcommand node; and __fish_seen_subcommand_from remove" -s c -l context -d 'Which cluster, by the name of a context or by its file (with a `/` in it or ending in .toml)' -r
complete -c nomad -n "__fish_nomad_using_subcommand node; and __fish_seen_subcommand_from remove" -s o -l output -d 'How answers are written' -r -f -a "table\t'For people; may change any day'
json\t'One JSON document; a stable contract'
jsonl\t'One JSON object a line'
raw\t'The bare thing: a value\'s exact bytes, ids, a token'"
complete -c nomad -n "__fish_nomad_using_subcommand node; and __fish_seen_subcommand_from remove" -l timeout -d 'How long to wait, such as 500ms, 30s or 2m [default: 10s]' -r
complete -c nomad -n "__fish_nomad_using_subcommand node; and __fish_seen_subcommand_from remove" -l color -d 'When to colour; NO_COLOR is honoured' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t''
never\t''"
complete -c nomad -n "__fish_nomad_using_subcommand node; and __fish_seen_subcommand_from remove" -l force -d 'Also while it holds shards'
complete -c nomad -n "__fish_nomad_using_subcommand node; and __fish_seen_subcommand_from remove" -l dry-run -d 'Only look whether it could be removed'
complete -c nomad -n "__fish_nomad_using_subcommand node; and __fish_seen_subcommand_from remove" -s y -l yes -d 'Answer questions with yes'
complete -c nomad -n "__fish_nomad_using_subcommand node; and __fish_seen_subcommand_from remove" -s q -l quiet -d 'Only the answer: no notes, no progress'
complete -c nomad -n "__fish_nomad_using_subcommand node; and __fish_seen_subcommand_from remove" -s v -l verbose -d 'Log to stderr what happens; twice: more of it'
complete -c nomad -n "__fish_nomad_using_subcommand node; and __fish_seen_subcommand_from remove" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c nomad -n "__fish_nomad_using_subcommand ring" -s e -l endpoint -d 'Members to talk to, instead of the context\'s' -r
complete -c nomad -n "__fish_nomad_using_subcommand ring" -s c -l context -d 'Which cluster, by the name of a context or by its file (with a `/` in it or ending in .toml)' -r
complete -c nomad -n "__fish_nomad_using_subcommand ring" -s o -l output -d 'How answers are written' -r -f -a "table\t'For people; may change any day'
json\t'One JSON document; a stable contract'
jsonl\t'One JSON object a line'
raw\t'The bare thing: a value\'s exact bytes, ids, a token'"
complete -c nomad -n "__fish_nomad_using_subcommand ring" -l timeout -d 'How long to wait, such as 500ms, 30s or 2m [default: 10s]' -r
complete -c nomad -n "__fish_nomad_using_subcommand ring" -l color -d 'When to colour; NO_COLOR is honoured' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t''
never\t''"
complete -c nomad -n "__fish_nomad_using_subcommand ring" -s y -l yes -d 'Answer questions with yes'
complete -c nomad -n "__fish_nomad_using_subcommand ring" -s q -l quiet -d 'Only the answer: no notes, no progress'
complete -c nomad -n "__fish_nomad_using_subcommand ring" -s v -l verbose -d 'Log to stderr what happens; twice: more of it'
complete -c nomad -n "__fish_nomad_using_subcommand ring" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c nomad -n "__fish_nomad_using_subcommand why; and not __fish_seen_subcommand_from shard node migration" -s e -l endpoint -d 'Members to talk to, instead of the context\'s' -r
complete -c nomad -n "__fish_nomad_using_subcommand why; and not __fish_seen_subcommand_from shard node migration" -s c -l context -d 'Which cluster, by the name of a context or by its file (with a `/` in it or ending in .toml)' -r
complete -c nomad -n "__fish_nomad_using_subcommand why; and not __fish_seen_subcommand_from shard node migration" -s o -l output -d 'How answers are written' -r -f -a "table\t'For people; may change any day'
json\t'One JSON document; a stable contract'
jsonl\t'One JSON object a line'
raw\t'The bare thing: a value\'s exact bytes, ids, a token'"
complete -c nomad -n "__fish_nomad_using_subcommand why; and not __fish_seen_subcommand_from shard node migration" -l timeout -d 'How long to wait, such as 500ms, 30s or 2m [default: 10s]' -r
complete -c nomad -n "__fish_nomad_using_subcommand why; and not __fish_seen_subcommand_from shard node migration" -l color -d 'When to colour; NO_COLOR is honoured' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t''
never\t''"
complete -c nomad -n "__fish_nomad_using_subcommand why; and not __fish_seen_subcommand_from shard node migration" -s y -l yes -d 'Answer questions with yes'
complete -c nomad -n "__fish_nomad_using_subcommand why; and not __fish_seen_subcommand_from shard node migration" -s q -l quiet -d 'Only the answer: no notes, no progress'
complete -c nomad -n "__fish_nomad_using_subcommand why; and not __fish_seen_subcommand_from shard node migration" -s v -l verbose -d 'Log to stderr what happens; twice: more of it'
complete -c nomad -n "__fish_nomad_using_subcommand why; and not __fish_seen_subcommand_from shard node migration" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c nomad -n "__fish_nomad_using_subcommand why; and not __fish_seen_subcommand_from shard node migration" -f -a "shard" -d 'Why a shard\'s replicas are where they are, and what is being done about them'
complete -c nomad -n "__fish_nomad_using_subcommand why; and not __fish_seen_subcommand_from shard node migration" -f -a "node" -d 'Why a node holds what it holds'
complete -c nomad -n "__fish_nomad_using_subcommand why; and not __fish_seen_subcommand_from shard node migration" -f -a "migration" -d 'Why a migration stands where it stands, or how it ended'
complete -c nomad -n "__fish_nomad_using_subcommand why; and __fish_seen_subcommand_from shard" -s e -l endpoint -d 'Members to talk to, instead of the context\'s' -r
complete -c nomad -n "__fish_nomad_using_subcommand why; and __fish_seen_subcommand_from shard" -s c -l context -d 'Which cluster, by the name of a context or by its file (with a `/` in it or ending in .toml)' -r
complete -c nomad -n "__fish_nomad_using_subcommand why; and __fish_seen_subcommand_from shard" -s o -l output -d 'How answers are written' -r -f -a "table\t'For people; may change any day'
json\t'One JSON document; a stable contract'
jsonl\t'One JSON object a line'
raw\t'The bare thing: a value\'s exact bytes, ids, a token'"
complete -c nomad -n "__fish_nomad_using_subcommand why; and __fish_seen_subcommand_from shard" -l timeout -d 'How long to wait, such as 500ms, 30s or 2m [default: 10s]' -r
complete -c nomad -n "__fish_nomad_using_subcommand why; and __fish_seen_subcommand_from shard" -l color -d 'When to colour; NO_COLOR is honoured' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t''
never\t''"
complete -c nomad -n "__fish_nomad_using_subcommand why; and __fish_seen_subcommand_from shard" -s y -l yes -d 'Answer questions with yes'
complete -c nomad -n "__fish_nomad_using_subcommand why; and __fish_seen_subcommand_from shard" -s q -l quiet -d 'Only the answer: no notes, no progress'
complete -c nomad -n "__fish_nomad_using_subcommand why; and __fish_seen_subcommand_from shard" -s v -l verbose -d 'Log to stderr what happens; twice: more of it'
complete -c nomad -n "__fish_nomad_using_subcommand why; and __fish_seen_subcommand_from shard" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c nomad -n "__fish_nomad_using_subcommand why; and __fish_seen_subcommand_from node" -s e -l endpoint -d 'Members to talk to, instead of the context\'s' -r
complete -c nomad -n "__fish_nomad_using_subcommand why; and __fish_seen_subcommand_from node" -s c -l context -d 'Which cluster, by the name of a context or by its file (with a `/` in it or ending in .toml)' -r
complete -c nomad -n "__fish_nomad_using_subcommand why; and __fish_seen_subcommand_from node" -s o -l output -d 'How answers are written' -r -f -a "table\t'For people; may change any day'
json\t'One JSON document; a stable contract'
jsonl\t'One JSON object a line'
raw\t'The bare thing: a value\'s exact bytes, ids, a token'"
complete -c nomad -n "__fish_nomad_using_subcommand why; and __fish_seen_subcommand_from node" -l timeout -d 'How long to wait, such as 500ms, 30s or 2m [default: 10s]' -r
complete -c nomad -n "__fish_nomad_using_subcommand why; and __fish_seen_subcommand_from node" -l color -d 'When to colour; NO_COLOR is honoured' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t''
never\t''"
complete -c nomad -n "__fish_nomad_using_subcommand why; and __fish_seen_subcommand_from node" -s y -l yes -d 'Answer questions with yes'
complete -c nomad -n "__fish_nomad_using_subcommand why; and __fish_seen_subcommand_from node" -s q -l quiet -d 'Only the answer: no notes, no progress'
complete -c nomad -n "__fish_nomad_using_subcommand why; and __fish_seen_subcommand_from node" -s v -l verbose -d 'Log to stderr what happens; twice: more of it'
complete -c nomad -n "__fish_nomad_using_subcommand why; and __fish_seen_subcommand_from node" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c nomad -n "__fish_nomad_using_subcommand why; and __fish_seen_subcommand_from migration" -s e -l endpoint -d 'Members to talk to, instead of the context\'s' -r
complete -c nomad -n "__fish_nomad_using_subcommand why; and __fish_seen_subcommand_from migration" -s c -l context -d 'Which cluster, by the name of a context or by its file (with a `/` in it or ending in .toml)' -r
complete -c nomad -n "__fish_nomad_using_subcommand why; and __fish_seen_subcommand_from migration" -s o -l output -d 'How answers are written' -r -f -a "table\t'For people; may change any day'
json\t'One JSON document; a stable contract'
jsonl\t'One JSON object a line'
raw\t'The bare thing: a value\'s exact bytes, ids, a token'"
complete -c nomad -n "__fish_nomad_using_subcommand why; and __fish_seen_subcommand_from migration" -l timeout -d 'How long to wait, such as 500ms, 30s or 2m [default: 10s]' -r
complete -c nomad -n "__fish_nomad_using_subcommand why; and __fish_seen_subcommand_from migration" -l color -d 'When to colour; NO_COLOR is honoured' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t''
never\t''"
complete -c nomad -n "__fish_nomad_using_subcommand why; and __fish_seen_subcommand_from migration" -s y -l yes -d 'Answer questions with yes'
complete -c nomad -n "__fish_nomad_using_subcommand why; and __fish_seen_subcommand_from migration" -s q -l quiet -d 'Only the answer: no notes, no progress'
complete -c nomad -n "__fish_nomad_using_subcommand why; and __fish_seen_subcommand_from migration" -s v -l verbose -d 'Log to stderr what happens; twice: more of it'
complete -c nomad -n "__fish_nomad_using_subcommand why; and __fish_seen_subcommand_from migration" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c nomad -n "__fish_nomad_using_subcommand token; and not __fish_seen_subcommand_from new ls revoke" -s e -l endpoint -d 'Members to talk to, instead of the context\'s' -r
complete -c nomad -n "__fish_nomad_using_subcommand token; and not __fish_seen_subcommand_from new ls revoke" -s c -l context -d 'Which cluster, by the name of a context or by its file (with a `/` in it or ending in .toml)' -r
complete -c nomad -n "__fish_nomad_using_subcommand token; and not __fish_seen_subcommand_from new ls revoke" -s o -l output -d 'How answers are written' -r -f -a "table\t'For people; may change any day'
json\t'One JSON document; a stable contract'
jsonl\t'One JSON object a line'
raw\t'The bare thing: a value\'s exact bytes, ids, a token'"
complete -c nomad -n "__fish_nomad_using_subcommand token; and not __fish_seen_subcommand_from new ls revoke" -l timeout -d 'How long to wait, such as 500ms, 30s or 2m [default: 10s]' -r
complete -c nomad -n "__fish_nomad_using_subcommand token; and not __fish_seen_subcommand_from new ls revoke" -l color -d 'When to colour; NO_COLOR is honoured' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t''
never\t''"
complete -c nomad -n "__fish_nomad_using_subcommand token; and not __fish_seen_subcommand_from new ls revoke" -s y -l yes -d 'Answer questions with yes'
complete -c nomad -n "__fish_nomad_using_subcommand token; and not __fish_seen_subcommand_from new ls revoke" -s q -l quiet -d 'Only the answer: no notes, no progress'
complete -c nomad -n "__fish_nomad_using_subcommand token; and not __fish_seen_subcommand_from new ls revoke" -s v -l verbose -d 'Log to stderr what happens; twice: more of it'
complete -c nomad -n "__fish_nomad_using_subcommand token; and not __fish_seen_subcommand_from new ls revoke" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c nomad -n "__fish_nomad_using_subcommand token; and not __fish_seen_subcommand_from new ls revoke" -f -a "new" -d 'Make a token; it is said this once'
complete -c nomad -n "__fish_nomad_using_subcommand token; and not __fish_seen_subcommand_from new ls revoke" -f -a "ls" -d 'List the tokens that exist; never what they are'
complete -c nomad -n "__fish_nomad_using_subcommand token; and not __fish_seen_subcommand_from new ls revoke" -f -a "revoke" -d 'Make a token useless from now on'
complete -c nomad -n "__fish_nomad_using_subcommand token; and __fish_seen_subcommand_from new" -l ttl -d 'How long it can be used' -r
complete -c nomad -n "__fish_nomad_using_subcommand token; and __fish_seen_subcommand_from new" -l uses -d 'How many nodes may join with it' -r
complete -c nomad -n "__fish_nomad_using_subcommand token; and __fish_seen_subcommand_from new" -s e -l endpoint -d 'Members to talk to, instead of the context\'s' -r
complete -c nomad -n "__fish_nomad_using_subcommand token; and __fish_seen_subcommand_from new" -s c -l context -d 'Which cluster, by the name of a context or by its file (with a `/` in it or ending in .toml)' -r
complete -c nomad -n "__fish_nomad_using_subcommand token; and __fish_seen_subcommand_from new" -s o -l output -d 'How answers are written' -r -f -a "table\t'For people; may change any day'
json\t'One JSON document; a stable contract'
jsonl\t'One JSON object a line'
raw\t'The bare thing: a value\'s exact bytes, ids, a token'"
complete -c nomad -n "__fish_nomad_using_subcommand token; and __fish_seen_subcommand_from new" -l timeout -d 'How long to wait, such as 500ms, 30s or 2m [default: 10s]' -r
complete -c nomad -n "__fish_nomad_using_subcommand token; and __fish_seen_subcommand_from new" -l color -d 'When to colour; NO_COLOR is honoured' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t''
never\t''"
complete -c nomad -n "__fish_nomad_using_subcommand token; and __fish_seen_subcommand_from new" -s y -l yes -d 'Answer questions with yes'
complete -c nomad -n "__fish_nomad_using_subcommand token; and __fish_seen_subcommand_from new" -s q -l quiet -d 'Only the answer: no notes, no progress'
complete -c nomad -n "__fish_nomad_using_subcommand token; and __fish_seen_subcommand_from new" -s v -l verbose -d 'Log to stderr what happens; twice: more of it'
complete -c nomad -n "__fish_nomad_using_subcommand token; and __fish_seen_subcommand_from new" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c nomad -n "__fish_nomad_using_subcommand token; and __fish_seen_subcommand_from ls" -s e -l endpoint -d 'Members to talk to, instead of the context\'s' -r
complete -c nomad -n "__fish_nomad_using_subcommand token; and __fish_seen_subcommand_from ls" -s c -l context -d 'Which cluster, by the name of a context or by its file (with a `/` in it or ending in .toml)' -r
complete -c nomad -n "__fish_nomad_using_subcommand token; and __fish_seen_subcommand_from ls" -s o -l output -d 'How answers are written' -r -f -a "table\t'For people; may change any day'
json\t'One JSON document; a stable contract'
jsonl\t'One JSON object a line'
raw\t'The bare thing: a value\'s exact bytes, ids, a token'"
complete -c nomad -n "__fish_nomad_using_subcommand token; and __fish_seen_subcommand_from ls" -l timeout -d 'How long to wait, such as 500ms, 30s or 2m [default: 10s]' -r
complete -c nomad -n "__fish_nomad_using_subcommand token; and __fish_seen_subcommand_from ls" -l color -d 'When to colour; NO_COLOR is honoured' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t''
never\t''"
complete -c nomad -n "__fish_nomad_using_subcommand token; and __fish_seen_subcommand_from ls" -s y -l yes -d 'Answer questions with yes'
complete -c nomad -n "__fish_nomad_using_subcommand token; and __fish_seen_subcommand_from ls" -s q -l quiet -d 'Only the answer: no notes, no progress'
complete -c nomad -n "__fish_nomad_using_subcommand token; and __fish_seen_subcommand_from ls" -s v -l verbose -d 'Log to stderr what happens; twice: more of it'
complete -c nomad -n "__fish_nomad_using_subcommand token; and __fish_seen_subcommand_from ls" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c nomad -n "__fish_nomad_using_subcommand token; and __fish_seen_subcommand_from revoke" -s e -l endpoint -d 'Members to talk to, instead of the context\'s' -r
complete -c nomad -n "__fish_nomad_using_subcommand token; and __fish_seen_subcommand_from revoke" -s c -l context -d 'Which cluster, by the name of a context or by its file (with a `/` in it or ending in .toml)' -r
complete -c nomad -n "__fish_nomad_using_subcommand token; and __fish_seen_subcommand_from revoke" -s o -l output -d 'How answers are written' -r -f -a "table\t'For people; may change any day'
json\t'One JSON document; a stable contract'
jsonl\t'One JSON object a line'
raw\t'The bare thing: a value\'s exact bytes, ids, a token'"
complete -c nomad -n "__fish_nomad_using_subcommand token; and __fish_seen_subcommand_from revoke" -l timeout -d 'How long to wait, such as 500ms, 30s or 2m [default: 10s]' -r
complete -c nomad -n "__fish_nomad_using_subcommand token; and __fish_seen_subcommand_from revoke" -l color -d 'When to colour; NO_COLOR is honoured' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t''
never\t''"
complete -c nomad -n "__fish_nomad_using_subcommand token; and __fish_seen_subcommand_from revoke" -s y -l yes -d 'Answer questions with yes'
complete -c nomad -n "__fish_nomad_using_subcommand token; and __fish_seen_subcommand_from revoke" -s q -l quiet -d 'Only the answer: no notes, no progress'
complete -c nomad -n "__fish_nomad_using_subcommand token; and __fish_seen_subcommand_from revoke" -s v -l verbose -d 'Log to stderr what happens; twice: more of it'
complete -c nomad -n "__fish_nomad_using_subcommand token; and __fish_seen_subcommand_from revoke" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c nomad -n "__fish_nomad_using_subcommand context; and not __fish_seen_subcommand_from ls use add rm" -s e -l endpoint -d 'Members to talk to, instead of the context\'s' -r
complete -c nomad -n "__fish_nomad_using_subcommand context; and not __fish_seen_subcommand_from ls use add rm" -s c -l context -d 'Which cluster, by the name of a context or by its file (with a `/` in it or ending in .toml)' -r
complete -c nomad -n "__fish_nomad_using_subcommand context; and not __fish_seen_subcommand_from ls use add rm" -s o -l output -d 'How answers are written' -r -f -a "table\t'For people; may change any day'
json\t'One JSON document; a stable contract'
jsonl\t'One JSON object a line'
raw\t'The bare thing: a value\'s exact bytes, ids, a token'"
complete -c nomad -n "__fish_nomad_using_subcommand context; and not __fish_seen_subcommand_from ls use add rm" -l timeout -d 'How long to wait, such as 500ms, 30s or 2m [default: 10s]' -r
complete -c nomad -n "__fish_nomad_using_subcommand context; and not __fish_seen_subcommand_from ls use add rm" -l color -d 'When to colour; NO_COLOR is honoured' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t''
never\t''"
complete -c nomad -n "__fish_nomad_using_subcommand context; and not __fish_seen_subcommand_from ls use add rm" -s y -l yes -d 'Answer questions with yes'
complete -c nomad -n "__fish_nomad_using_subcommand context; and not __fish_seen_subcommand_from ls use add rm" -s q -l quiet -d 'Only the answer: no notes, no progress'
complete -c nomad -n "__fish_nomad_using_subcommand context; and not __fish_seen_subcommand_from ls use add rm" -s v -l verbose -d 'Log to stderr what happens; twice: more of it'
complete -c nomad -n "__fish_nomad_using_subcommand context; and not __fish_seen_subcommand_from ls use add rm" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c nomad -n "__fish_nomad_using_subcommand context; and not __fish_seen_subcommand_from ls use add rm" -f -a "ls" -d 'List the contexts; a star marks the one in use'
complete -c nomad -n "__fish_nomad_using_subcommand context; and not __fish_seen_subcommand_from ls use add rm" -f -a "use" -d 'Use a context from now on'
complete -c nomad -n "__fish_nomad_using_subcommand context; and not __fish_seen_subcommand_from ls use add rm" -f -a "add" -d 'Add a context, from a file such as DIR/admin.toml, or for an insecure cluster from -e'
complete -c nomad -n "__fish_nomad_using_subcommand context; and not __fish_seen_subcommand_from ls use add rm" -f -a "rm" -d 'Remove a context, and with it its key'
complete -c nomad -n "__fish_nomad_using_subcommand context; and __fish_seen_subcommand_from ls" -s e -l endpoint -d 'Members to talk to, instead of the context\'s' -r
complete -c nomad -n "__fish_nomad_using_subcommand context; and __fish_seen_subcommand_from ls" -s c -l context -d 'Which cluster, by the name of a context or by its file (with a `/` in it or ending in .toml)' -r
complete -c nomad -n "__fish_nomad_using_subcommand context; and __fish_seen_subcommand_from ls" -s o -l output -d 'How answers are written' -r -f -a "table\t'For people; may change any day'
json\t'One JSON document; a stable contract'
jsonl\t'One JSON object a line'
raw\t'The bare thing: a value\'s exact bytes, ids, a token'"
complete -c nomad -n "__fish_nomad_using_subcommand context; and __fish_seen_subcommand_from ls" -l timeout -d 'How long to wait, such as 500ms, 30s or 2m [default: 10s]' -r
complete -c nomad -n "__fish_nomad_using_subcommand context; and __fish_seen_subcommand_from ls" -l color -d 'When to colour; NO_COLOR is honoured' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t''
never\t''"
complete -c nomad -n "__fish_nomad_using_subcommand context; and __fish_seen_subcommand_from ls" -s y -l yes -d 'Answer questions with yes'
complete -c nomad -n "__fish_nomad_using_subcommand context; and __fish_seen_subcommand_from ls" -s q -l quiet -d 'Only the answer: no notes, no progress'
complete -c nomad -n "__fish_nomad_using_subcommand context; and __fish_seen_subcommand_from ls" -s v -l verbose -d 'Log to stderr what happens; twice: more of it'
complete -c nomad -n "__fish_nomad_using_subcommand context; and __fish_seen_subcommand_from ls" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c nomad -n "__fish_nomad_using_subcommand context; and __fish_seen_subcommand_from use" -s e -l endpoint -d 'Members to talk to, instead of the context\'s' -r
complete -c nomad -n "__fish_nomad_using_subcommand context; and __fish_seen_subcommand_from use" -s c -l context -d 'Which cluster, by the name of a context or by its file (with a `/` in it or ending in .toml)' -r
complete -c nomad -n "__fish_nomad_using_subcommand context; and __fish_seen_subcommand_from use" -s o -l output -d 'How answers are written' -r -f -a "table\t'For people; may change any day'
json\t'One JSON document; a stable contract'
jsonl\t'One JSON object a line'
raw\t'The bare thing: a value\'s exact bytes, ids, a token'"
complete -c nomad -n "__fish_nomad_using_subcommand context; and __fish_seen_subcommand_from use" -l timeout -d 'How long to wait, such as 500ms, 30s or 2m [default: 10s]' -r
complete -c nomad -n "__fish_nomad_using_subcommand context; and __fish_seen_subcommand_from use" -l color -d 'When to colour; NO_COLOR is honoured' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t''
never\t''"
complete -c nomad -n "__fish_nomad_using_subcommand context; and __fish_seen_subcommand_from use" -s y -l yes -d 'Answer questions with yes'
complete -c nomad -n "__fish_nomad_using_subcommand context; and __fish_seen_subcommand_from use" -s q -l quiet -d 'Only the answer: no notes, no progress'
complete -c nomad -n "__fish_nomad_using_subcommand context; and __fish_seen_subcommand_from use" -s v -l verbose -d 'Log to stderr what happens; twice: more of it'
complete -c nomad -n "__fish_nomad_using_subcommand context; and __fish_seen_subcommand_from use" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c nomad -n "__fish_nomad_using_subcommand context; and __fish_seen_subcommand_from add" -l from -d 'A context file to take over' -r -F
complete -c nomad -n "__fish_nomad_using_subcommand context; and __fish_seen_subcommand_from add" -s e -l endpoint -d 'Members to talk to, instead of the context\'s' -r
complete -c nomad -n "__fish_nomad_using_subcommand context; and __fish_seen_subcommand_from add" -s c -l context -d 'Which cluster, by the name of a context or by its file (with a `/` in it or ending in .toml)' -r
complete -c nomad -n "__fish_nomad_using_subcommand context; and __fish_seen_subcommand_from add" -s o -l output -d 'How answers are written' -r -f -a "table\t'For people; may change any day'
json\t'One JSON document; a stable contract'
jsonl\t'One JSON object a line'
raw\t'The bare thing: a value\'s exact bytes, ids, a token'"
complete -c nomad -n "__fish_nomad_using_subcommand context; and __fish_seen_subcommand_from add" -l timeout -d 'How long to wait, such as 500ms, 30s or 2m [default: 10s]' -r
complete -c nomad -n "__fish_nomad_using_subcommand context; and __fish_seen_subcommand_from add" -l color -d 'When to colour; NO_COLOR is honoured' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t''
never\t''"
complete -c nomad -n "__fish_nomad_using_subcommand context; and __fish_seen_subcommand_from add" -l insecure -d 'The cluster was started --insecure; needs -e'
complete -c nomad -n "__fish_nomad_using_subcommand context; and __fish_seen_subcommand_from add" -l force -d 'Replace a context of this name'
complete -c nomad -n "__fish_nomad_using_subcommand context; and __fish_seen_subcommand_from add" -s y -l yes -d 'Answer questions with yes'
complete -c nomad -n "__fish_nomad_using_subcommand context; and __fish_seen_subcommand_from add" -s q -l quiet -d 'Only the answer: no notes, no progress'
complete -c nomad -n "__fish_nomad_using_subcommand context; and __fish_seen_subcommand_from add" -s v -l verbose -d 'Log to stderr what happens; twice: more of it'
complete -c nomad -n "__fish_nomad_using_subcommand context; and __fish_seen_subcommand_from add" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c nomad -n "__fish_nomad_using_subcommand context; and __fish_seen_subcommand_from rm" -s e -l endpoint -d 'Members to talk to, instead of the context\'s' -r
complete -c nomad -n "__fish_nomad_using_subcommand context; and __fish_seen_subcommand_from rm" -s c -l context -d 'Which cluster, by the name of a context or by its file (with a `/` in it or ending in .toml)' -r
complete -c nomad -n "__fish_nomad_using_subcommand context; and __fish_seen_subcommand_from rm" -s o -l output -d 'How answers are written' -r -f -a "table\t'For people; may change any day'
json\t'One JSON document; a stable contract'
jsonl\t'One JSON object a line'
raw\t'The bare thing: a value\'s exact bytes, ids, a token'"
complete -c nomad -n "__fish_nomad_using_subcommand context; and __fish_seen_subcommand_from rm" -l timeout -d 'How long to wait, such as 500ms, 30s or 2m [default: 10s]' -r
complete -c nomad -n "__fish_nomad_using_subcommand context; and __fish_seen_subcommand_from rm" -l color -d 'When to colour; NO_COLOR is honoured' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t''
never\t''"
complete -c nomad -n "__fish_nomad_using_subcommand context; and __fish_seen_subcommand_from rm" -s y -l yes -d 'Answer questions with yes'
complete -c nomad -n "__fish_nomad_using_subcommand context; and __fish_seen_subcommand_from rm" -s q -l quiet -d 'Only the answer: no notes, no progress'
complete -c nomad -n "__fish_nomad_using_subcommand context; and __fish_seen_subcommand_from rm" -s v -l verbose -d 'Log to stderr what happens; twice: more of it'
complete -c nomad -n "__fish_nomad_using_subcommand context; and __fish_seen_subcommand_from rm" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c nomad -n "__fish_nomad_using_subcommand config; and not __fish_seen_subcommand_from ls get set reset" -s e -l endpoint -d 'Members to talk to, instead of the context\'s' -r
complete -c nomad -n "__fish_nomad_using_subcommand config; and not __fish_seen_subcommand_from ls get set reset" -s c -l context -d 'Which cluster, by the name of a context or by its file (with a `/` in it or ending in .toml)' -r
complete -c nomad -n "__fish_nomad_using_subcommand config; and not __fish_seen_subcommand_from ls get set reset" -s o -l output -d 'How answers are written' -r -f -a "table\t'For people; may change any day'
json\t'One JSON document; a stable contract'
jsonl\t'One JSON object a line'
raw\t'The bare thing: a value\'s exact bytes, ids, a token'"
complete -c nomad -n "__fish_nomad_using_subcommand config; and not __fish_seen_subcommand_from ls get set reset" -l timeout -d 'How long to wait, such as 500ms, 30s or 2m [default: 10s]' -r
complete -c nomad -n "__fish_nomad_using_subcommand config; and not __fish_seen_subcommand_from ls get set reset" -l color -d 'When to colour; NO_COLOR is honoured' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t''
never\t''"
complete -c nomad -n "__fish_nomad_using_subcommand config; and not __fish_seen_subcommand_from ls get set reset" -s y -l yes -d 'Answer questions with yes'
complete -c nomad -n "__fish_nomad_using_subcommand config; and not __fish_seen_subcommand_from ls get set reset" -s q -l quiet -d 'Only the answer: no notes, no progress'
complete -c nomad -n "__fish_nomad_using_subcommand config; and not __fish_seen_subcommand_from ls get set reset" -s v -l verbose -d 'Log to stderr what happens; twice: more of it'
complete -c nomad -n "__fish_nomad_using_subcommand config; and not __fish_seen_subcommand_from ls get set reset" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c nomad -n "__fish_nomad_using_subcommand config; and not __fish_seen_subcommand_from ls get set reset" -f -a "ls" -d 'List all settings, what they are and what they mean'
complete -c nomad -n "__fish_nomad_using_subcommand config; and not __fish_seen_subcommand_from ls get set reset" -f -a "get" -d 'Print a setting'
complete -c nomad -n "__fish_nomad_using_subcommand config; and not __fish_seen_subcommand_from ls get set reset" -f -a "set" -d 'Change a setting, on all nodes, at once'
complete -c nomad -n "__fish_nomad_using_subcommand config; and not __fish_seen_subcommand_from ls get set reset" -f -a "reset" -d 'Give a setting its default back'
complete -c nomad -n "__fish_nomad_using_subcommand config; and __fish_seen_subcommand_from ls" -s e -l endpoint -d 'Members to talk to, instead of the context\'s' -r
complete -c nomad -n "__fish_nomad_using_subcommand config; and __fish_seen_subcommand_from ls" -s c -l context -d 'Which cluster, by the name of a context or by its file (with a `/` in it or ending in .toml)' -r
complete -c nomad -n "__fish_nomad_using_subcommand config; and __fish_seen_subcommand_from ls" -s o -l output -d 'How answers are written' -r -f -a "table\t'For people; may change any day'
json\t'One JSON document; a stable contract'
jsonl\t'One JSON object a line'
raw\t'The bare thing: a value\'s exact bytes, ids, a token'"
complete -c nomad -n "__fish_nomad_using_subcommand config; and __fish_seen_subcommand_from ls" -l timeout -d 'How long to wait, such as 500ms, 30s or 2m [default: 10s]' -r
complete -c nomad -n "__fish_nomad_using_subcommand config; and __fish_seen_subcommand_from ls" -l color -d 'When to colour; NO_COLOR is honoured' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t''
never\t''"
complete -c nomad -n "__fish_nomad_using_subcommand config; and __fish_seen_subcommand_from ls" -s y -l yes -d 'Answer questions with yes'
complete -c nomad -n "__fish_nomad_using_subcommand config; and __fish_seen_subcommand_from ls" -s q -l quiet -d 'Only the answer: no notes, no progress'
complete -c nomad -n "__fish_nomad_using_subcommand config; and __fish_seen_subcommand_from ls" -s v -l verbose -d 'Log to stderr what happens; twice: more of it'
complete -c nomad -n "__fish_nomad_using_subcommand config; and __fish_seen_subcommand_from ls" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c nomad -n "__fish_nomad_using_subcommand config; and __fish_seen_subcommand_from get" -s e -l endpoint -d 'Members to talk to, instead of the context\'s' -r
complete -c nomad -n "__fish_nomad_using_subcommand config; and __fish_seen_subcommand_from get" -s c -l context -d 'Which cluster, by the name of a context or by its file (with a `/` in it or ending in .toml)' -r
complete -c nomad -n "__fish_nomad_using_subcommand config; and __fish_seen_subcommand_from get" -s o -l output -d 'How answers are written' -r -f -a "table\t'For people; may change any day'
json\t'One JSON document; a stable contract'
jsonl\t'One JSON object a line'
raw\t'The bare thing: a value\'s exact bytes, ids, a token'"
complete -c nomad -n "__fish_nomad_using_subcommand config; and __fish_seen_subcommand_from get" -l timeout -d 'How long to wait, such as 500ms, 30s or 2m [default: 10s]' -r
complete -c nomad -n "__fish_nomad_using_subcommand config; and __fish_seen_subcommand_from get" -l color -d 'When to colour; NO_COLOR is honoured' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t''
never\t''"
complete -c nomad -n "__fish_nomad_using_subcommand config; and __fish_seen_subcommand_from get" -s y -l yes -d 'Answer questions with yes'
complete -c nomad -n "__fish_nomad_using_subcommand config; and __fish_seen_subcommand_from get" -s q -l quiet -d 'Only the answer: no notes, no progress'
complete -c nomad -n "__fish_nomad_using_subcommand config; and __fish_seen_subcommand_from get" -s v -l verbose -d 'Log to stderr what happens; twice: more of it'
complete -c nomad -n "__fish_nomad_using_subcommand config; and __fish_seen_subcommand_from get" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c nomad -n "__fish_nomad_using_subcommand config; and __fish_seen_subcommand_from set" -s e -l endpoint -d 'Members to talk to, instead of the context\'s' -r
complete -c nomad -n "__fish_nomad_using_subcommand config; and __fish_seen_subcommand_from set" -s c -l context -d 'Which cluster, by the name of a context or by its file (with a `/` in it or ending in .toml)' -r
complete -c nomad -n "__fish_nomad_using_subcommand config; and __fish_seen_subcommand_from set" -s o -l output -d 'How answers are written' -r -f -a "table\t'For people; may change any day'
json\t'One JSON document; a stable contract'
jsonl\t'One JSON object a line'
raw\t'The bare thing: a value\'s exact bytes, ids, a token'"
complete -c nomad -n "__fish_nomad_using_subcommand config; and __fish_seen_subcommand_from set" -l timeout -d 'How long to wait, such as 500ms, 30s or 2m [default: 10s]' -r
complete -c nomad -n "__fish_nomad_using_subcommand config; and __fish_seen_subcommand_from set" -l color -d 'When to colour; NO_COLOR is honoured' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t''
never\t''"
complete -c nomad -n "__fish_nomad_using_subcommand config; and __fish_seen_subcommand_from set" -s y -l yes -d 'Answer questions with yes'
complete -c nomad -n "__fish_nomad_using_subcommand config; and __fish_seen_subcommand_from set" -s q -l quiet -d 'Only the answer: no notes, no progress'
complete -c nomad -n "__fish_nomad_using_subcommand config; and __fish_seen_subcommand_from set" -s v -l verbose -d 'Log to stderr what happens; twice: more of it'
complete -c nomad -n "__fish_nomad_using_subcommand config; and __fish_seen_subcommand_from set" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c nomad -n "__fish_nomad_using_subcommand config; and __fish_seen_subcommand_from reset" -s e -l endpoint -d 'Members to talk to, instead of the context\'s' -r
complete -c nomad -n "__fish_nomad_using_subcommand config; and __fish_seen_subcommand_from reset" -s c -l context -d 'Which cluster, by the name of a context or by its file (with a `/` in it or ending in .toml)' -r
complete -c nomad -n "__fish_nomad_using_subcommand config; and __fish_seen_subcommand_from reset" -s o -l output -d 'How answers are written' -r -f -a "table\t'For people; may change any day'
json\t'One JSON document; a stable contract'
jsonl\t'One JSON object a line'
raw\t'The bare thing: a value\'s exact bytes, ids, a token'"
complete -c nomad -n "__fish_nomad_using_subcommand config; and __fish_seen_subcommand_from reset" -l timeout -d 'How long to wait, such as 500ms, 30s or 2m [default: 10s]' -r
complete -c nomad -n "__fish_nomad_using_subcommand config; and __fish_seen_subcommand_from reset" -l color -d 'When to colour; NO_COLOR is honoured' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t''
never\t''"
complete -c nomad -n "__fish_nomad_using_subcommand config; and __fish_seen_subcommand_from reset" -s y -l yes -d 'Answer questions with yes'
complete -c nomad -n "__fish_nomad_using_subcommand config; and __fish_seen_subcommand_from reset" -s q -l quiet -d 'Only the answer: no notes, no progress'
complete -c nomad -n "__fish_nomad_using_subcommand config; and __fish_seen_subcommand_from reset" -s v -l verbose -d 'Log to stderr what happens; twice: more of it'
complete -c nomad -n "__fish_nomad_using_subcommand config; and __fish_seen_subcommand_from reset" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c nomad -n "__fish_nomad_using_subcommand meta; and not __fish_seen_subcommand_from ls get" -s e -l endpoint -d 'Members to talk to, instead of the context\'s' -r
complete -c nomad -n "__fish_nomad_using_subcommand meta; and not __fish_seen_subcommand_from ls get" -s c -l context -d 'Which cluster, by the name of a context or by its file (with a `/` in it or ending in .toml)' -r
complete -c nomad -n "__fish_nomad_using_subcommand meta; and not __fish_seen_subcommand_from ls get" -s o -l output -d 'How answers are written' -r -f -a "table\t'For people; may change any day'
json\t'One JSON document; a stable contract'
jsonl\t'One JSON object a line'
raw\t'The bare thing: a value\'s exact bytes, ids, a token'"
complete -c nomad -n "__fish_nomad_using_subcommand meta; and not __fish_seen_subcommand_from ls get" -l timeout -d 'How long to wait, such as 500ms, 30s or 2m [default: 10s]' -r
complete -c nomad -n "__fish_nomad_using_subcommand meta; and not __fish_seen_subcommand_from ls get" -l color -d 'When to colour; NO_COLOR is honoured' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t''
never\t''"
complete -c nomad -n "__fish_nomad_using_subcommand meta; and not __fish_seen_subcommand_from ls get" -s y -l yes -d 'Answer questions with yes'
complete -c nomad -n "__fish_nomad_using_subcommand meta; and not __fish_seen_subcommand_from ls get" -s q -l quiet -d 'Only the answer: no notes, no progress'
complete -c nomad -n "__fish_nomad_using_subcommand meta; and not __fish_seen_subcommand_from ls get" -s v -l verbose -d 'Log to stderr what happens; twice: more of it'
complete -c nomad -n "__fish_nomad_using_subcommand meta; and not __fish_seen_subcommand_from ls get" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c nomad -n "__fish_nomad_using_subcommand meta; and not __fish_seen_subcommand_from ls get" -f -a "ls" -d 'List records'
complete -c nomad -n "__fish_nomad_using_subcommand meta; and not __fish_seen_subcommand_from ls get" -f -a "get" -d 'Print one record'
complete -c nomad -n "__fish_nomad_using_subcommand meta; and __fish_seen_subcommand_from ls" -s e -l endpoint -d 'Members to talk to, instead of the context\'s' -r
complete -c nomad -n "__fish_nomad_using_subcommand meta; and __fish_seen_subcommand_from ls" -s c -l context -d 'Which cluster, by the name of a context or by its file (with a `/` in it or ending in .toml)' -r
complete -c nomad -n "__fish_nomad_using_subcommand meta; and __fish_seen_subcommand_from ls" -s o -l output -d 'How answers are written' -r -f -a "table\t'For people; may change any day'
json\t'One JSON document; a stable contract'
jsonl\t'One JSON object a line'
raw\t'The bare thing: a value\'s exact bytes, ids, a token'"
complete -c nomad -n "__fish_nomad_using_subcommand meta; and __fish_seen_subcommand_from ls" -l timeout -d 'How long to wait, such as 500ms, 30s or 2m [default: 10s]' -r
complete -c nomad -n "__fish_nomad_using_subcommand meta; and __fish_seen_subcommand_from ls" -l color -d 'When to colour; NO_COLOR is honoured' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t''
never\t''"
complete -c nomad -n "__fish_nomad_using_subcommand meta; and __fish_seen_subcommand_from ls" -s y -l yes -d 'Answer questions with yes'
complete -c nomad -n "__fish_nomad_using_subcommand meta; and __fish_seen_subcommand_from ls" -s q -l quiet -d 'Only the answer: no notes, no progress'
complete -c nomad -n "__fish_nomad_using_subcommand meta; and __fish_seen_subcommand_from ls" -s v -l verbose -d 'Log to stderr what happens; twice: more of it'
complete -c nomad -n "__fish_nomad_using_subcommand meta; and __fish_seen_subcommand_from ls" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c nomad -n "__fish_nomad_using_subcommand meta; and __fish_seen_subcommand_from get" -s e -l endpoint -d 'Members to talk to, instead of the context\'s' -r
complete -c nomad -n "__fish_nomad_using_subcommand meta; and __fish_seen_subcommand_from get" -s c -l context -d 'Which cluster, by the name of a context or by its file (with a `/` in it or ending in .toml)' -r
complete -c nomad -n "__fish_nomad_using_subcommand meta; and __fish_seen_subcommand_from get" -s o -l output -d 'How answers are written' -r -f -a "table\t'For people; may change any day'
json\t'One JSON document; a stable contract'
jsonl\t'One JSON object a line'
raw\t'The bare thing: a value\'s exact bytes, ids, a token'"
complete -c nomad -n "__fish_nomad_using_subcommand meta; and __fish_seen_subcommand_from get" -l timeout -d 'How long to wait, such as 500ms, 30s or 2m [default: 10s]' -r
complete -c nomad -n "__fish_nomad_using_subcommand meta; and __fish_seen_subcommand_from get" -l color -d 'When to colour; NO_COLOR is honoured' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t''
never\t''"
complete -c nomad -n "__fish_nomad_using_subcommand meta; and __fish_seen_subcommand_from get" -s y -l yes -d 'Answer questions with yes'
complete -c nomad -n "__fish_nomad_using_subcommand meta; and __fish_seen_subcommand_from get" -s q -l quiet -d 'Only the answer: no notes, no progress'
complete -c nomad -n "__fish_nomad_using_subcommand meta; and __fish_seen_subcommand_from get" -s v -l verbose -d 'Log to stderr what happens; twice: more of it'
complete -c nomad -n "__fish_nomad_using_subcommand meta; and __fish_seen_subcommand_from get" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c nomad -n "__fish_nomad_using_subcommand debug; and not __fish_seen_subcommand_from wal store shard" -s e -l endpoint -d 'Members to talk to, instead of the context\'s' -r
complete -c nomad -n "__fish_nomad_using_subcommand debug; and not __fish_seen_subcommand_from wal store shard" -s c -l context -d 'Which cluster, by the name of a context or by its file (with a `/` in it or ending in .toml)' -r
complete -c nomad -n "__fish_nomad_using_subcommand debug; and not __fish_seen_subcommand_from wal store shard" -s o -l output -d 'How answers are written' -r -f -a "table\t'For people; may change any day'
json\t'One JSON document; a stable contract'
jsonl\t'One JSON object a line'
raw\t'The bare thing: a value\'s exact bytes, ids, a token'"
complete -c nomad -n "__fish_nomad_using_subcommand debug; and not __fish_seen_subcommand_from wal store shard" -l timeout -d 'How long to wait, such as 500ms, 30s or 2m [default: 10s]' -r
complete -c nomad -n "__fish_nomad_using_subcommand debug; and not __fish_seen_subcommand_from wal store shard" -l color -d 'When to colour; NO_COLOR is honoured' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t''
never\t''"
complete -c nomad -n "__fish_nomad_using_subcommand debug; and not __fish_seen_subcommand_from wal store shard" -s y -l yes -d 'Answer questions with yes'
complete -c nomad -n "__fish_nomad_using_subcommand debug; and not __fish_seen_subcommand_from wal store shard" -s q -l quiet -d 'Only the answer: no notes, no progress'
complete -c nomad -n "__fish_nomad_using_subcommand debug; and not __fish_seen_subcommand_from wal store shard" -s v -l verbose -d 'Log to stderr what happens; twice: more of it'
complete -c nomad -n "__fish_nomad_using_subcommand debug; and not __fish_seen_subcommand_from wal store shard" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c nomad -n "__fish_nomad_using_subcommand debug; and not __fish_seen_subcommand_from wal store shard" -f -a "wal" -d 'The write-ahead log: damaged places, and who has lost what by them'
complete -c nomad -n "__fish_nomad_using_subcommand debug; and not __fish_seen_subcommand_from wal store shard" -f -a "store" -d 'The replicas\' files: what each holds, and whether it is what was written'
complete -c nomad -n "__fish_nomad_using_subcommand debug; and not __fish_seen_subcommand_from wal store shard" -f -a "shard" -d 'The replicas: file and log together, and what a start would do with each'
complete -c nomad -n "__fish_nomad_using_subcommand debug; and __fish_seen_subcommand_from wal" -s e -l endpoint -d 'Members to talk to, instead of the context\'s' -r
complete -c nomad -n "__fish_nomad_using_subcommand debug; and __fish_seen_subcommand_from wal" -s c -l context -d 'Which cluster, by the name of a context or by its file (with a `/` in it or ending in .toml)' -r
complete -c nomad -n "__fish_nomad_using_subcommand debug; and __fish_seen_subcommand_from wal" -s o -l output -d 'How answers are written' -r -f -a "table\t'For people; may change any day'
json\t'One JSON document; a stable contract'
jsonl\t'One JSON object a line'
raw\t'The bare thing: a value\'s exact bytes, ids, a token'"
complete -c nomad -n "__fish_nomad_using_subcommand debug; and __fish_seen_subcommand_from wal" -l timeout -d 'How long to wait, such as 500ms, 30s or 2m [default: 10s]' -r
complete -c nomad -n "__fish_nomad_using_subcommand debug; and __fish_seen_subcommand_from wal" -l color -d 'When to colour; NO_COLOR is honoured' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t''
never\t''"
complete -c nomad -n "__fish_nomad_using_subcommand debug; and __fish_seen_subcommand_from wal" -s y -l yes -d 'Answer questions with yes'
complete -c nomad -n "__fish_nomad_using_subcommand debug; and __fish_seen_subcommand_from wal" -s q -l quiet -d 'Only the answer: no notes, no progress'
complete -c nomad -n "__fish_nomad_using_subcommand debug; and __fish_seen_subcommand_from wal" -s v -l verbose -d 'Log to stderr what happens; twice: more of it'
complete -c nomad -n "__fish_nomad_using_subcommand debug; and __fish_seen_subcommand_from wal" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c nomad -n "__fish_nomad_using_subcommand debug; and __fish_seen_subcommand_from store" -s e -l endpoint -d 'Members to talk to, instead of the context\'s' -r
complete -c nomad -n "__fish_nomad_using_subcommand debug; and __fish_seen_subcommand_from store" -s c -l context -d 'Which cluster, by the name of a context or by its file (with a `/` in it or ending in .toml)' -r
complete -c nomad -n "__fish_nomad_using_subcommand debug; and __fish_seen_subcommand_from store" -s o -l output -d 'How answers are written' -r -f -a "table\t'For people; may change any day'
json\t'One JSON document; a stable contract'
jsonl\t'One JSON object a line'
raw\t'The bare thing: a value\'s exact bytes, ids, a token'"
complete -c nomad -n "__fish_nomad_using_subcommand debug; and __fish_seen_subcommand_from store" -l timeout -d 'How long to wait, such as 500ms, 30s or 2m [default: 10s]' -r
complete -c nomad -n "__fish_nomad_using_subcommand debug; and __fish_seen_subcommand_from store" -l color -d 'When to colour; NO_COLOR is honoured' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t''
never\t''"
complete -c nomad -n "__fish_nomad_using_subcommand debug; and __fish_seen_subcommand_from store" -s y -l yes -d 'Answer questions with yes'
complete -c nomad -n "__fish_nomad_using_subcommand debug; and __fish_seen_subcommand_from store" -s q -l quiet -d 'Only the answer: no notes, no progress'
complete -c nomad -n "__fish_nomad_using_subcommand debug; and __fish_seen_subcommand_from store" -s v -l verbose -d 'Log to stderr what happens; twice: more of it'
complete -c nomad -n "__fish_nomad_using_subcommand debug; and __fish_seen_subcommand_from store" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c nomad -n "__fish_nomad_using_subcommand debug; and __fish_seen_subcommand_from shard" -s e -l endpoint -d 'Members to talk to, instead of the context\'s' -r
complete -c nomad -n "__fish_nomad_using_subcommand debug; and __fish_seen_subcommand_from shard" -s c -l context -d 'Which cluster, by the name of a context or by its file (with a `/` in it or ending in .toml)' -r
complete -c nomad -n "__fish_nomad_using_subcommand debug; and __fish_seen_subcommand_from shard" -s o -l output -d 'How answers are written' -r -f -a "table\t'For people; may change any day'
json\t'One JSON document; a stable contract'
jsonl\t'One JSON object a line'
raw\t'The bare thing: a value\'s exact bytes, ids, a token'"
complete -c nomad -n "__fish_nomad_using_subcommand debug; and __fish_seen_subcommand_from shard" -l timeout -d 'How long to wait, such as 500ms, 30s or 2m [default: 10s]' -r
complete -c nomad -n "__fish_nomad_using_subcommand debug; and __fish_seen_subcommand_from shard" -l color -d 'When to colour; NO_COLOR is honoured' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t''
never\t''"
complete -c nomad -n "__fish_nomad_using_subcommand debug; and __fish_seen_subcommand_from shard" -s y -l yes -d 'Answer questions with yes'
complete -c nomad -n "__fish_nomad_using_subcommand debug; and __fish_seen_subcommand_from shard" -s q -l quiet -d 'Only the answer: no notes, no progress'
complete -c nomad -n "__fish_nomad_using_subcommand debug; and __fish_seen_subcommand_from shard" -s v -l verbose -d 'Log to stderr what happens; twice: more of it'
complete -c nomad -n "__fish_nomad_using_subcommand debug; and __fish_seen_subcommand_from shard" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c nomad -n "__fish_nomad_using_subcommand completions" -s e -l endpoint -d 'Members to talk to, instead of the context\'s' -r
complete -c nomad -n "__fish_nomad_using_subcommand completions" -s c -l context -d 'Which cluster, by the name of a context or by its file (with a `/` in it or ending in .toml)' -r
complete -c nomad -n "__fish_nomad_using_subcommand completions" -s o -l output -d 'How answers are written' -r -f -a "table\t'For people; may change any day'
json\t'One JSON document; a stable contract'
jsonl\t'One JSON object a line'
raw\t'The bare thing: a value\'s exact bytes, ids, a token'"
complete -c nomad -n "__fish_nomad_using_subcommand completions" -l timeout -d 'How long to wait, such as 500ms, 30s or 2m [default: 10s]' -r
complete -c nomad -n "__fish_nomad_using_subcommand completions" -l color -d 'When to colour; NO_COLOR is honoured' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t''
never\t''"
complete -c nomad -n "__fish_nomad_using_subcommand completions" -s y -l yes -d 'Answer questions with yes'
complete -c nomad -n "__fish_nomad_using_subcommand completions" -s q -l quiet -d 'Only the answer: no notes, no progress'
complete -c nomad -n "__fish_nomad_using_subcommand completions" -s v -l verbose -d 'Log to stderr what happens; twice: more of it'
complete -c nomad -n "__fish_nomad_using_subcommand completions" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c nomad -n "__fish_nomad_using_subcommand man" -s e -l endpoint -d 'Members to talk to, instead of the context\'s' -r
complete -c nomad -n "__fish_nomad_using_subcommand man" -s c -l context -d 'Which cluster, by the name of a context or by its file (with a `/` in it or ending in .toml)' -r
complete -c nomad -n "__fish_nomad_using_subcommand man" -s o -l output -d 'How answers are written' -r -f -a "table\t'For people; may change any day'
json\t'One JSON document; a stable contract'
jsonl\t'One JSON object a line'
raw\t'The bare thing: a value\'s exact bytes, ids, a token'"
complete -c nomad -n "__fish_nomad_using_subcommand man" -l timeout -d 'How long to wait, such as 500ms, 30s or 2m [default: 10s]' -r
complete -c nomad -n "__fish_nomad_using_subcommand man" -l color -d 'When to colour; NO_COLOR is honoured' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t''
never\t''"
complete -c nomad -n "__fish_nomad_using_subcommand man" -s y -l yes -d 'Answer questions with yes'
complete -c nomad -n "__fish_nomad_using_subcommand man" -s q -l quiet -d 'Only the answer: no notes, no progress'
complete -c nomad -n "__fish_nomad_using_subcommand man" -s v -l verbose -d 'Log to stderr what happens; twice: more of it'
complete -c nomad -n "__fish_nomad_using_subcommand man" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c nomad -n "__fish_nomad_using_subcommand version" -s e -l endpoint -d 'Members to talk to, instead of the context\'s' -r
complete -c nomad -n "__fish_nomad_using_subcommand version" -s c -l context -d 'Which cluster, by the name of a context or by its file (with a `/` in it or ending in .toml)' -r
complete -c nomad -n "__fish_nomad_using_subcommand version" -s o -l output -d 'How answers are written' -r -f -a "table\t'For people; may change any day'
json\t'One JSON document; a stable contract'
jsonl\t'One JSON object a line'
raw\t'The bare thing: a value\'s exact bytes, ids, a token'"
complete -c nomad -n "__fish_nomad_using_subcommand version" -l timeout -d 'How long to wait, such as 500ms, 30s or 2m [default: 10s]' -r
complete -c nomad -n "__fish_nomad_using_subcommand version" -l color -d 'When to colour; NO_COLOR is honoured' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t''
never\t''"
complete -c nomad -n "__fish_nomad_using_subcommand version" -s y -l yes -d 'Answer questions with yes'
complete -c nomad -n "__fish_nomad_using_subcommand version" -s q -l quiet -d 'Only the answer: no notes, no progress'
complete -c nomad -n "__fish_nomad_using_subcommand version" -s v -l verbose -d 'Log to stderr what happens; twice: more of it'
complete -c nomad -n "__fish_nomad_using_subcommand version" -s h -l help -d 'Print help (see more with \'--help\')'
