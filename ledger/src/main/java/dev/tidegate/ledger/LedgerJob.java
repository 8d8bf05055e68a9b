package dev.tidegate.ledger;

import java.util.Properties;
import org.apache.flink.api.common.eventtime.WatermarkStrategy;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.connector.base.DeliveryGuarantee;
import org.apache.flink.connector.kafka.sink.KafkaSink;
import org.apache.flink.connector.kafka.source.KafkaSource;
import org.apache.flink.connector.kafka.source.enumerator.initializer.OffsetsInitializer;
import org.apache.flink.streaming.api.datastream.DataStream;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.producer.ProducerConfig;

/**
 * Kafka payments, the balance of each account, Kafka balances; exactly once. Parallelism, checkpoints, state backend
 * and restarts are the cluster's and the submitter's to set: nothing of them is set here.
 */
public final class LedgerJob {
    private LedgerJob() {}

    /**
     * @param args see {@link Arguments}
     */
    public static void main(String[] args) throws Exception {
        Variant variant = Variant.of(LedgerJob.class.getPackage());
        StreamExecutionEnvironment environment = StreamExecutionEnvironment.getExecutionEnvironment();
        build(environment, variant, Arguments.parse(args));
        environment.execute("ledger " + variant.artifact());
    }

    static void build(StreamExecutionEnvironment environment, Variant variant, Arguments arguments) {
        WatermarkStrategy<Payment> watermarks =
                variant.timed() ? TimedBranches.watermarks() : WatermarkStrategy.noWatermarks();
        DataStream<Payment> payments =
                environment.fromSource(source(arguments), watermarks, Uids.SOURCE).uid(Uids.SOURCE);
        payments.keyBy(Payment::account, Types.STRING)
                .process(variant.function(), TypeInformation.of(BalanceChange.class))
                .name(Uids.BALANCE)
                .uid(variant.balanceUid())
                .sinkTo(sink(arguments))
                .name(Uids.SINK)
                .uid(Uids.SINK);
        if (variant.timed()) {
            TimedBranches.beside(payments);
        }
    }

    private static KafkaSource<Payment> source(Arguments arguments) {
        return KafkaSource.<Payment>builder()
                .setProperties(arguments.kafka())
                .setBootstrapServers(arguments.bootstrap())
                .setTopics(arguments.input())
                .setGroupId(arguments.group())
                .setProperty(ConsumerConfig.ISOLATION_LEVEL_CONFIG, "read_committed")
                .setStartingOffsets(OffsetsInitializer.earliest())
                .setDeserializer(new PaymentDeserializer())
                .build();
    }

    private static KafkaSink<BalanceChange> sink(Arguments arguments) {
        Properties properties = new Properties();
        properties.putAll(arguments.kafka());
        properties.setProperty(
                ProducerConfig.TRANSACTION_TIMEOUT_CONFIG,
                Integer.toString(arguments.transactionTimeoutMs()));
        return KafkaSink.<BalanceChange>builder()
                .setKafkaProducerConfig(properties)
                .setBootstrapServers(arguments.bootstrap())
                .setDeliveryGuarantee(DeliveryGuarantee.EXACTLY_ONCE)
                .setTransactionalIdPrefix(arguments.transactionalPrefix())
                .setRecordSerializer(new BalanceSerializer(arguments.output()))
                .build();
    }
}
