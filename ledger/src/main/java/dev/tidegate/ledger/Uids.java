package dev.tidegate.ledger;

/** The uids by which Flink finds an operator's state again. They never change. */
final class Uids {
    static final String SOURCE = "payments-source";
    static final String BALANCE = "balance";
    static final String SINK = "balances-sink";
    static final String TURNOVER = "turnover";
    static final String SILENCE = "silence";
    static final String OUT = "-out";

    private Uids() {}
}
