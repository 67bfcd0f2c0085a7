"""The supervisor that `script/server` starts: it runs the whole product, in the foreground.

It reads the environment, starts processes and ends them. It imports no Django set-up and no app, so that it can report
in one sentence what is wrong with the machine before any of them is loaded.

    __main__        the entry point: check, prepare, supervise, clean up
    config          what the environment asks for, and whether this machine can provide it
    programs        which processes there are, and how each is started
    supervision     keeps them running, with the library supervisor
    child           starts inside each of them
    lifetime        ends processes when their parent ends
    announce        prints the address when the page answers
    embedded_redis  Redis on a socket in the data folder; tests use it too
    web             the web process
    web_processes   several of them on one port
    http_protocol   its HTTP protocol, hardened for the open internet
    is_healthy      checks that the web process answers
"""
