package dev.tidegate.ledger;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import org.apache.flink.runtime.checkpoint.OperatorSubtaskState;
import org.apache.flink.util.StateMigrationException;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.EnumSource.Mode;

/** Who can read whose state (X27: known before the upgrade, not found out in the emergency). */
class StateTest {
    private static final String[] BEFORE = {"a1,a1,1,100", "a2,a2,1,-7", "a1,a1,2,50"};

    private static OperatorSubtaskState stateOf(Variant variant) throws Exception {
        try (BalanceHarness harness = BalanceHarness.fresh(variant)) {
            harness.take(BEFORE);
            return harness.snapshot();
        }
    }

    private static OperatorSubtaskState stateOf(Variant variant, OperatorSubtaskState from)
            throws Exception {
        try (BalanceHarness harness = BalanceHarness.from(variant, from)) {
            harness.take("a1,a1,3,1");
            return harness.snapshot();
        }
    }

    @Test
    void v1GoesOnFromItsOwnState() throws Exception {
        try (BalanceHarness v1 = BalanceHarness.from(Variant.V1, stateOf(Variant.V1))) {
            assertThat(v1.take("a1,a1,3,1", "a2,a2,2,0", "a3,a3,1,5"))
                    .containsExactly("a1,a1,3,1,151,1", "a2,a2,2,0,-7,1", "a3,a3,1,5,5,1");
        }
    }

    @Test
    void v2GoesOnFromV1AndCountsFromZero() throws Exception {
        try (BalanceHarness v2 = BalanceHarness.from(Variant.V2, stateOf(Variant.V1))) {
            assertThat(v2.take("a1,a1,3,1", "a1,a1,4,1", "a2,a2,2,0"))
                    .containsExactly("a1,a1,3,1,151,2,1", "a1,a1,4,1,152,2,2", "a2,a2,2,0,-7,2,1");
        }
    }

    @Test
    void v2KeepsItsCount() throws Exception {
        OperatorSubtaskState state = stateOf(Variant.V2, stateOf(Variant.V1));
        try (BalanceHarness v2 = BalanceHarness.from(Variant.V2, state)) {
            assertThat(v2.take("a1,a1,4,1")).containsExactly("a1,a1,4,1,152,2,2");
        }
    }

    /** Back to v1, and on to v2 again: the balances are right, the count has missed what v1 did. */
    @ParameterizedTest
    @EnumSource(names = {"V2", "V2_CRASH_LATE", "V2_WRONG"})
    void v1ReadsWhatV2Wrote(Variant variant) throws Exception {
        OperatorSubtaskState forth = stateOf(variant, stateOf(Variant.V1));
        OperatorSubtaskState back;
        try (BalanceHarness v1 = BalanceHarness.from(Variant.V1, forth)) {
            assertThat(v1.take("a1,a1,4,1", "a2,a2,2,1"))
                    .containsExactly("a1,a1,4,1,152,1", "a2,a2,2,1,-6,1");
            back = v1.snapshot();
        }
        try (BalanceHarness v2 = BalanceHarness.from(Variant.V2, back)) {
            assertThat(v2.take("a1,a1,5,1", "a2,a2,3,1"))
                    .containsExactly("a1,a1,5,1,153,2,2", "a2,a2,3,1,-5,2,1");
        }
    }

    @Test
    void unreadableMigratesV1sBalancesAndReadsItsOwn() throws Exception {
        OperatorSubtaskState migrated =
                stateOf(Variant.V2_CRASH_LATE_UNREADABLE, stateOf(Variant.V1));
        try (BalanceHarness again = BalanceHarness.from(Variant.V2_CRASH_LATE_UNREADABLE, migrated)) {
            assertThat(again.take("a1,a1,4,1", "a2,a2,2,1"))
                    .containsExactly("a1,a1,4,1,152,2,2", "a2,a2,2,1,-6,2,1");
        }
    }

    /** Also when no balance was changed since: the format is the state's, not the value's. */
    @ParameterizedTest
    @EnumSource(names = {"V1", "V2"})
    void theHealthyOnesCannotReadTheUnreadable(Variant healthy) throws Exception {
        OperatorSubtaskState fresh = stateOf(Variant.V2_CRASH_LATE_UNREADABLE);
        OperatorSubtaskState migrated =
                stateOf(Variant.V2_CRASH_LATE_UNREADABLE, stateOf(Variant.V1));
        for (OperatorSubtaskState state : new OperatorSubtaskState[] {fresh, migrated}) {
            assertThatThrownBy(() -> BalanceHarness.from(healthy, state).close())
                    .hasRootCauseInstanceOf(StateMigrationException.class);
        }
    }

    @Test
    void restoreFailsFailsOnV1sStateAsItOpens() throws Exception {
        OperatorSubtaskState state = stateOf(Variant.V1);
        assertThatThrownBy(() -> BalanceHarness.from(Variant.V2_RESTORE_FAILS, state).close())
                .hasRootCauseInstanceOf(StateMigrationException.class);
    }

    @ParameterizedTest
    @EnumSource(mode = Mode.EXCLUDE, names = "V2_RESTORE_FAILS")
    void everyOtherOneOpensOnV1sState(Variant variant) throws Exception {
        BalanceHarness.from(variant, stateOf(Variant.V1)).close();
    }

    @ParameterizedTest
    @EnumSource
    void onlyTheRejectedOneRenamesItsOperator(Variant variant) {
        assertThat(variant.balanceUid().equals("balance")).isEqualTo(variant != Variant.V2_REJECTED);
    }
}
