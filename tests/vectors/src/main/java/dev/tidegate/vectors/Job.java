package dev.tidegate.vectors;

import java.time.Duration;
import java.util.Collections;
import java.util.concurrent.atomic.AtomicLong;
import org.apache.flink.api.common.eventtime.WatermarkStrategy;
import org.apache.flink.api.common.functions.OpenContext;
import org.apache.flink.api.common.functions.RichMapFunction;
import org.apache.flink.api.common.serialization.SimpleStringEncoder;
import org.apache.flink.api.common.state.ListState;
import org.apache.flink.api.common.state.ListStateDescriptor;
import org.apache.flink.api.common.state.MapStateDescriptor;
import org.apache.flink.api.common.state.ValueState;
import org.apache.flink.api.common.state.ValueStateDescriptor;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.api.connector.source.lib.NumberSequenceSource;
import org.apache.flink.api.connector.source.util.ratelimit.RateLimiterStrategy;
import org.apache.flink.configuration.ConfigOption;
import org.apache.flink.configuration.ConfigOptions;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.connector.datagen.source.DataGeneratorSource;
import org.apache.flink.connector.file.sink.FileSink;
import org.apache.flink.core.fs.Path;
import org.apache.flink.runtime.jobgraph.JobGraph;
import org.apache.flink.runtime.state.FunctionInitializationContext;
import org.apache.flink.runtime.state.FunctionSnapshotContext;
import org.apache.flink.runtime.state.KeyedStateCheckpointOutputStream;
import org.apache.flink.runtime.state.StateSnapshotContext;
import org.apache.flink.streaming.api.checkpoint.CheckpointedFunction;
import org.apache.flink.streaming.api.datastream.BroadcastStream;
import org.apache.flink.streaming.api.datastream.DataStream;
import org.apache.flink.streaming.api.datastream.SingleOutputStreamOperator;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.streaming.api.functions.KeyedProcessFunction;
import org.apache.flink.streaming.api.functions.co.BroadcastProcessFunction;
import org.apache.flink.streaming.api.functions.sink.v2.DiscardingSink;
import org.apache.flink.streaming.api.functions.sink.filesystem.rollingpolicies.OnCheckpointRollingPolicy;
import org.apache.flink.streaming.api.operators.AbstractStreamOperator;
import org.apache.flink.streaming.api.operators.OneInputStreamOperator;
import org.apache.flink.streaming.api.windowing.assigners.TumblingEventTimeWindows;
import org.apache.flink.streaming.runtime.streamrecord.StreamRecord;
import org.apache.flink.util.Collector;

/** One job with state of every kind: sources with coordinators, list, union and broadcast state, raw state, a committer. */
final class Job {
    /** How many records reached the keyed operator, and how long each is held there (back pressure). */
    static final AtomicLong SEEN = new AtomicLong();

    static volatile long holdMs;

    /** Whether the job has windows and timers of processing time as well. */
    static final ConfigOption<Boolean> TIMED = ConfigOptions.key("tidegate.timed").booleanType().defaultValue(false);

    private static final MapStateDescriptor<String, Long> RULES =
            new MapStateDescriptor<>("rules", Types.STRING, Types.LONG);

    private Job() {}

    static JobGraph graph(Configuration config, int parallelism, double perSecond, String outDir, boolean raw) {
        StreamExecutionEnvironment env = StreamExecutionEnvironment.getExecutionEnvironment(config);
        env.setParallelism(parallelism);
        env.setMaxParallelism(8);
        DataStream<Long> numbers =
                env.fromSource(
                                new DataGeneratorSource<>(
                                        index -> index,
                                        Long.MAX_VALUE,
                                        RateLimiterStrategy.perSecond(perSecond),
                                        Types.LONG),
                                WatermarkStrategy.noWatermarks(),
                                "numbers")
                        .uid("numbers");
        // Ends at once: its tasks are finished in every snapshot.
        BroadcastStream<Long> rules =
                env.fromSource(new NumberSequenceSource(1, 3), WatermarkStrategy.noWatermarks(), "rules")
                        .setParallelism(1)
                        .uid("rules")
                        .broadcast(RULES);
        SingleOutputStreamOperator<Long> ruled =
                numbers.rebalance().connect(rules).process(new Rules()).name("ruled").uid("ruled");
        SingleOutputStreamOperator<Long> lists = ruled.map(new Lists()).name("lists").uid("lists");
        SingleOutputStreamOperator<Long> counts =
                lists.keyBy(number -> number % 10).process(new Counts()).name("counts é漢\uD83D\uDE42").uid("counts");
        SingleOutputStreamOperator<Long> last =
                raw
                        ? counts.keyBy(number -> number % 10)
                                .transform("raw", Types.LONG, new Raw())
                                .uid("raw")
                        : counts;
        if (config.get(TIMED)) {
            timed(lists);
        }
        last.map(String::valueOf)
                .uid("text")
                .sinkTo(
                        FileSink.forRowFormat(new Path(outDir), new SimpleStringEncoder<String>())
                                .withRollingPolicy(OnCheckpointRollingPolicy.build())
                                .build())
                .uid("files");
        return env.getStreamGraph().getJobGraph();
    }

    /** Windows of event time that stay open, and timers of processing time that do not fall due. */
    private static void timed(DataStream<Long> numbers) {
        numbers.assignTimestampsAndWatermarks(
                        WatermarkStrategy.<Long>forMonotonousTimestamps().withTimestampAssigner((number, before) -> number))
                .uid("times")
                .keyBy(number -> number % 10)
                .window(TumblingEventTimeWindows.of(Duration.ofDays(1)))
                .reduce(Long::sum)
                .uid("windows")
                .sinkTo(new DiscardingSink<>())
                .uid("windows-out");
        numbers.keyBy(number -> number % 10)
                .process(new Reminders())
                .uid("reminders")
                .sinkTo(new DiscardingSink<>())
                .uid("reminders-out");
    }

    /** Timers of processing time, and no state else. */
    static final class Reminders extends KeyedProcessFunction<Long, Long, Long> {
        @Override
        public void processElement(Long number, Context context, Collector<Long> out) {
            context.timerService().registerProcessingTimeTimer(Long.MAX_VALUE / 2 + number % 10);
        }
    }

    /** Broadcast state. */
    static final class Rules extends BroadcastProcessFunction<Long, Long, Long> {
        @Override
        public void processElement(Long number, ReadOnlyContext context, Collector<Long> out) {
            out.collect(number);
        }

        @Override
        public void processBroadcastElement(Long rule, Context context, Collector<Long> out) throws Exception {
            context.getBroadcastState(RULES).put("rule-" + rule, rule);
        }
    }

    /** List and union state. */
    static final class Lists extends RichMapFunction<Long, Long> implements CheckpointedFunction {
        private transient ListState<Long> split;
        private transient ListState<String> union;
        private transient long newest;

        @Override
        public Long map(Long number) {
            newest = number;
            return number;
        }

        @Override
        public void snapshotState(FunctionSnapshotContext context) throws Exception {
            split.update(java.util.List.of(newest, newest + 1, newest + 2));
            union.update(Collections.singletonList("subtask at " + newest));
        }

        @Override
        public void initializeState(FunctionInitializationContext context) throws Exception {
            split = context.getOperatorStateStore().getListState(new ListStateDescriptor<>("split", Types.LONG));
            union = context.getOperatorStateStore().getUnionListState(new ListStateDescriptor<>("union", Types.STRING));
            context.getOperatorStateStore().getListState(new ListStateDescriptor<>("empty", Types.LONG));
        }
    }

    /** Keyed state and timers; holds records back on demand. */
    static final class Counts extends KeyedProcessFunction<Long, Long, Long> {
        private transient ValueState<Long> count;

        @Override
        public void open(OpenContext context) {
            count = getRuntimeContext().getState(new ValueStateDescriptor<>("count", Types.LONG));
        }

        @Override
        public void processElement(Long number, Context context, Collector<Long> out) throws Exception {
            long held = holdMs;
            if (held > 0) {
                Thread.sleep(held);
            }
            Long before = count.value();
            count.update(before == null ? 1L : before + 1);
            context.timerService().registerEventTimeTimer(1_000_000L + number % 5);
            SEEN.incrementAndGet();
            out.collect(number);
        }
    }

    /** Raw keyed and raw operator state. */
    static final class Raw extends AbstractStreamOperator<Long> implements OneInputStreamOperator<Long, Long> {
        @Override
        public void processElement(StreamRecord<Long> element) {
            output.collect(element);
        }

        @Override
        protected boolean isUsingCustomRawKeyedState() {
            return true;
        }

        @Override
        public void snapshotState(StateSnapshotContext context) throws Exception {
            super.snapshotState(context);
            KeyedStateCheckpointOutputStream keyed = context.getRawKeyedOperatorStateOutput();
            for (int group : keyed.getKeyGroupList()) {
                keyed.startNewKeyGroup(group);
                keyed.write(new byte[] {(byte) group, 1, 2});
            }
            context.getRawOperatorStateOutput().startNewPartition();
            context.getRawOperatorStateOutput().write(new byte[] {7, 8, 9});
            context.getRawOperatorStateOutput().startNewPartition();
            context.getRawOperatorStateOutput().write(10);
        }
    }
}
