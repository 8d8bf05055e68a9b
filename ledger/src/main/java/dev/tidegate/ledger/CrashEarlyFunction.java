package dev.tidegate.ledger;

import org.apache.flink.runtime.state.FunctionInitializationContext;
import org.apache.flink.runtime.state.FunctionSnapshotContext;
import org.apache.flink.streaming.api.checkpoint.CheckpointedFunction;

/**
 * v2-crash-early: each attempt fails at its first checkpoint, with or without traffic. Flink asks for one only once all
 * tasks run, so the job is always seen to run first; none completes, so none of its output is committed.
 */
public class CrashEarlyFunction extends CountingBalanceFunction implements CheckpointedFunction {
    @Override
    public void snapshotState(FunctionSnapshotContext context) {
        throw new IllegalStateException(
                "v2-crash-early completes no checkpoint: it fails at number "
                        + context.getCheckpointId());
    }

    @Override
    public void initializeState(FunctionInitializationContext context) {
        // Its state is keyed, and opened in open(); the interface is here for snapshotState alone.
    }
}
