"""The engine, and the flow around it: from a log of events to alerts, each exactly once.

    language/    text → pattern
    automaton/   pattern → plan
    matcher/     plan × columns → matches
    pipeline     the whole line, as one pure function over a batch
    lane         read, process, commit; come back after a crash
    log/         where events come from and where a commit goes: files, SQLite, Kafka
    storage/     the tables of alerts, and the sink that fills them
    history      a file of events as columns
    backtest     patterns over a file of history
    simulate     a card stream with planted fraud; `demo` plays it through the whole machine
    testing      the test kit for patterns: events as text in, matches out
    cli/         the command `stakeout`

`cep.worker` is where a process is put together; nothing is constructed when a module is imported.
"""
