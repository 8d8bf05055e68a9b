package dev.tidegate.ledger;

import org.apache.flink.api.common.state.ValueStateDescriptor;

/**
 * v2-crash-late-unreadable: as v2-crash-late, but it migrates the balances to a format that v1 cannot read. The way
 * back is then the savepoint from before, at the price of repeating what was committed since.
 */
public class CrashLateUnreadableFunction extends CrashLateFunction {
    @Override
    protected ValueStateDescriptor<Long> balanceDescriptor() {
        return new ValueStateDescriptor<>(BALANCE_STATE, new StampedLongSerializer());
    }
}
