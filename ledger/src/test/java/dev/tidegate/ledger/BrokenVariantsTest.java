package dev.tidegate.ledger;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.util.List;
import java.util.concurrent.atomic.AtomicReference;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/** Each broken variant breaks in its own way, and in no other. */
class BrokenVariantsTest {
    private static String[] payments(int count) {
        return IntStream.rangeClosed(1, count)
                .mapToObj(sequence -> "a1:" + sequence + ",a1," + sequence + ",10")
                .toArray(String[]::new);
    }

    @Test
    void wrongIsWrongForOneInAThousandAndItsStateIsRight() throws Exception {
        String[] payments = payments(10_000);
        List<String> right;
        List<String> wrong;
        try (BalanceHarness v2 = BalanceHarness.fresh(Variant.V2);
                BalanceHarness broken = BalanceHarness.fresh(Variant.V2_WRONG)) {
            right = v2.take(payments);
            wrong = broken.take(payments);
        }
        List<Integer> differing =
                IntStream.range(0, payments.length)
                        .filter(i -> !right.get(i).equals(wrong.get(i)))
                        .boxed()
                        .toList();
        assertThat(differing).hasSizeBetween(3, 25);
        assertThat(differing)
                .allSatisfy(
                        i -> {
                            long sequence = i + 1L;
                            assertThat(WrongBalanceFunction.isWrittenWrong("a1:" + sequence)).isTrue();
                            assertThat(wrong.get(i))
                                    .isEqualTo(
                                            "a1:%d,a1,%d,10,%d,2,%d"
                                                    .formatted(
                                                            sequence, sequence, sequence * 10 + 1, sequence));
                        });
    }

    @Test
    void crashEarlyFailsAtItsFirstCheckpoint() throws Exception {
        try (BalanceHarness harness = BalanceHarness.fresh(Variant.V2_CRASH_EARLY)) {
            assertThat(harness.take(payments(200))).hasSize(200);
            assertThatThrownBy(harness::snapshot).hasStackTraceContaining("completes no checkpoint");
        }
    }

    @ParameterizedTest
    @EnumSource(names = {"V2_CRASH_LATE", "V2_CRASH_LATE_UNREADABLE"})
    void crashLateFailsAtItsFourthCompletedCheckpoint(Variant variant) throws Exception {
        try (BalanceHarness harness = BalanceHarness.fresh(variant)) {
            for (int i = 1; i <= 3; i++) {
                harness.take(payments(5));
                harness.snapshot();
                harness.complete();
            }
            harness.snapshot();
            assertThatThrownBy(harness::complete)
                    .hasStackTraceContaining("fails at its completed checkpoint 4 (number 4) of attempt 0");
        }
    }

    /** X14 says stopped only when every task has ended: so a stuck one must end by the interrupt of a cancel. */
    @Test
    @Timeout(20)
    void stuckBlocksAtItsFirstPaymentUntilInterrupted() throws Exception {
        try (BalanceHarness harness = BalanceHarness.fresh(Variant.V2_STUCK)) {
            AtomicReference<Throwable> end = new AtomicReference<>();
            Thread task =
                    new Thread(
                            () -> {
                                try {
                                    harness.take(payments(1));
                                } catch (Throwable e) {
                                    end.set(e);
                                }
                            });
            task.start();
            while (task.getState() != Thread.State.WAITING) {
                assertThat(task.isAlive()).isTrue();
                Thread.onSpinWait();
            }
            task.interrupt();
            task.join();
            assertThat(end.get()).isInstanceOf(InterruptedException.class);
        }
    }
}
