package dev.tidegate.ledger;

import org.apache.flink.api.common.functions.OpenContext;
import org.apache.flink.api.common.state.CheckpointListener;

/**
 * v2-crash-late: healthy until its fourth completed checkpoint, then it fails; after each restart it fails again at the
 * first one that completes. So some of its output is committed, and all of it is right. v1 can read its state.
 */
public class CrashLateFunction extends CountingBalanceFunction implements CheckpointListener {
    static final int CHECKPOINTS_BEFORE_FIRST_CRASH = 4;
    static final int CHECKPOINTS_BEFORE_NEXT_CRASH = 1;

    private transient int attempt;
    private transient int completed;

    @Override
    public void open(OpenContext context) throws Exception {
        super.open(context);
        attempt = getRuntimeContext().getTaskInfo().getAttemptNumber();
    }

    @Override
    public void notifyCheckpointComplete(long checkpointId) {
        completed++;
        int limit = attempt == 0 ? CHECKPOINTS_BEFORE_FIRST_CRASH : CHECKPOINTS_BEFORE_NEXT_CRASH;
        if (completed == limit) {
            throw new IllegalStateException(
                    "v2-crash-late fails at its completed checkpoint "
                            + completed
                            + " (number "
                            + checkpointId
                            + ") of attempt "
                            + attempt);
        }
    }
}
