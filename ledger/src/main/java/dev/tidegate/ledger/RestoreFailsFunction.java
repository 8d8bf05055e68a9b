package dev.tidegate.ledger;

import org.apache.flink.api.common.state.ValueStateDescriptor;
import org.apache.flink.api.java.typeutils.GenericTypeInfo;

/**
 * v2-restore-fails: the balance is stored by Kryo, as when a type was changed without thought. Flink accepts the job;
 * then each task that has state fails as it opens, with a StateMigrationException, again after each restart.
 */
public class RestoreFailsFunction extends CountingBalanceFunction {
    @Override
    protected ValueStateDescriptor<Long> balanceDescriptor() {
        return new ValueStateDescriptor<>(BALANCE_STATE, new GenericTypeInfo<>(Long.class));
    }
}
