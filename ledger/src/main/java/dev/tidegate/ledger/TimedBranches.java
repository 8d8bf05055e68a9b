package dev.tidegate.ledger;

import java.time.Duration;
import org.apache.flink.api.common.eventtime.WatermarkStrategy;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.streaming.api.datastream.DataStream;
import org.apache.flink.streaming.api.functions.sink.v2.DiscardingSink;
import org.apache.flink.streaming.api.windowing.assigners.TumblingEventTimeWindows;

/**
 * v2-windows: beside the balances, what depends on time. The turnover of each account by the minute of event time, and
 * the accounts that fell silent, told by a timer of processing time. Neither is written to Kafka: the balances stay what
 * the auditor knows.
 *
 * <p>The source has idleness: a partition that is empty after a failover would hold all windows back for ever otherwise.
 */
final class TimedBranches {
    static final Duration OUT_OF_ORDER = Duration.ofSeconds(5);
    static final Duration IDLE = Duration.ofSeconds(30);
    static final Duration WINDOW = Duration.ofMinutes(1);

    private TimedBranches() {}

    /** By the time that Kafka keeps with each payment: when its producer made it. */
    static WatermarkStrategy<Payment> watermarks() {
        return WatermarkStrategy.<Payment>forBoundedOutOfOrderness(OUT_OF_ORDER).withIdleness(IDLE);
    }

    static void beside(DataStream<Payment> payments) {
        payments.keyBy(Payment::account, Types.STRING)
                .window(TumblingEventTimeWindows.of(WINDOW))
                .reduce(TimedBranches::sum)
                .returns(TypeInformation.of(Payment.class))
                .name(Uids.TURNOVER)
                .uid(Uids.TURNOVER)
                .sinkTo(new DiscardingSink<>())
                .name(Uids.TURNOVER + Uids.OUT)
                .uid(Uids.TURNOVER + Uids.OUT);
        payments.keyBy(Payment::account, Types.STRING)
                .process(new SilenceFunction(), Types.STRING)
                .name(Uids.SILENCE)
                .uid(Uids.SILENCE)
                .sinkTo(new DiscardingSink<>())
                .name(Uids.SILENCE + Uids.OUT)
                .uid(Uids.SILENCE + Uids.OUT);
    }

    private static Payment sum(Payment one, Payment next) {
        return new Payment(
                next.id(), next.account(), next.sequence(), Math.addExact(one.amount(), next.amount()));
    }
}
