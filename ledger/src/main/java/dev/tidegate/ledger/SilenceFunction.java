package dev.tidegate.ledger;

import java.time.Duration;
import org.apache.flink.api.common.functions.OpenContext;
import org.apache.flink.api.common.state.ValueState;
import org.apache.flink.api.common.state.ValueStateDescriptor;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.streaming.api.functions.KeyedProcessFunction;
import org.apache.flink.util.Collector;

/**
 * Tells an account that had no payment for a while of this machine's clock. After an outage all timers that fell due
 * meanwhile fire at once: it tells accounts that were silent only because nothing was processed.
 */
public class SilenceFunction extends KeyedProcessFunction<String, Payment, String> {
    static final String DUE_STATE = "due";
    static final Duration SILENT = Duration.ofMinutes(10);

    private transient ValueState<Long> due;

    @Override
    public void open(OpenContext context) {
        due = getRuntimeContext().getState(new ValueStateDescriptor<>(DUE_STATE, Types.LONG));
    }

    @Override
    public void processElement(Payment payment, Context context, Collector<String> out)
            throws Exception {
        long next = context.timerService().currentProcessingTime() + SILENT.toMillis();
        if (due.value() == null) {
            context.timerService().registerProcessingTimeTimer(next);
        }
        due.update(next);
    }

    @Override
    public void onTimer(long timestamp, OnTimerContext context, Collector<String> out)
            throws Exception {
        Long next = due.value();
        if (next != null && next > timestamp) { // there were payments since the timer was set
            context.timerService().registerProcessingTimeTimer(next);
            return;
        }
        due.clear();
        out.collect(context.getCurrentKey());
    }
}
