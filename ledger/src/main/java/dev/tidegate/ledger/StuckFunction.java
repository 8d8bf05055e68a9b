package dev.tidegate.ledger;

import java.util.concurrent.CountDownLatch;
import org.apache.flink.util.Collector;

/**
 * v2-stuck: RUNNING, but each subtask blocks for ever at its first payment, so from then on no checkpoint can
 * complete. The wait ends by an interrupt alone, which Flink sends when the job is cancelled.
 */
public class StuckFunction extends CountingBalanceFunction {
    @Override
    public void processElement(Payment payment, Context context, Collector<BalanceChange> out)
            throws Exception {
        new CountDownLatch(1).await();
    }
}
