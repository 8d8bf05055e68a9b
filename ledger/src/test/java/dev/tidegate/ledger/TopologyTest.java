package dev.tidegate.ledger;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.util.HashSet;
import java.util.Properties;
import java.util.Set;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.streaming.api.graph.StreamGraph;
import org.apache.flink.streaming.api.graph.StreamNode;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.ValueSource;

class TopologyTest {
    private static final String REQUIRED =
            "--bootstrap localhost:1 --input payments --output balances --group g --transactional-prefix tg.ledger.";

    private static Arguments parse(String arguments) {
        return Arguments.parse(arguments.split(" "));
    }

    @ParameterizedTest
    @EnumSource
    void everyOperatorHasItsUidAndTheSubmittersParallelism(Variant variant) {
        StreamExecutionEnvironment environment =
                StreamExecutionEnvironment.getExecutionEnvironment();
        environment.setParallelism(3);
        LedgerJob.build(environment, variant, parse(REQUIRED));
        StreamGraph graph = environment.getStreamGraph();
        Set<String> uids =
                graph.getStreamNodes().stream()
                        .map(StreamNode::getTransformationUID)
                        .collect(Collectors.toSet());
        Set<String> expected =
                new HashSet<>(
                        Set.of(
                                "payments-source",
                                variant.balanceUid(),
                                "balances-sink",
                                "Sink Committer: balances-sink"));
        if (variant == Variant.V2_WINDOWS) {
            expected.addAll(Set.of("turnover", "turnover-out", "silence", "silence-out"));
        }
        assertThat(uids).isEqualTo(expected);
        assertThat(graph.getStreamNodes()).allMatch(node -> node.getParallelism() == 3);
        assertThat(graph.getCheckpointConfig().isCheckpointingEnabled()).isFalse();
    }

    @Test
    void argumentsAreRead() {
        Properties kafka = new Properties();
        kafka.setProperty("sasl.jaas.config", "x required username=\"u\";");
        kafka.setProperty("security.protocol", "SASL_PLAINTEXT");
        String[] properties = {
            "--kafka-property", "sasl.jaas.config=x required username=\"u\";",
            "--kafka-property", "security.protocol=SASL_PLAINTEXT",
        };
        assertThat(
                        Arguments.parse(
                                Stream.concat(Stream.of(REQUIRED.split(" ")), Stream.of(properties))
                                        .toArray(String[]::new)))
                .isEqualTo(
                        new Arguments(
                                "localhost:1", "payments", "balances", "g", "tg.ledger.", 600_000, kafka));
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                REQUIRED + " --parallelism 2|unknown argument --parallelism",
                REQUIRED + " --group|--group has no value",
                REQUIRED + " --group h|--group is given twice",
                REQUIRED + " --kafka-property secret|--kafka-property is not KEY=VALUE",
                REQUIRED + " --transaction-timeout-ms x|--transaction-timeout-ms is no number: x",
                "--bootstrap localhost:1 --input payments|--output is missing",
            })
    void badArgumentsAreNamed(String argumentsAndMessage) {
        String[] parts = argumentsAndMessage.split("\\|");
        assertThatThrownBy(() -> parse(parts[0]))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessageStartingWith(parts[1])
                .hasMessageNotContaining("secret");
    }

    @Test
    void aJarWithoutAVariantIsRefused() {
        assertThatThrownBy(() -> Variant.of(LedgerJob.class.getPackage()))
                .hasMessageContaining("Implementation-Version is null, expected one of v1, v2, ");
    }
}
