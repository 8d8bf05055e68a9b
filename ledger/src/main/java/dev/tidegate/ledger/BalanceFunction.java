package dev.tidegate.ledger;

import org.apache.flink.api.common.functions.OpenContext;
import org.apache.flink.api.common.state.ValueState;
import org.apache.flink.api.common.state.ValueStateDescriptor;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.streaming.api.functions.KeyedProcessFunction;
import org.apache.flink.util.Collector;

/** v1: the running balance of each account, in cents, in the state {@code balance}. */
public class BalanceFunction extends KeyedProcessFunction<String, Payment, BalanceChange> {
    static final String BALANCE_STATE = "balance";

    private final int version;
    private transient ValueState<Long> balance;

    /**
     * @param version the artifact's number, written into each output record
     */
    public BalanceFunction(int version) {
        this.version = version;
    }

    @Override
    public void open(OpenContext context) throws Exception {
        balance = getRuntimeContext().getState(balanceDescriptor());
    }

    @Override
    public void processElement(Payment payment, Context context, Collector<BalanceChange> out)
            throws Exception {
        Long before = balance.value();
        long after = Math.addExact(before == null ? 0L : before, payment.amount());
        balance.update(after);
        out.collect(change(payment, after));
    }

    /** How the balance is stored; the variants with other state differ here. */
    protected ValueStateDescriptor<Long> balanceDescriptor() {
        return new ValueStateDescriptor<>(BALANCE_STATE, Types.LONG);
    }

    /** What is written for a payment. Called once a payment, after the state was updated. */
    protected BalanceChange change(Payment payment, long balanceAfter) throws Exception {
        return BalanceChange.of(payment, balanceAfter, version);
    }
}
