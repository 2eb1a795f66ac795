"""Speed, memory and cost of a server, measured from outside: `python -m benchmarks`, `make bench`, `make bench-peer`.

Not part of the distribution. A server is a command line, driven over stdio and websocket with a fake provider in a
process of its own; nothing of `app_server` is imported, so that any app-server can be measured.

    options      what was asked                    figures      every figure: its row, unit, must and aim
    __main__     runs it, writes the results       samples      median, spread, ratios          } pure
    session      which server measures when        rounds       whose turn it is                }
    bench        one server and its homes          table        text and markdown               }
    rows_*       how a row is measured             directive    what the fake provider is told  }
    client       the protocol's client             run          a whole run as JSON             }
    channels     pipes and websocket below it
    process      CPU, memory and files of a child  upstream     the fake provider's process; `provider` is our end of it
    machine      where it ran, and how busy        peer         where the reference server comes from
"""
