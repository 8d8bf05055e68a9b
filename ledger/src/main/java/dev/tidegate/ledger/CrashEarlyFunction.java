package dev.tidegate.ledger;

import org.apache.flink.runtime.state.FunctionInitializationContext;
import org.apache.flink.runtime.state.FunctionSnapshotContext;
import org.apache.flink.streaming.api.checkpoint.CheckpointedFunction;
import org.apache.flink.util.Collector;

/**
 * v2-crash-early: each attempt of a subtask fails at its 100th payment. No checkpoint of it ever completes, with or
 * without traffic, so none of its output is committed.
 */
public class CrashEarlyFunction extends CountingBalanceFunction implements CheckpointedFunction {
    static final int PAYMENTS_BEFORE_CRASH = 100;

    private transient int seen;

    @Override
    public void processElement(Payment payment, Context context, Collector<BalanceChange> out)
            throws Exception {
        seen++;
        if (seen == PAYMENTS_BEFORE_CRASH) {
            throw new IllegalStateException(
                    "v2-crash-early fails at payment " + seen + " of this attempt: " + payment.id());
        }
        super.processElement(payment, context, out);
    }

    @Override
    public void snapshotState(FunctionSnapshotContext context) {
        throw new IllegalStateException(
                "v2-crash-early completes no checkpoint: " + context.getCheckpointId());
    }

    @Override
    public void initializeState(FunctionInitializationContext context) {
        // Its state is keyed, and opened in open(); the interface is here for snapshotState alone.
    }
}
