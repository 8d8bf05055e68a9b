package dev.tidegate.ledger;

import java.util.List;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.runtime.checkpoint.OperatorSubtaskState;
import org.apache.flink.state.rocksdb.EmbeddedRocksDBStateBackend;
import org.apache.flink.streaming.api.operators.KeyedProcessOperator;
import org.apache.flink.streaming.util.KeyedOneInputStreamOperatorTestHarness;

/** The balance operator of one variant on RocksDB, alone, started from a snapshot or from nothing. */
final class BalanceHarness implements AutoCloseable {
    private final KeyedOneInputStreamOperatorTestHarness<String, Payment, BalanceChange> harness;
    private long checkpoint;

    private BalanceHarness(Variant variant) throws Exception {
        harness =
                new KeyedOneInputStreamOperatorTestHarness<>(
                        new KeyedProcessOperator<>(variant.function()), Payment::account, Types.STRING);
        harness.setStateBackend(new EmbeddedRocksDBStateBackend());
        harness.setup();
    }

    static BalanceHarness fresh(Variant variant) throws Exception {
        return from(variant, null);
    }

    static BalanceHarness from(Variant variant, OperatorSubtaskState snapshot) throws Exception {
        BalanceHarness started = new BalanceHarness(variant);
        try {
            if (snapshot != null) {
                started.harness.initializeState(snapshot);
            }
            started.harness.open();
        } catch (Exception e) {
            started.close();
            throw e;
        }
        return started;
    }

    /** Takes payments, written as in the topic, and answers with what comes out, as in the topic. */
    List<String> take(String... payments) throws Exception {
        harness.getOutput().clear();
        for (String payment : payments) {
            harness.processElement(Payment.parse(payment), 0);
        }
        return harness.extractOutputValues().stream().map(BalanceChange::text).toList();
    }

    OperatorSubtaskState snapshot() throws Exception {
        checkpoint++;
        return harness.snapshot(checkpoint, checkpoint);
    }

    void complete() throws Exception {
        harness.notifyOfCompletedCheckpoint(checkpoint);
    }

    @Override
    public void close() throws Exception {
        harness.close();
    }
}
