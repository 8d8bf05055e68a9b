package dev.tidegate.mirror;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.HexFormat;
import java.util.List;
import org.apache.kafka.connect.errors.DataException;
import org.junit.jupiter.api.Test;

/** The form of the headers, on the vectors that the Python side is held to as well. */
class ProvenanceTest {
    private static List<String[]> vectors() throws IOException {
        List<String[]> rows = new ArrayList<>();
        try (var stream = ProvenanceTest.class.getResourceAsStream("/provenance-vectors.tsv")) {
            for (String line : new String(stream.readAllBytes(), StandardCharsets.UTF_8).split("\n")) {
                if (!line.isEmpty() && !line.startsWith("#")) {
                    rows.add(line.split("\t", -1));
                }
            }
        }
        assertThat(rows.size()).isGreaterThan(8);
        return rows;
    }

    @Test
    void everyGoodVectorIsReadAndWrittenAsItStands() throws IOException {
        for (String[] row : vectors()) {
            if (!row[0].equals("good")) {
                continue;
            }
            byte[] bytes = HexFormat.of().parseHex(row[1]);
            Provenance expected = new Provenance(row[2], row[3], Integer.parseInt(row[4]), Long.parseLong(row[5]));

            assertThat(Provenance.decode(bytes)).isEqualTo(expected);
            assertThat(expected.encode()).isEqualTo(bytes);
        }
    }

    @Test
    void everyBadVectorIsRefused() throws IOException {
        for (String[] row : vectors()) {
            if (row[0].equals("bad")) {
                assertThatThrownBy(() -> Provenance.decode(HexFormat.of().parseHex(row[1])))
                    .as(row[2])
                    .isInstanceOf(DataException.class);
            }
        }
    }
}
