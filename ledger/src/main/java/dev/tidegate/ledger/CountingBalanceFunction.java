package dev.tidegate.ledger;

import org.apache.flink.api.common.functions.OpenContext;
import org.apache.flink.api.common.state.ValueState;
import org.apache.flink.api.common.state.ValueStateDescriptor;
import org.apache.flink.api.common.typeinfo.Types;

/**
 * v2: counts each account's payments too, in a second state of the same operator, and writes the count as a further
 * field. It begins at zero where v1 left off. v1 can restore from its state: it leaves the state {@code count} alone,
 * which then stays in the snapshots and grows stale.
 */
public class CountingBalanceFunction extends BalanceFunction {
    static final String COUNT_STATE = "count";
    static final int VERSION = 2;

    private transient ValueState<Long> count;

    public CountingBalanceFunction() {
        super(VERSION);
    }

    @Override
    public void open(OpenContext context) throws Exception {
        super.open(context);
        count = getRuntimeContext().getState(new ValueStateDescriptor<>(COUNT_STATE, Types.LONG));
    }

    @Override
    protected BalanceChange change(Payment payment, long balanceAfter) throws Exception {
        Long before = count.value();
        long after = before == null ? 1L : before + 1L;
        count.update(after);
        return super.change(payment, balanceAfter).with(after);
    }
}
