"""What `script/server` runs: the whole product under one supervisor, in the foreground.

Reads the environment, starts processes, ends them. Imports no Django set-up and no app: it must be able to say in one
sentence what is wrong with the machine before any of that is loaded.

    __main__        the order of things: check, prepare, supervise, sweep
    config          what the environment asks for, and whether this machine can provide it
    programs        which processes there are, and how each is started
    supervision     keeps them running (library: supervisor)
    child           the first thing that each of them runs
    lifetime        ties processes to their parents' lives
    announce        says the address once the page answers
    embedded_redis  Redis on a socket in the data folder; tests use it too
    web             the web process
    http_protocol   what its connections need on the open internet
    is_healthy      asks the web process whether it answers
"""
