package dev.tidegate.ledger;

import java.util.Arrays;
import java.util.function.Supplier;
import java.util.stream.Collectors;

/** The artifacts of this code base: each jar is one of them, named in its manifest. */
public enum Variant {
    V1("v1", Uids.BALANCE, () -> new BalanceFunction(1)),
    V2("v2", Uids.BALANCE, CountingBalanceFunction::new),
    /** With event-time windows and timers of processing time beside the balances. */
    V2_WINDOWS("v2-windows", Uids.BALANCE, CountingBalanceFunction::new),
    V2_RESTORE_FAILS("v2-restore-fails", Uids.BALANCE, RestoreFailsFunction::new),
    /** The operator was renamed: Flink refuses to start it from a snapshot whose state it cannot place. */
    V2_REJECTED("v2-rejected", Uids.BALANCE + "-renamed", CountingBalanceFunction::new),
    V2_CRASH_EARLY("v2-crash-early", Uids.BALANCE, CrashEarlyFunction::new),
    V2_CRASH_LATE("v2-crash-late", Uids.BALANCE, CrashLateFunction::new),
    V2_CRASH_LATE_UNREADABLE(
            "v2-crash-late-unreadable", Uids.BALANCE, CrashLateUnreadableFunction::new),
    V2_STUCK("v2-stuck", Uids.BALANCE, StuckFunction::new),
    V2_WRONG("v2-wrong", Uids.BALANCE, WrongBalanceFunction::new);

    private final String artifact;
    private final String balanceUid;
    private final Supplier<BalanceFunction> function;

    Variant(String artifact, String balanceUid, Supplier<BalanceFunction> function) {
        this.artifact = artifact;
        this.balanceUid = balanceUid;
        this.function = function;
    }

    /** Its name, as in {@code ledger-<name>.jar}. */
    public String artifact() {
        return artifact;
    }

    /** The uid of its balance operator. */
    public String balanceUid() {
        return balanceUid;
    }

    /** Whether it has windows and timers beside the balances ({@link TimedBranches}). */
    public boolean timed() {
        return this == V2_WINDOWS;
    }

    /** A new instance of what its balance operator runs. */
    public BalanceFunction function() {
        return function.get();
    }

    /**
     * The variant that a jar's manifest names (Implementation-Version), seen through a package of that jar.
     *
     * @throws IllegalStateException if there is no manifest or it names no variant
     */
    public static Variant of(Package jar) {
        String name = jar.getImplementationVersion();
        return Arrays.stream(values())
                .filter(variant -> variant.artifact.equals(name))
                .findFirst()
                .orElseThrow(
                        () ->
                                new IllegalStateException(
                                        "the jar's Implementation-Version is "
                                                + name
                                                + ", expected one of "
                                                + Arrays.stream(values())
                                                        .map(Variant::artifact)
                                                        .collect(Collectors.joining(", "))));
    }
}
